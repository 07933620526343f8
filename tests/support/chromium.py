"""A real Chromium without a window, driven over its DevTools protocol (CDP).

The protocol goes through two pipes (``--remote-debugging-pipe``: JSON, each message ended by a null
byte), so that no port is opened and no library is needed.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tests.support.parts import need
from tests.support.waiting import PATIENCE_S, until

_STARTS = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Chromium expects its commands on file descriptor 3, and writes its answers to 4."""
_KEEPS_TERMINALS = """
window.__terminals = [];
Object.defineProperty(Object.prototype, "_core", {
  configurable: true,
  set(core) {
    Object.defineProperty(this, "_core", {value: core, writable: true, configurable: true});
    if (core && core.buffers) window.__terminals.push(core);
  },
});
"""
"""xterm.js draws on a canvas: its buffer is what is on the screen, and the page keeps it hidden."""
_SCREEN = """
(() => {
  const core = (window.__terminals || [])[0];
  if (!core) return "";
  const lines = [];
  for (let row = 0; row < core.rows; row++) {
    const line = core.buffer.lines.get(core.buffer.ydisp + row);
    lines.push(line ? line.translateToString(true) : "");
  }
  return lines.join("\\n");
})()
"""
_SHELL = "chromium-headless-shell"
EVERY_S = 0.06
"""Seconds between two looks at a page, of which each has it evaluate a script."""
_KEYS = {"Escape": 27, "Enter": 13, "ArrowDown": 40, "ArrowUp": 38}


def _program() -> list[str]:
    """Return the shell for headless use, where it is installed: the same engine, without a
    browser's own windows and services, which take most of its start."""
    if shutil.which("chromium") and not shutil.which(_SHELL):
        return ["chromium", "--headless=new"]
    need(_SHELL)
    return [_SHELL]


class Chromium:
    """The browser; ``page`` opens a tab."""

    def __init__(self, folder: Path) -> None:
        program = _program()
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", _STARTS, str(theirs_in), str(theirs_out),
                *program, "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-dev-shm-usage", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--mute-audio",
                f"--user-data-dir={folder}", "--window-size=1200,700", "--remote-debugging-pipe",
                "about:blank",
            ],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._answers: dict[int, dict[str, Any]] = {}
        self._has_answer = threading.Condition()
        self._number = 0
        self._pages: list[Page] = []
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, AssertionError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(10)
        os.close(self._out)

    def _read(self) -> None:
        with os.fdopen(self._in, "rb", buffering=0) as answers:
            left = b""
            while data := answers.read(1 << 16):
                *whole, left = (left + data).split(b"\0")
                for one in whole:
                    message = json.loads(one)
                    with self._has_answer:
                        if "id" in message:
                            self._answers[message["id"]] = message
                        else:
                            self.events.append(message)
                        self._has_answer.notify_all()

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result. AssertionError for an error."""
        with self._has_answer:
            self._number += 1
            number = self._number
            message = {"id": number, "method": method, "params": params}
            message |= {"sessionId": session} if session else {}
            os.write(self._out, json.dumps(message).encode() + b"\0")
            came = self._has_answer.wait_for(lambda: number in self._answers, PATIENCE_S)
            assert came, f"Chromium did not answer {method}"
            answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return dict(answer["result"])

    def page(self, url: str) -> "Page":
        """Open a tab and go to an address."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        self._pages.append(page)
        page.call("Page.enable")
        page.call("Network.enable")
        page.call("Runtime.enable")
        page.call("Log.enable")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=_KEEPS_TERMINALS)
        page.call("Page.navigate", url=url)
        return page

    def forget(self, page: "Page") -> None:
        """Drop a tab, and its events."""
        self._pages.remove(page)
        self.events = [event for event in self.events if event.get("sessionId") != page.session]

    def close_pages(self) -> None:
        """Close every tab that ``page`` has opened."""
        while self._pages:
            self._pages[0].close()


class Page:
    """One tab."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self.session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol on this tab."""
        return self._browser.call(method, self.session, **params)

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of this tab by their method."""
        return [
            event["params"]
            for event in list(self._browser.events)
            if event.get("sessionId") == self.session and event["method"] == method
        ]

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def screen(self) -> str:
        """Return the text of the terminal's buffer; empty before there is one."""
        return str(self.value(_SCREEN))

    def until(self, *texts: str) -> str:
        """Wait until the terminal shows all texts; return its screen."""
        shown = ""

        def shows() -> bool:
            nonlocal shown
            shown = self.screen()
            return all(text in shown for text in texts)

        try:
            until(shows, EVERY_S)
        except AssertionError:
            raise AssertionError(f"{texts} did not come; the screen shows:\n{shown}") from None
        return shown

    def press(self, *keys: str) -> None:
        """Press keys: characters, or names such as Escape."""
        for key in keys:
            code = _KEYS.get(key)
            about = {"windowsVirtualKeyCode": code} if code else {"text": key}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **about)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def text(self, selector: str) -> str:
        """Return the text of an element as it is shown; empty where it is hidden."""
        return str(self.value(f"document.querySelector({selector!r})?.innerText ?? ''"))

    def picture(self) -> bytes:
        """Return a picture of the page (PNG)."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        """Close the tab."""
        self._browser.forget(self)
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Run Chromium with a profile in ``folder``; skip, or fail in CI, where it is missing."""
    with Chromium(folder) as browser:
        yield browser
