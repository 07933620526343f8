// Two chats and two streams with the official SDKs, through the proxy whose base URL is given:
// prints what they understood, as JSON. Retries are the SDKs' own; with "chat" OpenAI's alone.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [, , base, org, parts] = process.argv;
const headers = { "X-Rollout-Org": org, "X-Rollout-Key": "user-1" };
const messages = [{ role: "user", content: "hi" }];
const found = {};

const openai = new OpenAI({
  baseURL: `${base}/chat/v1`, apiKey: "previous-key", defaultHeaders: headers, maxRetries: 2,
});
const whole = await openai.chat.completions.create({ model: "gpt-5", messages });
found.openai = { text: whole.choices[0].message.content, model: whole.model };
let text = "";
const chunks = await openai.chat.completions.create({ model: "gpt-5", messages, stream: true });
for await (const chunk of chunks) text += chunk.choices[0]?.delta?.content ?? "";
found.openai.stream = text;

if (parts === "chat") {
  console.log(JSON.stringify(found));
  process.exit(0);
}

const anthropic = new Anthropic({
  baseURL: `${base}/claude`, apiKey: "previous-key", defaultHeaders: headers, maxRetries: 2,
});
const asked = { model: "claude-x", max_tokens: 100, messages };
const message = await anthropic.messages.create(asked);
found.anthropic = { text: message.content[0].text, model: message.model };
const final = await anthropic.messages.stream(asked).finalMessage();
found.anthropic.stream = final.content[0].text;

try {
  await new OpenAI({ baseURL: `${base}/nope/v1`, apiKey: "k" }).models.list();
} catch (error) {
  found.error = { status: error.status, message: error.message };
}
console.log(JSON.stringify(found));
