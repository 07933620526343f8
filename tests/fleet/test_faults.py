"""Consoles on three members that are killed, paused and started again; guards that take over."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from rollout_console.changes.errors import Conflict, Uncertain
from rollout_console.common.errors import NothingToDo
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdRefused
from rollout_console.fleet import leadership
from rollout_console.fleet.leadership import Leadership
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.fleet.view import leader_key, read_view
from rollout_console.history.actor import Actor
from rollout_gate.file.parse import parse
from tests.fleet.test_shared_file import writes
from tests.mirror.servers import text
from tests.support.etcd import Cluster, cluster
from tests.support.waiting import until

KEY = "/rollout/prod"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "etcd", 3) as found:
        yield found


@pytest.fixture
def client(three: Cluster) -> Iterator[EtcdClient]:
    with EtcdClient(address_of(three.address())) as found:
        found.put(KEY, text())
        yield found


@pytest.mark.slow
def test_no_acknowledged_change_is_lost_and_none_made_twice(
    three: Cluster, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three consoles change one key while each member is killed, then paused, in its turn."""
    acknowledged: dict[str, list[int]] = {f"gw-{number}": [] for number in range(3)}
    unknown: dict[str, list[int]] = {host: [] for host in acknowledged}
    stop = threading.Event()
    switches = {}
    with ExitStack() as stack:
        for host in acknowledged:
            monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / host))
            shared = SharedFile(stack.enter_context(EtcdClient(address_of(three.address()))))
            switch = shared_switch(shared, Actor("jo", host), WriteAccess())
            switch.open()
            switches[host] = switch

        def work(host: str, number: int) -> None:
            """Count the default share up, whoever counted before: a lost change shows."""
            switch, mine = switches[host], 0
            while not stop.is_set():
                try:
                    switch.refresh()
                    mine += 1
                    percent = 1 + mine % 99
                    plan = switch.planner.plan_set("chat", f"{host}-org", 100 * percent)
                    switch.apply(plan, reason=f"{host} {mine}")
                    acknowledged[host].append(mine)
                except Uncertain:
                    unknown[host].append(mine)
                except (Conflict, EtcdAway, NothingToDo):
                    pass
                except Exception as error:  # what nobody expects ends the test
                    if "etcd away" not in str(error):
                        raise

        threads = [
            threading.Thread(target=work, args=(host, number), daemon=True)
            for number, host in enumerate(acknowledged)
        ]
        for thread in threads:
            thread.start()
        for member in three.members:
            count = sum(map(len, acknowledged.values()))
            member.kill()
            until(lambda: sum(map(len, acknowledged.values())) > count + 5)  # noqa: B023
            member.start(three.members)
            until(lambda: member.is_healthy)  # noqa: B023
        for member in three.members:
            count = sum(map(len, acknowledged.values()))
            member.pause()
            until(lambda: sum(map(len, acknowledged.values())) > count + 5)  # noqa: B023
            member.go_on()
            until(lambda: member.is_healthy)  # noqa: B023
        stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        rows = [one.rows[0] for one in writes(client)]
        made = [row.reason for row in rows]
        assert len(made) == len(set(made)), "a change was made twice"
        for host, some in acknowledged.items():
            lost = {f"{host} {number}" for number in some} - set(made)
            assert not lost, "an acknowledged change is not there"
        for host in acknowledged:
            known = {f"{host} {number}" for number in acknowledged[host] + unknown[host]}
            assert {one for one in made if one.startswith(f"{host} ")} <= known
        joins = list(itertools.pairwise(rows))
        assert all(before.revision == after.previous_revision for before, after in joins)
        for switch in switches.values():
            assert isinstance(switch.shared, SharedFile)
            switch.shared.sync()
            assert switch.path.read_bytes() == client.get(KEY).values[0].data


