"""Notifications of what the guard saw and did, by webhook and by a command of the operator.

Both get the same message: what happened, who runs the guard, the evidence, and the command that
reverses it; never a secret, never a prompt. A failed delivery is recorded in the history.
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
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rollout_console.common.connection_errors import failure_words
from rollout_console.common.safe_text import visible
from rollout_console.guard.loop import Event
from rollout_gate.secret import Secret, redacted

TRIES_S = (0.0, 1.0, 5.0, 25.0)
"""Webhook retry backoff: the seconds waited before each attempt."""
COMMAND_LIMIT_S = 10.0
_ANSWER_S = 5.0
"""Total deadline in seconds of a webhook's response, however slowly it trickles in."""
_SAID_S = 5.0
"""Seconds at shutdown that are spent on recording undelivered events."""
_MOST_WAITING = 500
_MOST_TEXT = 1_500


Body = Mapping[str, Any]


class Told(msgspec.Struct, frozen=True):
    """The receivers of events. ``webhook`` is a secret: anyone who has the URL can post to it.

    ``slack`` selects the payload of Slack's incoming webhooks: ``text`` alone.
    """

    webhook: Secret | None = None
    slack: bool = False
    command: Sequence[str] = ()


def message(event: Event, *, who: str, file: str, at: datetime) -> Body:
    """Return the JSON payload of an event; ``text`` is a summary of it all in one line.

    The event's text in it has credentials redacted and invisible characters replaced; ``text`` is
    truncated to _MOST_TEXT characters.
    """
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
    """Delivers events in order, from a queue and a thread for each receiver.

    No receiver delays another one or the caller. ``undelivered`` is called with an event and the
    reason, from one of these threads or from that of ``close``.
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
        """Enqueue an event for delivery; never blocks."""
        if self._receivers:
            body = message(event, who=self._who, file=self._file, at=datetime.now(UTC))
            for receiver in self._receivers:
                receiver.tell(event, body)

    def close(self, patience_s: float = 10.0) -> None:
        """Drain the queues for at most ``patience_s`` seconds; report the rest as undelivered."""
        until = time.monotonic() + patience_s
        for receiver in self._receivers:
            receiver.end()
        for receiver in self._receivers:
            receiver.join(until)


_ROUTINE = frozenset({"raise", "lower", "ramp", "guard"})
"""The kinds of events that wait for the others, and are dropped before them."""


class _Receiver:
    """The bounded queue of one receiver, and the thread that delivers from it."""

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
        """Enqueue an event; when the queue is full, the oldest one is dropped and reported.

        Of routine events first: during a large ramp no rollback is lost among the raises.
        """
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self._lost.append(self._take(lambda one: one.kind in _ROUTINE)[0])
            self._waiting.append((event, body))
            self._changed.notify()

    def _take(self, first: Callable[[Event], bool]) -> tuple[Event, Body]:
        """Take the oldest event of those that come first, or of all where there is none."""
        at = next((i for i, (one, _) in enumerate(self._waiting) if first(one)), 0)
        found = self._waiting[at]
        del self._waiting[at]
        return found

    def end(self) -> None:
        """Let the thread end once the queue is empty."""
        with self._changed:
            self._ends = True
            self._changed.notify()

    def join(self, until: float) -> None:
        """Wait for the thread until a monotonic time; then report what it has not delivered."""
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
                return  # a locked history database must not block shutdown
            self._undelivered(event, f"{self._name}: not delivered before the guard stopped")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ends)
                if not self._waiting:
                    return
                event, body = self._take(lambda one: one.kind not in _ROUTINE)
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
    """Posts events to a URL, with retries; only the status of the response is read."""

    def __init__(self, url: Secret, slack: bool, tries_s: Sequence[float]) -> None:
        self._url = url
        self._slack = slack
        self._tries_s = tries_s
        # The secret of such a URL is in its path; the host may be shown.
        self.name = f"webhook at {urlsplit(url.reveal()).hostname or '?'}"

    def post(self, body: Body, give_up: threading.Event) -> str:
        """Post with retries until ``give_up`` is set; return the error, empty on success."""
        sent = {"text": body["text"]} if self._slack else body
        reason = ""
        for wait in self._tries_s:
            if give_up.wait(wait):
                break
            status, reason = asyncio.run(self._try(sent))
            if 200 <= status < 300:
                return ""
            if 400 <= status < 500 and status != 429:
                break  # not retryable: the same request would be refused again
        return f"{self.name}: {reason}"

    async def _try(self, sent: Body) -> tuple[int, str]:
        import httpx

        from rollout_console.tokenlab.tls import tls_context

        url = self._url.reveal()
        try:
            async with (
                asyncio.timeout(_ANSWER_S),
                httpx.AsyncClient(
                    timeout=_ANSWER_S, verify=tls_context(url, trust_env=True)
                ) as client,
                client.stream("POST", url, json=sent) as answer,
            ):
                return answer.status_code, f"it answered {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return 0, failure_words(error)
        except TimeoutError:
            return 0, f"no answer within {_ANSWER_S:.0f} s"


class Command:
    """Runs a command with the event as JSON on its standard input."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        self._words = list(words)
        self._environ = dict(environ)
        self.name = self._words[0]

    def run(self, body: Body, _give_up: threading.Event) -> str:
        """Run the command, at most COMMAND_LIMIT_S seconds; return the error, empty on success."""
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
                    os.killpg(child.pid, signal.SIGKILL)  # the process group: children as well
                return f"{self.name} did not end within {COMMAND_LIMIT_S:.0f} s"
        return f"{self.name} ended with {child.returncode}" if child.returncode else ""
