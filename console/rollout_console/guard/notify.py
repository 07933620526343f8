"""Telling people what the guard saw and did: a webhook, and a command of the operator's.

Both get the same words: what, who or which gate, the evidence, and the command that takes it back.
Never a secret, never a prompt. What could not be delivered is a row of the history.
"""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from rollout_console.common.safe_text import visible
from rollout_console.guard.loop import Event
from rollout_gate.secret import Secret, redacted

TRIES_S = (0.0, 1.0, 5.0, 25.0)
"""How long is waited before each try of a webhook."""
COMMAND_LIMIT_S = 10.0
_ANSWER_S = 5.0
"""A webhook is to answer within this in all, however slowly it sends."""
_SAID_S = 5.0
"""What is undelivered when the guard ends is said for so long."""
_MOST_WAITING = 500
_MOST_TEXT = 1_500

QUIET = ("guard", "over")
"""Kinds that only say how things are; a command or webhook gets them too, a bell does not ring."""


Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """Where events go. ``webhook`` is a secret: whoever has the URL can post to it.

    ``slack`` sends what Slack's incoming webhooks take, which is less than the JSON object.
    """

    webhook: Secret | None = None
    slack: bool = False
    command: Sequence[str] = ()


def message(event: Event, *, who: str, file: str, at: datetime) -> Body:
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
        "signal": event.signal,
        "evidence": event.evidence,
        "command": event.command,
        "revision": event.revision,
    }


class Notifier:
    """Delivers events, in order, from a thread for each receiver: none delays another, or a caller.

    ``undelivered`` is called with an event and the reason, from one of these threads.
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
        self._who = who
        self._file = file
        self._receivers: list[_Receiver] = []
        if told.webhook is not None:
            webhook = Webhook(told.webhook, told.slack, tries_s)
            self._receivers.append(_Receiver(webhook.post, webhook.name, undelivered))
        if told.command:
            command = Command(told.command, environ)
            self._receivers.append(_Receiver(command.run, command.name, undelivered))

    def tell(self, event: Event) -> None:
        """Have an event delivered; never waits."""
        if self._receivers:
            body = message(event, who=self._who, file=self._file, at=datetime.now(UTC))
            for receiver in self._receivers:
                receiver.tell(event, body)

    def close(self, patience_s: float = 10.0) -> None:
        """Deliver what waits, for at most so many seconds; the rest is undelivered."""
        until = time.monotonic() + patience_s
        for receiver in self._receivers:
            receiver.end()
        for receiver in self._receivers:
            receiver.join(until)


class _Receiver:
    """What waits for one receiver, and the thread that delivers it."""

    def __init__(
        self,
        deliver: Callable[[Body, threading.Event], str],
        name: str,
        undelivered: Callable[[Event, str], object],
    ) -> None:
        self._deliver = deliver
        self._name = name
        self._undelivered = undelivered
        self._waiting: deque[tuple[Event, Body]] = deque()
        self._under_way: Event | None = None
        self._lost: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._ends = False
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"notify {name}", daemon=True)
        self._thread.start()

    def tell(self, event: Event, body: Body) -> None:
        """Have an event delivered after those that wait; the oldest of too many is lost."""
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self._lost.append(self._waiting.popleft()[0])
            self._waiting.append((event, body))
            self._changed.notify()

    def end(self) -> None:
        """Let the thread end when nothing waits."""
        with self._changed:
            self._ends = True
            self._changed.notify()

    def join(self, until: float) -> None:
        """Wait for the thread until a monotonic time; say then what it has not delivered."""
        self._thread.join(max(until - time.monotonic(), 0.0))
        self._give_up.set()
        with self._changed:
            left = [*self._lost]
            if self._under_way is not None and self._thread.is_alive():
                left.append(self._under_way)
                self._under_way = None
            left += [event for event, _ in self._waiting]
            self._lost.clear()
            self._waiting.clear()
        for event in left:
            if time.monotonic() > until + _SAID_S:
                return  # a history that is locked does not keep the guard from its end
            self._undelivered(event, f"{self._name}: not before the guard ended")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ends)
                if not self._waiting:
                    return
                event, body = self._waiting.popleft()
                self._under_way = event
                lost = [self._lost.popleft() for _ in range(len(self._lost))]
            for one in lost:
                self._undelivered(one, f"{self._name}: {_MOST_WAITING} others waited")
            try:
                reason = self._deliver(body, self._give_up)
            except Exception as error:  # noqa: BLE001 - the events that come after must not be lost
                reason = f"{self._name}: {type(error).__name__}"
            with self._changed:
                told, self._under_way = self._under_way is None, None
            if reason and not told:
                self._undelivered(event, reason)


class Webhook:
    """Posts to a URL. Of the answer no more than the status is read, in a few seconds in all."""

    def __init__(self, url: Secret, slack: bool, tries_s: Sequence[float]) -> None:
        self._url = url
        self._slack = slack
        self._tries_s = tries_s
        # The path of such a URL is its secret; the host may be told.
        self.name = f"webhook at {urlsplit(url.reveal()).hostname or '?'}"

    def post(self, body: Body, give_up: threading.Event) -> str:
        """Return why the webhook does not have it, empty where it has."""
        sent = {"text": body["text"]} if self._slack else body
        reason = ""
        for wait in self._tries_s:
            if give_up.wait(wait):
                break
            status, reason = asyncio.run(self._try(sent))
            if 200 <= status < 300:
                return ""
            if 400 <= status < 500 and status != 429:
                break  # the same again would be refused again
        return f"{self.name}: {reason}"

    async def _try(self, sent: Body) -> tuple[int, str]:
        import httpx

        try:
            async with (
                asyncio.timeout(_ANSWER_S),
                httpx.AsyncClient(timeout=_ANSWER_S) as client,
                client.stream("POST", self._url.reveal(), json=sent) as answer,
            ):
                return answer.status_code, f"it answered {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return 0, type(error).__name__
        except TimeoutError:
            return 0, f"no answer within {_ANSWER_S:.0f} s"


class Command:
    """Runs a command with the event as JSON on its standard input."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        self._words = list(words)
        self._environ = dict(environ)
        self.name = self._words[0]

    def run(self, body: Body, _give_up: threading.Event) -> str:
        """Return why it failed, empty where it did not."""
        try:
            child = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            return f"{self.name} cannot be run: {error.strerror}"
        except ValueError:
            return f"{self.name} cannot be run: its words hold a null character"
        with child:
            try:
                child.communicate(json.dumps(body).encode(), COMMAND_LIMIT_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # and whatever it has started
                return f"{self.name} did not end within {COMMAND_LIMIT_S:.0f} s"
        return f"{self.name} ended with {child.returncode}" if child.returncode else ""
