"""Hosts whose clocks differ share one rollout file: what is dated, what is told, what is held."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import time_machine

from rollout_console.changes.clocks import MOST_LATE_S, by_heartbeats, clock_problem, is_own
from rollout_console.changes.spread import Registered, Spread
from rollout_console.changes.switch import Switch
from rollout_console.cli.main import run
from rollout_console.etcd import client as etcd_client
from rollout_console.etcd.answers import seconds_ahead
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.guard.alerts import alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.rows import Change
from rollout_console.mirror.mirror import Standing
from rollout_console.mirror.registration import LEASE_S, Registration
from tests.fleet.conftest import Host
from tests.fleet.test_shared_file import shared, to

HOUR = timedelta(hours=1)


def newest(switch: Switch) -> Change:
    rows, why = switch.recent(1)
    assert not why
    return rows[0]


def beat(client: EtcdClient, host: str, ahead: timedelta = timedelta(0)) -> None:
    with time_machine.travel(datetime.now(UTC) + ahead):
        said = Standing("r7", 7)
        Registration(client, client.address.key, host, "/etc/rollout/rollout.toml").tell(said)


def synced(switch: Switch) -> SharedFile:
    found = shared(switch)
    found.sync()
    return found


@pytest.mark.parametrize("ahead", [-HOUR, HOUR, timedelta(days=9)])
def test_a_change_is_dated_by_when_it_came(host: Host, ahead: timedelta) -> None:
    guard, other = host("gw-01"), host("gw-02")
    shared(guard).sync()
    with time_machine.travel(datetime.now(UTC) + ahead):
        other.apply(to(other, 25))
    shared(guard).sync()
    assert abs(datetime.now(UTC) - newest(guard).at) < timedelta(seconds=30)


def test_a_raise_by_a_clock_that_is_behind_bakes(host: Host) -> None:
    guard, other = host("gw-01"), host("gw-02")
    monitor = Monitor(guard.path, guard.open().file)
    shared(guard).sync()
    monitor.remember(guard.recorded(), time.time())
    with time_machine.travel(datetime.now(UTC) - HOUR):
        other.apply(to(other, 25))
    shared(guard).sync()
    now = time.time()
    monitor.remember(guard.recorded(), now)
    assert now - monitor.raised_at("chat", "acme") < 30


def test_of_a_change_from_before_it_was_looked_at_nothing_is_known(host: Host) -> None:
    other = host("gw-02")
    with time_machine.travel(datetime.now(UTC) - HOUR):
        other.apply(to(other, 25))
    late = host("gw-01")
    assert datetime.now(UTC) - newest(late).at > timedelta(minutes=50)


def test_a_server_whose_clock_is_off_is_named(host: Host, client: EtcdClient) -> None:
    for name in ("gw-01", "gw-02", "gw-03"):
        beat(client, name)
    console = host("gw-09")
    assert synced(console).spread.clock_problem == ""
    beat(client, "gw-01")
    beat(client, "gw-02", -HOUR)
    spread = synced(console).spread
    assert spread.clock_problem.startswith("the clock of gw-02 is 60 m behind: set the clocks")
    assert spread.own_clock_problem == ""
    monitor = Monitor(console.path, console.open().file, servers=lambda: console.spread)
    found = alerts_now(monitor, BalanceWatch(pending=True), {}, "", time.time())
    assert [one.level for one in found if one.sentence == spread.clock_problem] == ["warning"]
    beat(client, "gw-02")
    assert synced(console).spread.clock_problem == ""


def test_this_host_is_the_one_whose_clock_is_off(host: Host, client: EtcdClient) -> None:
    with time_machine.travel(datetime.now(UTC) + HOUR):
        console = host("gw-09")
        # Of two clocks nobody knows which is off: it is told, and holds nothing.
        assert "this host's clock is 60 m ahead of that of 127.0.0.1" in (
            shared(console).spread.clock_problem
        )
        assert not shared(console).spread.own_clock_problem
    beat(client, "gw-01")
    with time_machine.travel(datetime.now(UTC) + HOUR):
        shared(console).sync()
    beat(client, "gw-01")
    with time_machine.travel(datetime.now(UTC) + HOUR):
        spread = synced(console).spread
        assert "60 m ahead of that of" in spread.own_clock_problem
        monitor = Monitor(console.path, console.open().file, servers=lambda: console.spread)
        assert monitor.clock_words(time.time()) == spread.own_clock_problem


def test_the_list_of_mirrors_tells_no_age_by_a_clock_that_is_off(
    client: EtcdClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, ahead in (("gw-01", timedelta(0)), ("gw-02", HOUR), ("gw-03", -HOUR)):
        beat(client, name, ahead)
    assert run(["mirror", "--list", str(client.address)]) == 1  # they are behind
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(", ")[1] for line in lines] == [
        next(part for part in lines[0].split(", ") if part.endswith(" s ago")),
        "its clock is 60 m ahead",
        "its clock is 60 m behind or its heartbeats are refused",
    ]


def test_a_heartbeat_proves_a_clock_only_where_it_is_new() -> None:
    one = Registered("gw-01", "/f", at=100.0)
    later = Registered("gw-01", "/f", at=105.0)
    assert by_heartbeats([one], [one], 4000.0, 4002.0) == {}
    assert by_heartbeats([one], [later], None, 4002.0) == {}
    assert by_heartbeats([one], [later], 104.0, 106.0) == {"gw-01": 0.0}
    assert by_heartbeats([one], [later], 4000.0, 4002.0) == {"gw-01": -3895.0}
    assert by_heartbeats([one], [later], 50.0, 52.0) == {"gw-01": 53.0}
    # This process was stopped, or its clock was set back: nothing is proven.
    assert by_heartbeats([one], [later], 100.0, 4002.0) == {"gw-01": 0.0}


def test_a_heartbeat_that_took_long_is_no_clock_that_is_behind() -> None:
    one, later = Registered("gw-01", "/f", at=100.0), Registered("gw-01", "/f", at=105.0)
    assert MOST_LATE_S == LEASE_S
    assert by_heartbeats([one], [later], 109.0, 112.0) == {"gw-01": 0.0}
    unknown = by_heartbeats([one], [later], 111.0, 112.0)
    assert unknown == {"gw-01": None}
    before = Spread(mirrors=(one,), clocks={"gw-01": -3600.0})
    assert before.after("", (later,), 1.0, unknown).clocks == {}
    assert by_heartbeats([one], [later], 121.0, 122.0) == {"gw-01": -16.0}


@pytest.mark.parametrize(
    ("asked", "now", "ahead"),
    [(1000.2, 1000.4, 0.0), (990.0, 4600.0, 0.0), (1031.0, 4600.0, -30.0), (930.0, 940.0, 60.0)],
)
def test_an_answer_that_was_read_late_is_no_clock_that_is_behind(
    asked: float, now: float, ahead: float
) -> None:
    answer = httpx.Response(
        200, headers={"Date": format_datetime(datetime.fromtimestamp(1000, UTC))}
    )
    assert seconds_ahead(answer, asked, now) == ahead


def test_the_clock_of_a_member_that_is_not_asked_any_more_is_not_known(
    client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(datetime.now(UTC) + HOUR):
        client.get(client.address.key)
    assert client.clocks["127.0.0.1"] < -3500
    monkeypatch.setattr(etcd_client, "CLOCK_KNOWN_S", -1.0)
    assert client.clocks == {}


def test_the_clock_that_most_others_contradict_is_off() -> None:
    assert not is_own({"a": 3600.0})
    assert is_own({"a": 3600.0, "b": 3601.0})
    assert not is_own({"a": 3600.0, "b": 0.0})
    assert clock_problem({"a": 4.0, "b": -4.0}) == ""
    assert clock_problem({"a": -90.0, "b": 0.0, "c": 60.0, "d": 1.0, "e": 0.0}).startswith(
        "the clocks of a, c are up to 90 s off: "
    )
    assert clock_problem({"a": 90.0, "b": 89.0}).startswith(
        "this host's clock is 89 s behind that of most others: "
    )
    assert clock_problem({"a": 7200.0, "b": -4200.0, "c": -3601.0, "d": -3600.0}).startswith(
        "this host's clock is 60 m ahead of that of most others: "
    )
    assert clock_problem({"a": 7200.0, "b": -7200.0}).startswith("the clocks of a, b are up to 2 h")
