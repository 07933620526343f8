"""Home on a rollout file in etcd: who has a change, which servers are amiss, etcd away."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from rollout_console.changes import spread
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet import shared_file
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.fleet.working_copy import WorkingCopy
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.mirror.mirror import Standing
from rollout_console.mirror.registration import Registration
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of
from tests.support.etcd import Cluster, cluster
from tests.support.lossy import Link, lossy
from tests.support.waiting import until_shown
from tests.ui.test_home import alarm, confirm, notices, running
from tests.ui.test_rollback import answer_and_be_asked_again

KEY = "/rollout/prod"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "etcd") as found:
        yield found


@pytest.fixture
def link(etcd: Cluster) -> Iterator[Link]:
    with lossy(etcd.members[0].url) as found:
        yield found


@pytest.fixture
def servers(etcd: Cluster, file: Path) -> Iterator[list["Server"]]:
    """Three servers whose mirrors say what the test has them say."""
    with EtcdClient(address_of(etcd.address())) as client:
        client.put(KEY, file.read_bytes())
        found = [Server(client, f"gw-0{number}") for number in (1, 2, 3)]
        for server in found:
            server.applies()
        yield found


class Server:
    def __init__(self, client: EtcdClient, host: str) -> None:
        self.client = client
        self.registration = Registration(client, KEY, host, "/etc/rollout/rollout.toml")

    def applies(self, *latched: str, trouble: str = "") -> None:
        now = self.client.get(KEY).values[0]
        said = Standing(revision_of(now.data), now.mod_revision, latched, trouble)
        self.registration.tell(said)


@pytest.fixture
def app(
    etcd: Cluster, link: Link, servers: list[Server], file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConsoleApp]:
    monkeypatch.chdir(file.parent)
    with EtcdClient(address_of(f"etcd://{link.url.partition('://')[2]}{KEY}")) as client:
        shared = SharedFile(client)
        shared.follow()
        switch = shared_switch(shared, Actor("jo", "gw-01"), WriteAccess())
        monitor = Monitor(switch.path, switch.open().file, servers=lambda: switch.spread)
        yield ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")
        shared.close()


def status(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query_one("#status", TextLine).text


def in_etcd(servers: list[Server]) -> bytes:
    return servers[0].client.get(KEY).values[0].data


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_rollback_says_how_many_servers_have_it(
    app: ConsoleApp, servers: list[Server], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "LAGS_AFTER_S", 0.5)
    async with running(app, size) as pilot:
        await until_shown(pilot, lambda: "  3/3 servers  " in status(pilot))
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: re.search(r"0/3 servers \d s", status(pilot)))
        assert parse(in_etcd(servers)).is_latched("chat")
        servers[0].applies()
        servers[1].applies()
        await until_shown(pilot, lambda: re.search(r"2/3 servers \d+ s", status(pilot)))
        await until_shown(
            pilot, lambda: "▲ the last change is not in force on gw-03" in alarm(pilot)
        )
        await until_shown(pilot, lambda: "rolled back: not in force on gw-03 · " in notices(pilot))
        servers[2].applies()
        await until_shown(pilot, lambda: re.search(r"3/3 servers in \d+\.\d s", status(pilot)))
        await until_shown(pilot, lambda: "not in force" not in alarm(pilot))
        # The log that is read here has lines of no server: it proves nothing of them.
        await until_shown(pilot, lambda: "; by the log of 0 of 3 servers" in notices(pilot))


@pytest.mark.slow
async def test_a_server_that_is_gone_or_rolled_back_by_itself_is_said(
    app: ConsoleApp, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "GONE_AFTER_S", 0.2)
    async with running(app) as pilot:
        servers[1].applies("chat/acme")
        await until_shown(pilot, lambda: "rolled back on gw-02 alone: chat/acme" in alarm(pilot))
        servers[2].registration.end()
        await until_shown(pilot, lambda: "2/3 servers" in status(pilot))
        await until_shown(pilot, lambda: "▲ no heartbeat from the mirror on gw-03" in alarm(pilot))
        servers[0].applies(trouble="the disk is full")
        await until_shown(pilot, lambda: "1 of 3" in alarm(pilot) or "of 3" in alarm(pilot))
        texts = {alert.sentence for alert in app.session.alerts.open}
        assert "gw-01: the disk is full" in texts


@pytest.mark.slow
async def test_etcd_away_is_said_and_a_rollback_is_not_made(
    app: ConsoleApp, servers: list[Server], link: Link
) -> None:
    async with running(app) as pilot:
        await until_shown(pilot, lambda: "3/3 servers" in status(pilot))
        link.is_cut = True
        await until_shown(pilot, lambda: "! ETCD AWAY" in status(pilot))
        assert "etcd away since" in notices(pilot)
        await pilot.press("R")
        shown = await answer_and_be_asked_again(pilot)
        shown = " ".join(shown.split())
        assert "NOT ROLLED BACK: chat" in shown
        assert "on each server its own file can still be rolled back" in shown
        assert "its traffic has not moved" in shown
        link.is_cut = False
        assert not parse(in_etcd(servers)).is_latched("chat")
        await confirm(pilot)
        await until_shown(pilot, lambda: parse(in_etcd(servers)).is_latched("chat"))
        await until_shown(pilot, lambda: "ETCD AWAY" not in status(pilot))
        await until_shown(pilot, lambda: "WHETHER" not in notices(pilot))


async def test_a_rollback_whose_answer_is_lost_is_not_said_to_be_none(
    app: ConsoleApp, servers: list[Server], link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "SETTLE_S", 0.3)
    async with running(app) as pilot:
        await until_shown(pilot, lambda: "3/3 servers" in status(pilot))
        link.lose = ["request"] * 99
        await pilot.press("R")
        shown = await answer_and_be_asked_again(pilot)
        shown = " ".join(shown.split())
        assert "NOT KNOWN WHETHER ROLLED BACK: chat" in shown
        assert "on a server its own file can be rolled back" in shown
        assert "not moved" not in shown
        link.lose = []
        await confirm(pilot)
        await until_shown(pilot, lambda: parse(in_etcd(servers)).is_latched("chat"))
        await until_shown(pilot, lambda: "ETCD AWAY" not in status(pilot))
        await until_shown(pilot, lambda: "WHETHER" not in notices(pilot))


@pytest.mark.slow
async def test_what_another_host_did_is_seen_with_its_author(
    app: ConsoleApp, servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app) as pilot:
        monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "gw-02"))
        other = shared_switch(SharedFile(servers[0].client), Actor("ann", "gw-02"), WriteAccess())
        other.open()
        other.apply(other.planner.plan_rollback("chat", "acme", ""))
        await until_shown(
            pilot,
            lambda: "etcd:/rollout/prod was changed by ann@gw-02: rollback chat" in notices(pilot),
        )


@pytest.mark.slow
async def test_a_full_disk_stops_no_rollback_on_top_of_what_another_did(
    app: ConsoleApp, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with running(app, (120, 40)) as pilot:
        monkeypatch.setattr(WorkingCopy, "put", full)
        changed = in_etcd(servers).replace(b"acme = 25", b"acme = 30")
        assert changed != in_etcd(servers)
        servers[0].client.put(KEY, changed)
        await until_shown(pilot, lambda: "! NOT COPIED" in status(pilot))
        await until_shown(
            pilot, lambda: app._monitor.file.routes["chat"].orgs["acme"].points == 3000
        )
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: parse(in_etcd(servers)).is_latched("chat"))
        await until_shown(pilot, lambda: "chat rolled back: " in notices(pilot))
        assert "NOT ROLLED BACK" not in notices(pilot)
        assert b"acme = 30" in in_etcd(servers)


async def test_the_plan_is_named_by_its_key(app: ConsoleApp) -> None:
    async with running(app) as pilot:
        await pilot.press("4")
        await until_shown(
            pilot,
            lambda: (
                pilot.app.screen.query("#routes-status")
                and "plan in etcd:/rollout/prod/plan"
                in pilot.app.screen.query_one("#routes-status", TextLine).text
            ),
        )
