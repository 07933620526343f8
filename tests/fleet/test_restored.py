"""A cluster that is restored from a backup while consoles and mirrors are at it (etcdctl snapshot).

Under the names that its members had it keeps its id: only its revision goes down.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.mirror.mirror import Mirror
from rollout_console.mirror.registration import Registration
from tests.mirror.servers import text
from tests.support.etcd import Cluster, cluster

KEY = "/rollout/prod"
Console = Callable[[str], Switch]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "etcd") as found, EtcdClient(address_of(found.address())) as client:
        client.put(KEY, text())
        yield found


@pytest.fixture
def client(etcd: Cluster) -> Iterator[EtcdClient]:
    with EtcdClient(address_of(etcd.address())) as found:
        yield found


@pytest.fixture
def console(client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Console:
    """Open a console of the user of that name."""

    def opened(user: str) -> Switch:
        monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / user))
        switch = shared_switch(SharedFile(client), Actor(user, "gw-01"), WriteAccess())
        switch.open()
        return switch

    return opened


def shared(switch: Switch) -> SharedFile:
    assert isinstance(switch.shared, SharedFile)
    return switch.shared


def sets(switch: Switch, percent: int) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 100 * percent))


def rows(switch: Switch) -> list[str]:
    return [f"{row.author}: {row.after}" for row in switch.recent(20)[0]]


def restored(etcd: Cluster, tmp_path: Path) -> None:
    etcd.members[0].restore(tmp_path / "backup", etcd.members)
    etcd.wait()


def test_consoles_have_its_version_and_its_history(
    etcd: Cluster, client: EtcdClient, console: Console, tmp_path: Path
) -> None:
    """One that is open, one that is opened after it, and one after changes beyond what it had."""
    running, asleep = console("jo"), console("al")
    sets(running, 20)
    etcd.members[0].save(tmp_path / "backup")
    for percent in (30, 40, 50):
        sets(running, percent)
    shared(asleep).sync()
    before = client.get(KEY)
    restored(etcd, tmp_path)
    assert client.get(KEY).cluster == before.cluster
    assert client.get(KEY).revision < before.revision

    shared(running).sync()
    running.refresh()
    assert running.path.read_bytes() == text("20")
    assert rows(running) == ["jo@gw-01: 20"]
    (problem,) = shared(running).spread.problems
    assert problem[0] == "restored"

    while client.get(KEY).revision <= before.revision + 5:
        sets(running, 60 + client.get(KEY).revision % 7)
    late = console("al")
    assert late.path.read_bytes() == running.path.read_bytes() == client.get(KEY).values[0].data
    assert rows(late) == rows(running)
    assert "jo@gw-01: 50" not in rows(late)


def test_a_working_copy_of_a_later_revision_gives_way(
    etcd: Cluster, client: EtcdClient, console: Console, tmp_path: Path
) -> None:
    """The console's own files have no rows of the history, by which it would be known."""
    one = console("jo")
    etcd.members[0].save(tmp_path / "backup")
    for number in range(9):
        shared(one).publish("plan", None if not number else b"# %d\n" % (number - 1),
                            b"# %d\n" % number)  # fmt: skip
    plan = one.path.with_name("prod.plan.toml")
    assert plan.read_bytes() == b"# 8\n"
    restored(etcd, tmp_path)
    late = console("jo")
    assert late.path == one.path
    assert not plan.exists()
    sets(late, 33)
    assert late.path.read_bytes() == client.get(KEY).values[0].data == text("33")


def test_servers_have_its_version_and_until_then_they_lag(
    etcd: Cluster,
    client: EtcdClient,
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "gw-02").mkdir()
    path = tmp_path / "gw-02" / "rollout.toml"
    said: list[str] = []
    mine = Switch(path, History(tmp_path / "gw-02" / "h.sqlite3"), Actor("mirror", "gw-02"))
    mirror, registration = Mirror(mine, KEY, said.append), Registration(client, KEY, "gw-02", "/r")

    def mirrors() -> None:
        answer = client.get(KEY)
        mirror.take(answer.values[0], answer.cluster, answer.revision)
        registration.tell(mirror.standing)

    jo = console("jo")
    sets(jo, 20)
    mirrors()
    etcd.members[0].save(tmp_path / "backup")
    sets(jo, 90)
    mirrors()
    assert path.read_bytes() == text("90")
    registered = mirror.standing
    restored(etcd, tmp_path)
    shared(jo).sync()
    monkeypatch.setattr("rollout_console.mirror.mirror.INSISTS_S", 0.0)
    Registration(client, KEY, "gw-02", "/r").tell(registered)  # its mirror has not read it yet
    shared(jo).sync()
    assert [one.host for one in shared(jo).spread.lagging] == ["gw-02"]
    mirrors()
    assert path.read_bytes() == text("20")
    assert "another cluster" in said[-1]
    shared(jo).sync()
    assert shared(jo).spread.is_done
