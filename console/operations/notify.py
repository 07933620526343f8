"""Telling people what the guard saw and did: a webhook, and a command of the operator's.

Both get the same words: what, who or which gate, the evidence, and the command that takes it back.
Never a secret, never a prompt. What could not be delivered is a row of the history.
"""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from console.gate.secret import Secret, redacted
from console.operations.guarding import Event
from console.operations.visible import visible

TRIES_S = (0.0, 1.0, 5.0, 25.0)
"""How long is waited before each try of a webhook."""
COMMAND_LIMIT_S = 10.0
_ANSWER_S = 5.0
_MOST_WAITING = 500
_MOST_TEXT = 1_500

QUIET = ("guard", "over")
"""Kinds that only say how things are; a command or webhook gets them too, a bell does not ring."""


@dataclass(frozen=True, slots=True)
class Told:
    """Where events go. ``webhook`` is a secret: whoever has the URL can post to it.

    ``slack`` sends what Slack's incoming webhooks take, which is less than the JSON object.
    """

    webhook: Secret | None = None
    slack: bool = False
    command: Sequence[str] = ()


def message(event: Event, *, who: str, file: str, at: datetime) -> dict[str, Any]:
    """Return an event as the JSON object that is sent; ``text`` says it all in one line."""
    text = f"{visible(redacted(event.text))} ({who}, {file})"
    if event.command:
        text += f" · to take it back: {event.command}"
    return {
        "kind": event.kind,
        "text": text[:_MOST_TEXT],
        "at": at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "who": who,
        "file": file,
        "route": event.route,
        "org": event.org,
        "gate": event.gate,
        "evidence": event.evidence,
        "command": event.command,
        "revision": event.revision,
    }


class Notifier:
    """Delivers events from a thread of its own, in order; a slow receiver delays nobody else.

    ``undelivered`` is called with an event and the reason, from that thread.
    """

    def __init__(
        self,
        told: Told,
        undelivered: Callable[[Event, str], object],
        *,
        who: str,
        file: str,
        environ: Mapping[str, str],
        tries_s: Sequence[float] = TRIES_S,
    ) -> None:
        self._told = told
        self._undelivered = undelivered
        self._who = who
        self._file = file
        self._environ = environ
        self._tries_s = tries_s
        self._waiting: queue.Queue[tuple[Event, datetime] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        """Have an event delivered; never waits."""
        if self._told.webhook is None and not self._told.command:
            return
        try:
            self._waiting.put_nowait((event, datetime.now(UTC)))
        except queue.Full:
            self._undelivered(event, f"{_MOST_WAITING} others wait already")

    def close(self, patience_s: float = 10.0) -> None:
        """Deliver what waits, for at most so many seconds."""
        try:
            self._waiting.put(None, timeout=patience_s)
        except queue.Full:
            return
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            event, at = one
            body = message(event, who=self._who, file=self._file, at=at)
            for deliver in (self._post, self._run):
                if reason := deliver(body):
                    self._undelivered(event, reason)

    def _post(self, body: Mapping[str, Any]) -> str:
        """Return why the webhook does not have it; empty where it has, or where there is none."""
        secret = self._told.webhook
        if secret is None:
            return ""
        import httpx

        sent = {"text": body["text"]} if self._told.slack else body
        # The path of such a URL is its secret; the host may be told.
        host, reason = urlsplit(secret.reveal()).hostname or "?", ""
        for wait in self._tries_s:
            time.sleep(wait)
            try:
                answer = httpx.post(
                    secret.reveal(), json=sent, timeout=_ANSWER_S, follow_redirects=False
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = type(error).__name__
                continue
            if answer.is_success:
                return ""
            reason = f"it answered {answer.status_code}"
            if 400 <= answer.status_code < 500 and answer.status_code != 429:
                break  # the same again would be refused again
        return f"webhook at {host}: {reason}"

    def _run(self, body: Mapping[str, Any]) -> str:
        """Run the command with the event as JSON on its standard input; return why it failed."""
        if not self._told.command:
            return ""
        name = self._told.command[0]
        try:
            done = subprocess.run(
                list(self._told.command),
                input=json.dumps(body).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(self._environ),
                timeout=COMMAND_LIMIT_S,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return f"{name} did not end within {COMMAND_LIMIT_S:.0f} s"
        except OSError as error:
            return f"{name} cannot be run: {error.strerror}"
        return f"{name} ended with {done.returncode}" if done.returncode else ""