@pytest.mark.slow
def test_without_a_majority_nothing_is_changed_and_the_console_goes_on(
    three: Cluster, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    with EtcdClient(address_of(three.address())) as mine:
        shared = SharedFile(mine)
        switch = shared_switch(shared, Actor("jo", "gw-01"), WriteAccess())
        switch.open()
        shared.follow()
        for member in three.members[1:]:
            member.kill()
        until(lambda: shared.trouble)
        with pytest.raises((EtcdAway, Uncertain)):
            switch.apply(switch.planner.plan_rollback("chat", "acme", ""))
        for member in three.members[1:]:
            member.start(three.members)
        until(lambda: not shared.trouble)
        client.put(KEY, text("66"))
        until(lambda: switch.path.read_bytes() == text("66"))
        shared.close()


@contextmanager
def guarding(address: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "-f", address, "guard", "--every", "1s"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        env={**os.environ, "ROLLOUT_STATE_DIR": str(folder / "state")},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_when_the_guard_that_acts_dies_another_goes_on_where_it_stopped(
    three: Cluster, client: EtcdClient, tmp_path: Path
) -> None:
    ramp = b'[ramp]\nsteps = [1, 5, 100]\nbake = "15m"\n[routes.chat]\nphase = "rollout"\n'
    orgs = text() + b"initech = { percent = 10, rolled_back = true }\n"
    client.put(KEY, orgs.replace(b"[routes.chat]\n", ramp))

    def leader() -> bytes:
        found = client.get(leader_key(KEY)).values
        return found[0].data if found else b""

    def record() -> bytes:
        part = read_view(client, 0).parts.get("guard")
        return b"" if part is None else part.data

    with guarding(three.address(), tmp_path / "one") as one:
        until(leader)
        first = leader()
        assert first.endswith(f" {one.pid}".encode())
        until(lambda: b"initech" in record() and b"globex" in record())  # out of it, and in it
        before = record()
        with guarding(three.address(), tmp_path / "two") as two:
            one.kill()
            until(lambda: leader() not in (b"", first))
            assert leader().endswith(f" {two.pid}".encode())
            assert record() == before  # nothing is taken out once more
            two.send_signal(signal.SIGTERM)
            assert two.wait(30) == 0
            assert leader() == b""
            assert two.stdout is not None
            assert "this guard is the leader" in two.stdout.read()


@pytest.mark.slow
def test_a_leader_that_cannot_reach_etcd_stops_being_it_by_its_own_clock(
    three: Cluster, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "LEASE_S", 3)
    one = Leadership(client, "guard@gw-01", lambda: False)
    with EtcdClient(address_of(three.address())) as other:
        two = Leadership(other, "guard@gw-02", lambda: False)
        assert one.hold()
        assert not two.hold()
        assert one.hold()
        monkeypatch.setattr(client, "keep_alive", _away)
        monkeypatch.setattr(client, "put_if_unchanged", _away)
        start = time.monotonic()
        until(lambda: not one.hold())
        assert time.monotonic() - start < 3 + 10, "it goes on as if it had the lease"
        until(two.hold)
        two.release()
        monkeypatch.undo()
        monkeypatch.setattr(leadership, "LEASE_S", 3)
        until(one.hold)
        one.release()
    assert parse(client.get(KEY).values[0].data)


@pytest.mark.slow
def test_a_suspended_leader_goes_on_with_nothing(
    client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock of a suspended machine stands still, and so does its process."""
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    shared = SharedFile(client)
    one = shared.leadership("guard@gw-01")
    two = Leadership(client, "guard@gw-02", lambda: False)
    assert one.hold()
    shared.publish("guard", None, b"# one\n")
    lease = client.get(leader_key(KEY)).values[0].lease
    client.revoke(lease)  # as etcd does when it is not kept alive
    assert two.hold()
    with pytest.raises(Conflict):
        shared.publish("guard", b"# one\n", b"# two\n")
    assert one.hold()  # it is not due to ask, by a clock that stood still
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=leadership.LEASE_S + 1)):
        assert not one.hold()
    two.release()
    until(one.hold)
    shared.publish("guard", b"# one\n", b"# two\n")
    one.release()


def _away(*_: object, **__: object) -> int:
    raise EtcdAway("cut off")


@pytest.mark.slow
def test_a_leader_without_a_lease_is_no_guard_and_told(
    client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever put it there, no guard would raise any more, and nobody would know why."""
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    client.put(leader_key(KEY), b"me")
    one = Leadership(client, "guard@gw-01", lambda: False)
    assert not one.hold()
    assert f"etcdctl del {leader_key(KEY)}" in one.no_locks
    assert not SharedFile(client).has_leader
    client.delete(leader_key(KEY))
    until(one.hold)
    assert one.no_locks == ""
    assert SharedFile(client).has_leader
    one.release()


@pytest.mark.slow
def test_a_guard_that_may_not_elect_says_so(
    client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refused(*_: object, **__: object) -> int:
        raise EtcdRefused("etcd refuses it: permission denied")

    one = Leadership(client, "guard@gw-01", lambda: False)
    monkeypatch.setattr(client, "lease", refused)
    assert not one.hold()
    assert "permission denied" in one.no_locks
