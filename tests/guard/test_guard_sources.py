"""What the guard asks the network for: bounded in time, and known not to be known meanwhile."""

import socket
import threading
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.cli.credentials import fixed_vault
from rollout_console.guard import network_sources as guard_sources
from rollout_console.guard.network_sources import GuardSources
from rollout_console.models.catalogue import Catalogue
from rollout_gate.file.parse import parse
from tests.support.waiting import soon


def test_an_api_that_drips_is_waited_for_no_longer_than_said(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_sources, "ANSWER_S", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def drip() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
            while True:
                connection.sendall(b" ")
                time.sleep(0.05)

    threading.Thread(target=drip, daemon=True).start()
    found = parse(file.read_bytes().replace(b"https://api.tokenlab.sh", url.encode()))
    vault = fixed_vault({"api_key": "sk-sim-x", "management_token": "mt-sim-x"}, {})
    sources = GuardSources(vault, Catalogue(url, tmp_path), lambda: found)
    assert sources.balance.hold(Decimal(1), 0.0) == "balance not known: no answer yet"
    with soon():
        sources.ask()
    assert sources.balance.hold(Decimal(1), 0.0) == "balance not known: no answer within 0 s"
    listener.close()


def test_the_thread_outlives_whatever_happens(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Semaphore(0)

    def broken(*_: object, **__: object) -> None:
        asked.release()
        raise RuntimeError

    monkeypatch.setattr(guard_sources, "BALANCE_EVERY_S", 0.01)
    monkeypatch.setattr(GuardSources, "ask", broken)
    found = parse(file.read_bytes())
    sources = GuardSources(
        fixed_vault({}, {}), Catalogue("http://127.0.0.1:9", tmp_path), lambda: found
    )
    sources.start()
    for _ in range(3):
        assert asked.acquire(timeout=10)
    sources.stop()
    assert "RuntimeError" in sources.balance.trouble
