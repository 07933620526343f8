"""Telling people: a real receiver over loopback, and a real command."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rollout_console.changes.switch import Switch
from rollout_console.credentials.vault.errors import BadCredential
from rollout_console.credentials.vault.webhook import is_slack, take_webhook
from rollout_console.guard import notify
from rollout_console.guard.loop import Event
from rollout_console.guard.notify import Notifier, Told, _Receiver
from rollout_gate.secret import Secret
from tests.support.waiting import PATIENCE_S, has_ended, until

EVENT = Event(
    "rollback", "rolled back chat: 5xx 31% in 33 s, 29 of 92, limit 2%", "chat", None, "gateway",
    "5xx 31% in 33 s, 29 of 92, limit 2%", "rollout-console -f /etc/r.toml resume chat", "abc",
)  # fmt: skip


class Receiver:
    """Keeps what was posted; answers with the statuses it was given, then 200."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(json.loads(body))
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/canary-in-the-path"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def deliver(told: Told, *events: Event) -> list[tuple[Event, str]]:
    failed: list[tuple[Event, str]] = []
    notifier = Notifier(
        told, lambda event, reason: failed.append((event, reason)), who="guard@gw-01",
        file="/etc/r.toml", environ={"PATH": os.environ["PATH"]}, tries_s=(0.0, 0.01, 0.02),
    )  # fmt: skip
    for event in events:
        notifier.tell(event)
    notifier.close()
    return failed


def test_a_message_says_what_who_why_and_how_back(receiver: Receiver) -> None:
    assert deliver(Told(Secret(receiver.url)), EVENT) == []
    (body,) = receiver.bodies
    assert body["text"] == (
        "rolled back chat: 5xx 31% in 33 s, 29 of 92, limit 2% (guard@gw-01, /etc/r.toml) · "
        "to take it back: rollout-console -f /etc/r.toml resume chat"
    )
    assert (body["kind"], body["signal"], body["route"]) == ("rollback", "gateway", "chat")
    assert body["evidence"] == EVENT.evidence
    assert body["at"].endswith("Z")


def test_slack_gets_what_it_takes(receiver: Receiver) -> None:
    deliver(Told(Secret(receiver.url), slack=True), EVENT)
    assert [list(body) for body in receiver.bodies] == [["text"]]
    assert is_slack(Secret("https://hooks.slack.com/services/T/B/x"))
    assert not is_slack(Secret("https://hooks.slack.com.evil.example/x"))


def test_it_is_tried_again_and_then_kept_as_undelivered(receiver: Receiver) -> None:
    receiver.statuses = [503, 429]
    assert deliver(Told(Secret(receiver.url)), EVENT) == []
    assert len(receiver.bodies) == 3
    receiver.statuses = [500] * 3
    ((event, reason),) = deliver(Told(Secret(receiver.url)), EVENT)
    assert (event, reason) == (EVENT, "webhook at 127.0.0.1: it answered 500")
    receiver.bodies.clear()
    receiver.statuses = [404]
    assert len(deliver(Told(Secret(receiver.url)), EVENT)) == 1
    assert len(receiver.bodies) == 1, "a refusal is not tried again"


def test_nobody_there_is_said_without_the_secret() -> None:
    ((_, reason),) = deliver(Told(Secret("http://127.0.0.1:9/canary")), EVENT)
    assert reason == "webhook at 127.0.0.1: ConnectError (connection refused)"


