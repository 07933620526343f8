"""The record of a mirror: unreadable, removed, and shared by several mirrors of one file."""

import pytest

from rollout_console.changes.edits import SetDefaultPercent, SetRolledBack
from rollout_console.changes.mirrored import record_path
from rollout_console.mirror import record
from tests.mirror.servers import Server, text


@pytest.mark.parametrize("has_swapped", [True, False])
def test_a_mirror_that_is_killed_between_record_and_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, *, has_swapped: bool
) -> None:
    """A rollback of etcd that was just being written is not taken for one of the server."""
    server.gets(text(), 2)
    swap = server.mirror._swap

    def killed(*given: object) -> None:
        if has_swapped:
            swap(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(server.mirror, "_swap", killed)
    with pytest.raises(KeyboardInterrupt):
        server.gets(text("{ percent = 5, rolled_back = true }"), 3)
    server.start()
    server.gets(text("{ percent = 5, rolled_back = true }"), 3)
    assert server.mirror.standing.latched == ()
    server.gets(text("6"), 4)
    assert server.path.read_bytes() == text("6")


@pytest.mark.parametrize("how", ["unreadable", "damaged"])
def test_a_record_that_cannot_be_read_raises_no_traffic(server: Server, how: str) -> None:
    """What is at 0 on this server alone is in the record only: a share has no latch."""
    server.gets(text(default="10"), 1)
    server.edits(SetDefaultPercent("chat", 0))
    assert server.mirror.standing.latched == ("chat/(default)",)
    where = record_path(server.path)
    kept, mine = where.read_bytes(), server.path.read_bytes()
    where.unlink()
    if how == "unreadable":
        where.mkdir()
    else:
        where.write_bytes(b'{"key": "/rollout/prod", "base": 7}')
    server.start()
    for revision in (1, 2):
        server.gets(text("50", default="10"), revision)
        server.mirror.look()
        assert server.path.read_bytes() == mine
    trouble = server.mirror.standing.trouble
    assert f"{server.path} is not current: its record {where} " in trouble
    assert ("make it readable" if how == "unreadable" else "put it back") in trouble
    assert server.said.count(trouble) == 1
    if how == "unreadable":
        where.rmdir()
    else:
        assert b"7" in where.read_bytes()
    where.write_bytes(kept)
    server.gets(text("50", default="10"), 2)
    assert server.file.routes["chat"].default_points == 0
    assert server.file.routes["chat"].orgs["acme"].points == 5000
    assert server.mirror.standing.latched == ("chat/(default)",)
    assert server.mirror.standing.trouble == ""


@pytest.mark.parametrize("restarts", [False, True])
def test_a_rollback_of_etcd_is_made_also_without_the_record(server: Server, restarts: bool) -> None:
    """It is etcd's, and no rollback of this server alone, once the record can be read again."""
    server.gets(text(default="10"), 1)
    server.edits(SetRolledBack(True, "chat", "globex"))
    where = record_path(server.path)
    kept = where.read_bytes()
    where.unlink()
    where.mkdir()
    server.gets(text("{ percent = 50, rolled_back = true }", default="0"), 2)
    route = server.file.routes["chat"]
    assert route.default_points == 0
    assert (route.orgs["acme"].points, server.is_latched()) == (500, True)
    assert server.is_latched("globex")
    where.rmdir()
    where.write_bytes(kept)
    if restarts:
        server.start()
    server.mirror._retry_at = 0.0
    server.mirror.look()  # the version of the record is older: the rollbacks are not undone by it
    assert server.is_latched()
    server.gets(text("50", default="30"), 3)
    assert not server.is_latched()
    assert server.file.routes["chat"].default_points == 3000
    assert server.mirror.standing.latched == ("chat/globex",)
    assert sorted(one.name for one in server.path.parent.glob("*.etcd-rollbacks.json")) == []


def test_an_alias_that_etcd_sets_to_nothing_is_so_also_without_the_record(server: Server) -> None:
    """It has no line here, and so the share of its org."""
    server.gets(text(default="10"), 1)
    record_path(server.path).write_bytes(b"{")
    server.gets(text("50") + b"[routes.chat.keys]\nvip = 0\nbig = 30\n", 2)
    route = server.file.routes["chat"]
    assert (dict(route.keys), route.orgs["acme"].points) == ({"vip": 0}, 500)
    assert "chat/alias vip" in server.said[-1]


@pytest.mark.parametrize("text_here", [None, b"[broken"])
def test_without_a_record_a_file_that_cannot_be_used_is_told(
    server: Server, text_here: bytes | None
) -> None:
    server.gets(text(), 1)
    record_path(server.path).write_bytes(b"{")
    server.path.unlink()
    if text_here is not None:
        server.path.write_bytes(text_here)
    server.gets(text("{ percent = 50, rolled_back = true }"), 2)
    assert any("rollbacks are not made" in one for one in server.said)


def test_a_cluster_that_another_mirror_has_adopted_is_the_one_in_force(server: Server) -> None:
    server.gets(text(), 900, now=1000)
    service = server.mirror
    server.start()
    server.gets(text("10"), 410, cluster=2, now=500)
    server.mirror = service
    server.gets(text("10"), 410, cluster=2, now=501)
    server.gets(text("10"), 410, cluster=2, now=502)
    server.gets(text("50"), 405, cluster=2, now=503)
    assert server.file.routes["chat"].orgs["acme"].points == 1000
    assert "an older version is not put back" in server.mirror.standing.trouble


def test_a_record_that_is_removed_is_written_again(server: Server) -> None:
    server.gets(text(default="10"), 1)
    server.edits(SetDefaultPercent("chat", 0))
    record_path(server.path).unlink()
    server.gets(text("50", default="10"), 2)
    assert server.file.routes["chat"].default_points == 0
    assert b"default" in record_path(server.path).read_bytes()


def test_two_mirrors_of_a_file_invent_no_rollback(server: Server) -> None:
    """The service, and ``mirror --once`` by hand, which knew another version as the last."""
    server.gets(text(default="10"), 1)
    service = server.mirror
    server.start()
    server.gets(text(default="0"), 2)  # by hand, first
    server.mirror = service
    server.gets(text(default="0"), 2)
    assert service.standing.latched == ()
    server.gets(text(default="10"), 3)
    assert server.path.read_bytes() == text(default="10")
    assert service.standing.latched == ()


def test_two_mirrors_of_a_file_keep_what_is_rolled_back_there(server: Server) -> None:
    server.gets(text(default="10"), 1)
    service = server.mirror
    server.start()
    server.edits(SetDefaultPercent("chat", 0))  # the one by hand has seen it
    server.gets(text(default="0"), 2)
    server.mirror = service
    for revision, default in ((2, "0"), (3, "10")):
        server.gets(text(default=default), revision)
    assert server.file.routes["chat"].default_points == 0
    assert service.standing.latched == ("chat/(default)",)


def test_an_answer_from_before_another_mirrors_version_is_not_put_back(server: Server) -> None:
    """It is no cluster that was restored, though it is of an earlier revision than the record."""
    server.gets(text("5"), 1, now=1)
    service = server.mirror
    server.start()
    server.gets(text("50"), 3, now=3)
    server.mirror = service
    server.gets(text("5"), 1, now=2)  # read before, and taken after
    assert server.path.read_bytes() == text("50")
    server.gets(text("50"), 3, now=4)
    assert service.standing.mod_revision == 3
    server.gets(text("7"), 2, now=2)  # read since: this one is
    assert server.path.read_bytes() == text("7")


def test_a_mirror_that_hangs_with_the_lock_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "LOCK_WAIT_S", 0.05)
    server.gets(text("5"), 1)
    with record.record_lock(server.path):
        server.gets(text("{ percent = 5, rolled_back = true }"), 2)
    assert server.is_latched()
