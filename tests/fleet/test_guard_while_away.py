"""A guard whose etcd hangs: its turns stay short, it says so, and acts once etcd is back."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import PATIENCE_S, GuardLoop
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse
from tests.support.etcd import Cluster, cluster
from tests.support.waiting import until

KEY = "/rollout/prod"
ROUTES = [f"chat-{number}" for number in range(8)]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Cluster]:
    text = 'schema = 1\nalgorithm = "fractional-v3"\n[guard]\nmode = "enforce"\n'
    for route in ROUTES:
        text += f'[routes.{route}]\nformat = "openai_chat_completions"\nmodel = "m"\n'
        text += f'phase = "rollout"\n[routes.{route}.orgs]\nacme = 50\n'
    with cluster(tmp_path / "etcd") as found, EtcdClient(address_of(found.address())) as client:
        client.put(KEY, text.encode())
        yield found


@pytest.mark.slow
def test_its_turns_stay_short_and_it_acts_once_etcd_is_back(
    etcd: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    now = time.time()
    log = AccessLog(tmp_path / "access.jsonl")
    for number in range(200):
        for route in ROUTES:
            at = timestamp(datetime.fromtimestamp(now - 20 + number / 10, UTC))
            log.append(AccessLine(ts=at, route=route, org="acme", side="tokenlab", model="m",
                                  status=500, latency_ms=100.0))  # fmt: skip
    with EtcdClient(address_of(etcd.address())) as client:
        shared = SharedFile(client)
        shared.follow()
        switch = shared_switch(shared, Actor("guard", "gw-01"), WriteAccess())
        guarding = GuardLoop(switch, Monitor(switch.path, switch.open().file))
        guarding.start(now)
        etcd.members[0].pause()
        try:
            until(lambda: shared.is_away)
            guarding.turn(BalanceWatch(), {}, now)
            start, now = time.monotonic(), now + PATIENCE_S + 1  # by then a standby acts as well
            turn = guarding.turn(BalanceWatch(), {}, now)
            assert time.monotonic() - start < 1.9  # the timeout of one request is 2 s
            assert {one.kind for one in turn.verdicts.values()} == {"rollback"}
            assert "etcd away since" in turn.trouble
            assert not turn.acts
        finally:
            etcd.members[0].go_on()
        until(lambda: not shared.is_away)
        until(lambda: guarding.turn(BalanceWatch(), {}, now).acts)
        file = parse(client.get(KEY).values[0].data)
        assert all(file.is_latched(route) for route in ROUTES)
        guarding.end()
        shared.close()