class Hostile:
    """A server that takes what is posted and then does as it is told with each connection."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.taken = 0
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            self.taken += 1
            self._answer(connection)

    def close(self) -> None:
        self._listener.close()


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    drip(connection, b"x")


def drip_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    drip(connection, b"X-A: b\r\n")


def drip(connection: socket.socket, piece: bytes) -> None:
    while True:
        connection.sendall(piece)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(endless, None), (drip_body, None), (drip_head, "no answer within 0 s")],
)
def test_a_webhook_that_does_not_end_is_not_waited_for(
    answer: Callable[[socket.socket], None],
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "_ANSWER_S", 0.4)
    hostile = Hostile(answer)
    failed = deliver(Told(Secret(hostile.url)), EVENT)
    hostile.close()
    assert [told for _, told in failed] == ([f"webhook at 127.0.0.1: {reason}"] if reason else [])
    assert hostile.taken == (3 if reason else 1)


def test_a_webhook_that_is_dead_delays_no_command(tmp_path: Path) -> None:
    hostile = Hostile(lambda connection: drip(connection, b"HTTP/1.1 200 OK"))
    out = tmp_path / "out"
    script = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read() + chr(10))"
    failed: list[str] = []
    notifier = Notifier(
        Told(Secret(hostile.url), command=(sys.executable, "-c", script)),
        lambda _, reason: failed.append(reason),
        who="guard@gw-01", file="/etc/r.toml", environ=dict(os.environ), tries_s=(0.0, 60.0),
    )  # fmt: skip
    for _ in range(3):
        notifier.tell(EVENT)
    end = time.monotonic() + 20
    while not (out.exists() and len(out.read_text().splitlines()) == 3):
        assert time.monotonic() < end, "the command waits for the webhook"
        time.sleep(0.05)
    assert failed == []
    notifier.close(patience_s=0.1)
    hostile.close()
    assert failed == ["webhook at 127.0.0.1: not delivered before the guard stopped"] * 3


def test_of_too_many_the_oldest_are_undelivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_MOST_WAITING", 2)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    script = (
        f"import os, time; open({str(begun)!r}, 'w')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)"
    )
    failed: list[tuple[str, str]] = []
    notifier = Notifier(
        Told(command=(sys.executable, "-c", script)),
        lambda event, reason: failed.append((event.text, reason)),
        who="guard@gw-01", file="/etc/r.toml", environ=dict(os.environ),
    )  # fmt: skip
    notifier.tell(Event("alert", "the first"))
    end = time.monotonic() + 20
    while not begun.exists():
        assert time.monotonic() < end, "the command does not begin"
        time.sleep(0.02)
    for number in range(4):
        notifier.tell(Event("alert", str(number)))
    gate.touch()
    notifier.close()
    assert failed == [(one, f"{sys.executable}: 2 others waited") for one in ("0", "1")]


def test_a_command_that_hangs_ends_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "COMMAND_LIMIT_S", 1.0)
    pid = tmp_path / "pid"
    ((_, reason),) = deliver(
        Told(command=("sh", "-c", f"sleep 300 & echo $! > {pid}; wait")), EVENT
    )
    assert reason == "sh did not end within 1 s"
    until(lambda: has_ended(int(pid.read_text())))


def test_a_command_gets_it_on_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = (
        f"import os, sys; open({str(out)!r}, 'w').write(sys.stdin.read() + str(dict(os.environ)))"
    )
    assert deliver(Told(command=(sys.executable, "-c", script)), EVENT) == []
    written = out.read_text()
    assert '"kind": "rollback"' in written
    assert "TOKENLAB" not in written
    ((_, reason),) = deliver(Told(command=(sys.executable, "-c", "exit(3)")), EVENT)
    assert reason.endswith("ended with 3")
    ((_, reason),) = deliver(Told(command=("/nonexistent",)), EVENT)
    assert reason == "/nonexistent cannot be run: No such file or directory"


def test_what_looks_secret_is_taken_out(receiver: Receiver) -> None:
    deliver(Told(Secret(receiver.url)), Event("alert", "key sk-live-abcdefgh12345678 failed"))
    assert "abcdefgh" not in json.dumps(receiver.bodies)


def test_undelivered_is_a_row_that_nobody_undoes(switch: Switch) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 1000))
    switch.note_undelivered(EVENT.text, "webhook at 127.0.0.1: it answered 500")
    newest, change = switch.history.rows(switch.path)
    assert (newest.action, newest.after, newest.reason) == (
        "undelivered", EVENT.text, "webhook at 127.0.0.1: it answered 500",
    )  # fmt: skip
    assert newest.previous_revision == newest.revision == change.revision
    undoable = switch.history.last_undoable(switch.path)
    assert undoable is not None
    assert undoable.id == change.id


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/x", "not https"),
        ("ftp://example.com/x", "not https"),
        ("https://", "is none"),
        ("https://exa mple.com/x", "is none"),
        ("http://[", "is none"),
    ],
)
def test_a_webhook_that_cannot_be_one(url: str, says: str) -> None:
    with pytest.raises(BadCredential, match=says) as told:
        take_webhook({"ROLLOUT_WEBHOOK_URL": url})
    assert url not in str(told.value)


def test_where_a_webhook_comes_from(tmp_path: Path) -> None:
    environ = {"ROLLOUT_WEBHOOK_URL": "https://example.com/a", "HOME": "/"}
    found = take_webhook(environ)
    assert found is not None
    assert (found.reveal(), environ) == ("https://example.com/a", {"HOME": "/"})
    (tmp_path / "rollout_webhook_url").write_text("https://example.com/b\n")
    found = take_webhook({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found is not None
    assert found.reveal() == "https://example.com/b"
    assert take_webhook({}) is None
    with pytest.raises(BadCredential, match="cannot be read"):
        take_webhook({"ROLLOUT_WEBHOOK_URL_FILE": str(tmp_path / "none")})


def test_no_rollback_is_lost_among_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.guard.notify._MOST_WAITING", 20)
    begun, goes_on = threading.Event(), threading.Event()
    delivered: list[str] = []
    lost: list[Event] = []

    def deliver(body: Any, _give_up: threading.Event) -> str:
        begun.set()
        assert goes_on.wait(PATIENCE_S)
        delivered.append(body["text"])
        return ""

    receiver = _Receiver(deliver, "slow", lambda event, _why: lost.append(event))
    told = [("raise", f"raised {n}") for n in range(30)]
    told[10:10] = [("rollback", f"rolled back {n}") for n in range(3)]
    told.append(("alert", "no request is seen"))
    for kind, text in told:
        receiver.tell(Event(kind, text), {"text": text})
        assert begun.wait(PATIENCE_S)
    goes_on.set()
    receiver.end()
    receiver.join(time.monotonic() + PATIENCE_S)
    grave = [*(f"rolled back {n}" for n in range(3)), "no request is seen"]
    assert delivered[1:5] == grave, "before the raises, in their order"
    assert {event.kind for event in lost} == {"raise"}
