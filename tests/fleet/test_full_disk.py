"""A console whose disk fills up while it runs, and somebody else's changes meanwhile."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rollout_console.changes.errors import NotWritable
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.guard.ramp_record import Place, RampRecord
from rollout_gate.file.parse import parse
from tests.fleet.conftest import Host
from tests.fleet.test_shared_file import in_etcd, shared, to, writes
from tests.support.parts import missing_part
from tests.support.waiting import until


class Disk:
    """A file system of its own, which the state folder of one host is on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no byte free; call it while nothing follows etcd, as SQLite's shared-memory file
        of a history that is being read then is 32 KiB, free again after it."""
        with suppress(OSError), (self.folder / "fill").open("wb", buffering=0) as stream:
            while stream.write(b"\0" * 512):
                pass

    def empty(self) -> None:
        (self.folder / "fill").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The file system of gw-01's state folder, of 1 MiB."""
    folder = tmp_path / "gw-01"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        missing_part("a tmpfs cannot be mounted here")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def rows(client: EtcdClient) -> list[tuple[str, str]]:
    return [(row.action, row.host) for write in writes(client) for row in write.rows]


@pytest.mark.slow
def test_a_rollback_is_made_on_top_of_what_others_did_meanwhile(
    disk: Disk, host: Host, client: EtcdClient
) -> None:
    one, two = host("gw-01"), host("gw-02")
    disk.fill()
    shared(one).follow()
    two.apply(to(two, 25))
    until(lambda: "can be written" in shared(one).trouble)
    found = one.refresh()
    assert found is not None
    assert found[0].file.routes["chat"].orgs["acme"].points == 2500
    one.apply(one.planner.plan_rollback("chat", "acme", "5xx"))
    shared(two).sync()
    two.refresh()
    two.apply(to(two, 30, "globex"))
    until(lambda: shared(one).view.text_revision == shared(two).view.text_revision)
    one.refresh()
    one.apply(one.planner.plan_rollback("chat", None, "5xx"))
    file = parse(in_etcd(client))
    assert file.is_latched("chat")
    assert file.routes["chat"].orgs["acme"].rolled_back
    assert rows(client) == [
        ("set", "gw-02"), ("rollback", "gw-01"), ("set", "gw-02"), ("rollback", "gw-01"),
    ]  # fmt: skip
    assert [row.action for row in one.recent(9)[0]] == ["rollback", "set", "rollback", "set"]
    one.apply(one.planner.plan_undo())
    assert not parse(in_etcd(client)).is_latched("chat")
    assert "kept in memory" in shared(one).trouble
    disk.empty()
    until(lambda: shared(one).is_copied)
    assert not shared(one).trouble
    assert one.path.read_bytes() == in_etcd(client)
    assert one.refresh() is None
    shared(one).close()


def test_an_unusable_text_is_replaced_with_a_full_disk(
    disk: Disk, host: Host, client: EtcdClient
) -> None:
    one = host("gw-01")
    disk.fill()
    shared(one).follow()
    client.put(client.address.key, b"schema = \n")
    until(lambda: "can be written" in shared(one).trouble)
    with pytest.raises(Exception, match="line 1"):
        one.refresh()
    one.apply(one.planner.plan_rollback("chat", "acme", "5xx"))
    assert parse(in_etcd(client)).is_latched("chat", "acme")
    shared(one).close()


def test_who_has_a_change_is_known_with_a_full_disk(disk: Disk, host: Host) -> None:
    one, two = host("gw-01"), host("gw-02")
    assert isinstance(shared(one), SharedFile)
    disk.fill()
    shared(one).follow()
    two.apply(to(two, 25))
    until(lambda: shared(one).spread.revision == shared(two).view.text_revision)
    shared(one).close()


def test_the_record_of_the_ramps_goes_on_with_a_full_disk(
    disk: Disk, host: Host, client: EtcdClient
) -> None:
    one, two = host("gw-01"), host("gw-02")
    records = [RampRecord(at.path, at.access, at.publisher("guard")) for at in (one, two)]
    disk.fill()
    records[1].keep("chat", {"acme": Place(500)})
    with suppress(NotWritable):
        shared(one).sync()
    assert records[0].read()["chat"].places == {"acme": Place(500)}
    records[0].keep("chat", {"globex": Place(1000)})
    shared(two).sync()
    assert records[1].read()["chat"].places == {"acme": Place(500), "globex": Place(1000)}
