"use strict";
// Start textual-serve's terminal on this page's own WebSocket, and say why it has ended.

const REFUSED =
  "The server is not there, or has refused the connection. Behind a reverse proxy, " +
  "rollout-console web needs --public-url.";
const LOST = "The connection to the server was lost.";

// The address is the page's own, as a tunnel or a proxy may have given the server another name.
const address = new URL("ws", window.location.href);
address.protocol = window.location.protocol === "https:" ? "wss:" : "ws:";
document.querySelector("#terminal").dataset.sessionWebsocketUrl = address.href;

// textual.js takes options from the query, such as an address to fetch: the page has none.
if (window.location.search) {
  window.history.replaceState(null, "", window.location.pathname);
}

// textual.js ignores messages that it does not know: "ended" has the server's sentence.
window.WebSocket = class extends window.WebSocket {
  constructor(...given) {
    super(...given);
    let sentence = REFUSED;
    this.addEventListener("open", () => {
      sentence = LOST;
      document.querySelector(".xterm-helper-textarea").focus();
    });
    this.addEventListener("message", (event) => {
      if (typeof event.data === "string") {
        const [kind, text] = JSON.parse(event.data);
        sentence = kind === "ended" ? text : sentence;
      }
    });
    this.addEventListener("close", () => {
      document.querySelector("#sentence").textContent = sentence;
      document.querySelector("#again").focus();
    });
  }
};

document.querySelector("#again").addEventListener("click", () => window.location.reload());

// xterm.js measures the font when it starts, so the font is loaded first.
window.addEventListener("load", async () => {
  const faces = ["16px", "bold 16px"].map((size) => document.fonts.load(`${size} "Roboto Mono"`));
  await Promise.allSettled(faces);
  const script = document.createElement("script");
  script.src = "static/js/textual.js";
  script.addEventListener("load", () => window.onload());
  document.head.append(script);
});
