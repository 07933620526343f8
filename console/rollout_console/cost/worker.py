"""Cost worker process: pulls, matches and attributes once, then answers requests for rows.

It is started by ``cost.worker_client`` for a screen. Matching a million lines takes most of a
minute of CPU, which in a thread would hold the GIL, and so the event loop. Its stdin is an Order
and then Requests, its stdout Answers; it ends with SIGTERM and with its stdin.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Lock, Thread
from typing import BinaryIO

from rollout_console.common.child_process import frame_of, read_frame
from rollout_console.common.durations import seconds_text
from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible
from rollout_console.common.standard_streams import buffer_standard_streams
from rollout_console.cost.burn import burn_of
from rollout_console.cost.costs import CostAsked, ask_money, attributed
from rollout_console.cost.row_desk import RowDesk, loaded_from, nothing_pulled
from rollout_console.cost.worker_protocol import (
    Answer,
    Failed,
    Money,
    Order,
    Preview,
    Pulling,
    Request,
    Waiting,
    decode_order,
    decode_request,
    encode,
)
from rollout_console.credentials.api_keys import ApiKeys, with_token
from rollout_console.reconcile.money import total
from rollout_console.reconcile.pull import Progress
from rollout_console.reconcile.reconciliation import Watcher, pulled_until
from rollout_console.reconcile.store import UsageStore, store_path
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.formats import root_of
from rollout_gate.file.parse import parse
from rollout_gate.secret import Secret, redacted

_NICENESS = 10
_TOLD_EVERY_S = 0.1
_GRACE_S = 2.0
"""Seconds after the end of stdin in which an export is cleaned up; a long SQL statement may last
longer, and leaves nothing."""
_HOW_TO_PULL = "a pull reads the rest"

Send = Callable[[Answer], None]
Next = Callable[[], Request | None]


class _Teller(Watcher):
    """Sends how a pull goes, a few times a second."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._next = 0.0

    def progress(self, progress: Progress) -> None:
        """Send how far it is."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _TOLD_EVERY_S
        whole = (progress.key - 1 + progress.part) / max(progress.keys, 1)
        found = Pulling(
            whole, progress.key, progress.keys, progress.name, progress.records, progress.requests
        )
        self._send(found)

    def waits(self, seconds: float, why: str) -> None:
        """Send that the pull waits."""
        self._send(Waiting(f"waiting {seconds_text(seconds)}: {redacted(visible(why))}"))

    def locked(self) -> None:
        """Send that another process pulls."""
        self._send(Waiting("waiting for another pull of the same records"))


def serve(order: Order, receive: Next, send: Send, clock: Callable[[], float] = time.time) -> None:
    """Carry out an order, and answer requests until ``receive`` returns None.

    What goes wrong is sent as a sentence: of a request, or of the order, which ends this.
    """
    try:
        _serve(order, receive, send, clock)
    except (OperationError, ApiError, RolloutError) as error:
        send(Failed(0, _sentence(error)))
    except OSError as error:
        send(Failed(0, f"costs cannot be added up: {error.strerror or error}"))


def _serve(order: Order, receive: Next, send: Send, clock: Callable[[], float]) -> None:
    folder, path = (Path(os.fsdecode(one)) for one in (order.folder, order.path))
    file = parse(order.file)
    token = Secret(order.token) if order.token else None
    room = with_token(order.profile, order.base_url, token, folder / "profiles.json")
    until = clock()
    if not order.pulls:
        found = pulled_until(store_path(folder, order.profile, root_of(order.base_url)))
        if found is None:
            send(nothing_pulled(order.span_s, until))
            _tell_money(room, None, token, send)
            while (request := receive()) is not None:
                send(Failed(request.serial, "nothing was pulled yet"))
            return
        until = min(until, found)
        send(_preview(store_path(folder, order.profile, root_of(order.base_url)), order, until))
    asked = CostAsked(
        until - order.span_s, until, offline=not order.pulls, pull_since=until - order.before_s,
        how_to_pull=_HOW_TO_PULL,
    )  # fmt: skip
    with attributed(
        asked, room, file, path, folder, _Teller(send), clock, order.recorded, keeps=order.keeps
    ) as (costs, outcome):
        send(loaded_from(costs, outcome))
        desk = RowDesk(costs, outcome, room, file, path, folder, clock)
        _tell_money(room, desk, token, send)
        while (request := receive()) is not None:
            try:
                send(desk.answer(request))
            except OperationError as error:
                send(Failed(request.serial, _sentence(error)))


def _preview(path: Path, order: Order, until: float) -> Preview:
    since = until - order.span_s
    with UsageStore(path) as store:
        costs = store.costs(round(since * 1e6), round(until * 1e6))
        burn = burn_of(store, until)
        return Preview(since, until, total(costs.values()), burn, store.known_keys())


def _tell_money(room: ApiKeys, desk: RowDesk | None, token: Secret | None, send: Send) -> None:
    """Send the runways of balance and keys in their time: rows are asked for meanwhile."""
    if token is None or desk is None:
        send(Money())
        return

    def ask() -> None:
        try:
            send(Money(*ask_money(room, desk.burn)))
        except (OperationError, OSError) as error:
            send(Money(problem=f"balance and limits are not known: {_sentence(error)}"))

    Thread(target=ask, name="money", daemon=True).start()


def _sentence(error: Exception) -> str:
    return redacted(visible(str(error)))


def _follow(pipe: BinaryIO, requests: "Queue[Request]") -> None:
    """Queue what is asked; end the process with the pipe, as nobody is left to answer."""
    while (data := read_frame(pipe)) is not None:
        requests.put(decode_request(data))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)


_WRITING = Lock()


def _write(pipe: BinaryIO, answer: Answer) -> None:
    data = frame_of(encode(answer))
    with _WRITING:
        pipe.write(data)
        pipe.flush()


def main() -> None:
    """Read an order from stdin, and answer on stdout."""
    os.nice(_NICENESS)  # processes that serve traffic on this host have priority
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c in the terminal is the console's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what is half written is deleted
    buffer_standard_streams()
    data = read_frame(sys.stdin.buffer)
    if data is None:
        return
    order = decode_order(data)
    requests: Queue[Request] = Queue()
    Thread(target=_follow, args=(sys.stdin.buffer, requests), name="requests", daemon=True).start()
    try:
        serve(order, requests.get, partial(_write, sys.stdout.buffer))
    finally:
        # All is cleaned up and flushed. At its shutdown the interpreter would abort: the daemon
        # thread holds the lock of the buffered stdin.
        os._exit(0)


if __name__ == "__main__":
    main()
