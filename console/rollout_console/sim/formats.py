"""The four text formats: parse a request, build a whole answer; ``streams.py`` builds the others.

What an answer says, and how it ends, is in its ``Ask``: an answer that stops early, is refused or
stays empty is built by the same functions as a healthy one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rollout_console.sim.errors import ApiFault
from rollout_console.sim.tools import arguments_for, forced_tool

WORDS = (
    "The",
    "request",
    "was",
    "understood",
    "and",
    "this",
    "is",
    "the",
    "short",
    "simulated",
    "answer",
    "to",
    "it",
    ".",
)


Finish = Literal["stop", "length", "filter", "blocked", "error"]
"""How an answer ends; ``blocked`` is a filter that refuses the prompt, before any answer."""

_ENDS: Mapping[str, Mapping[str, str]] = {
    "openai_chat_completions": {
        "stop": "stop", "tool": "tool_calls", "length": "length", "filter": "content_filter",
        "error": "error",
    },
    "openai_responses": {
        "stop": "completed", "tool": "completed", "length": "incomplete", "filter": "incomplete",
        "error": "failed",
    },
    "anthropic_messages": {
        "stop": "end_turn", "tool": "tool_use", "length": "max_tokens", "filter": "refusal",
    },
    "gemini_generate_content": {
        "stop": "STOP", "tool": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY",
        "error": "OTHER",
    },
}  # fmt: skip
_INCOMPLETE = {"length": "max_output_tokens", "filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request, with the ids of its answer.

    ``said`` is how many of the fixed answer's words are said, from 0 to all.
    """

    model: str
    stream: bool
    text: str
    tool: str = ""
    arguments: str = "{}"
    wants_usage: bool = True
    id: str = ""
    created: int = 0
    billing_id: str = ""
    said: int = len(WORDS)
    finish: Finish = "stop"

    @property
    def words(self) -> tuple[str, ...]:
        """The words said, each but the first with its space before it."""
        return tuple(word if i == 0 else f" {word}" for i, word in enumerate(WORDS[: self.said]))

    @property
    def tokens_in(self) -> int:
        """The input tokens, estimated at four characters each."""
        return max(1, len(self.text) // 4)

    @property
    def tokens_out(self) -> int:
        """The output tokens: the words said; a tool call has as many as the whole answer."""
        return len(WORDS) if self.tool else self.said


def read_ask(kind: str, body: object, model: str = "", stream: bool = False) -> Ask:
    """Parse ``body`` in format ``kind``; raises ApiFault 400."""
    if not isinstance(body, dict):
        raise ApiFault(400, "The body must be a JSON object.")
    field = {
        "openai_chat_completions": "messages",
        "openai_responses": "input",
        "anthropic_messages": "messages",
        "gemini_generate_content": "contents",
    }[kind]
    if kind != "gemini_generate_content":
        model, stream = body.get("model", ""), body.get("stream", False) is True
        if not isinstance(model, str) or not model:
            raise ApiFault(400, "model is required.", param="model")
    if not body.get(field):
        raise ApiFault(400, f"{field} is required.", param=field)
    if kind == "anthropic_messages" and not isinstance(body.get("max_tokens"), int):
        raise ApiFault(400, "max_tokens is required.", param="max_tokens")
    tool = forced_tool(body)
    options = body.get("stream_options")
    return Ask(
        model,
        stream,
        json.dumps(body[field]),
        str(tool.get("name", "")),
        json.dumps(arguments_for(tool)),
        kind != "openai_chat_completions"
        or (isinstance(options, dict) and options.get("include_usage") is True),
    )


def end_of(kind: str, ask: Ask) -> str:
    """Return the finish reason (OpenAI Responses: the status) of an answer in format ``kind``."""
    ends = _ENDS[kind]
    finish = "filter" if ask.finish == "blocked" else ask.finish
    return ends["tool"] if ask.tool and finish == "stop" else ends[finish]


def whole(kind: str, ask: Ask) -> dict[str, Any]:
    """Return the complete, not streamed, answer."""
    if kind == "openai_chat_completions":
        answer = _chat(ask)
    elif kind == "openai_responses":
        answer = response_body(ask, end_of(kind, ask), output_of(ask))
    elif kind == "anthropic_messages":
        return message_head(ask) | {
            "content": blocks_of(ask),
            "stop_reason": end_of(kind, ask),
            "usage": {"input_tokens": ask.tokens_in, "output_tokens": ask.tokens_out},
        }
    else:
        text = [{"text": "".join(ask.words)}] if ask.said else []
        return candidate(ask, [called(ask)] if ask.tool else text, end_of(kind, ask))
    return answer | ({"billing_transaction_id": ask.billing_id} if ask.billing_id else {})


def _chat(ask: Ask) -> dict[str, Any]:
    text = "".join(ask.words)
    said = text if text or ask.finish == "stop" else None
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if ask.tool:
        call = {"name": ask.tool, "arguments": ask.arguments}
        message["content"] = None
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
    reason = end_of("openai_chat_completions", ask)
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {
        "id": f"chatcmpl-{ask.id}", "object": "chat.completion", "created": ask.created,
        "model": ask.model, "choices": [choice], "usage": chat_usage(ask),
    }  # fmt: skip


def chat_usage(ask: Ask) -> dict[str, Any]:
    """Return the ``usage`` of Chat Completions."""
    return {
        "prompt_tokens": ask.tokens_in,
        "completion_tokens": ask.tokens_out,
        "total_tokens": ask.tokens_in + ask.tokens_out,
    }


def message_head(ask: Ask) -> dict[str, Any]:
    """Return a message of Anthropic without its content, stop reason and usage."""
    return {
        "id": f"msg_{ask.id}", "type": "message", "role": "assistant", "model": ask.model,
        "stop_sequence": None,
    }  # fmt: skip


def blocks_of(ask: Ask) -> list[dict[str, Any]]:
    """Return Anthropic's content blocks: one, or none where nothing is said."""
    if ask.tool:
        given = json.loads(ask.arguments)
        return [{"type": "tool_use", "id": "toolu_1", "name": ask.tool, "input": given}]
    return [{"type": "text", "text": "".join(ask.words)}] if ask.said else []


def output_of(ask: Ask) -> list[dict[str, Any]]:
    """Return the output items of OpenAI Responses: one, or none where nothing is said."""
    if ask.tool:
        return [
            {
                "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": ask.tool,
                "arguments": ask.arguments, "status": "completed",
            }
        ]  # fmt: skip
    if not ask.said:
        return []
    part = {"type": "output_text", "text": "".join(ask.words), "annotations": []}
    return [
        {
            "type": "message", "id": f"msg_{ask.id}", "role": "assistant", "content": [part],
            "status": "completed" if ask.finish == "stop" else "incomplete",
        }
    ]  # fmt: skip


def response_body(ask: Ask, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a response of OpenAI Responses; one that runs or failed has no usage yet."""
    usage = {
        "input_tokens": ask.tokens_in,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": ask.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": ask.tokens_in + ask.tokens_out,
    }
    finish = "filter" if ask.finish == "blocked" else ask.finish
    reason = {"reason": _INCOMPLETE[finish]} if status == "incomplete" else None
    return {
        "id": f"resp_{ask.id}", "object": "response", "created_at": ask.created,
        "status": status, "model": ask.model, "output": output, "error": None,
        "incomplete_details": reason, "instructions": None, "metadata": {},
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "usage": usage if status in ("completed", "incomplete") else None,
    }  # fmt: skip


def called(ask: Ask) -> dict[str, Any]:
    """Return Gemini's part of a tool call."""
    return {"functionCall": {"name": ask.tool, "args": json.loads(ask.arguments)}}


def candidate(ask: Ask, parts: list[dict[str, Any]], finish: str = "") -> dict[str, Any]:
    """Return an answer of Gemini, or one chunk of it, with its last word where it has one.

    A prompt that is blocked has no candidate: ``promptFeedback`` says why.
    """
    usage = {
        "promptTokenCount": ask.tokens_in,
        "candidatesTokenCount": ask.tokens_out,
        "totalTokenCount": ask.tokens_in + ask.tokens_out,
    }
    tail = {"usageMetadata": usage, "modelVersion": ask.model, "responseId": ask.id}
    ratings = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH"}
    if ask.finish == "blocked":
        usage.pop("candidatesTokenCount")
        return {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": [ratings]}, **tail}
    content: dict[str, Any] = {"role": "model", **({"parts": parts} if parts else {})}
    one: dict[str, Any] = {"content": content, "index": 0}
    if finish:
        one["finishReason"] = finish
    if finish == "SAFETY":
        one["safetyRatings"] = [ratings]
    return {"candidates": [one], **tail}
