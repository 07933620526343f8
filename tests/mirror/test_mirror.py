"""One mirror, version by version: current, never older, and local rollbacks win."""

import json
import os
from typing import Literal

import pytest

from rollout_console.changes.edits import (
    SetDefaultPercent,
    SetPercent,
    SetRolledBack,
    SetShare,
)
from rollout_console.changes.mirrored import record_path
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import NothingToDo
from rollout_console.history.actor import Actor
from rollout_console.mirror import mirror
from rollout_gate.file.revision import revision_of
from tests.mirror.servers import KEY, Server, text


def test_versions_arrive_byte_by_byte(server: Server) -> None:
    for number, acme in enumerate(("5", "50", "{ percent = 50, rolled_back = true }"), 2):
        server.gets(text(acme), number)
        assert server.path.read_bytes() == text(acme)
        assert server.mirror.standing.revision == revision_of(text(acme))
        assert server.mirror.standing.mod_revision == number
    assert server.mirror.standing.latched == ()
    rows, _ = Switch(server.path, server._history, Actor("jo", "gw-01")).recent(10)
    assert [(row.action, row.author) for row in rows] == [("mirror", "mirror@gw-01")] * 2


def test_the_same_version_again_writes_nothing(server: Server) -> None:
    server.gets(text(), 2)
    before = server.path.stat()
    said = list(server.said)
    for revision in (2, 3, 4):  # touched in etcd, with the same text
        server.gets(text(), revision)
    assert server.path.stat().st_ino == before.st_ino
    assert server.said == said
    assert server.mirror.standing.mod_revision == 4


@pytest.mark.parametrize("bad", [b"[routes", b"", b"\xff", b"schema = 1\n"])
def test_a_version_that_cannot_be_used_changes_nothing(server: Server, bad: bytes) -> None:
    server.gets(text(), 2)
    server.gets(bad, 3)
    assert server.path.read_bytes() == text()
    assert "version 3 cannot be used" in server.mirror.standing.trouble
    server.gets(None, 4)
    assert server.path.read_bytes() == text()
    assert "etcd has no /rollout/prod" in server.mirror.standing.trouble
    server.gets(text("50"), 5)
    assert server.path.read_bytes() == text("50")
    assert server.mirror.standing.trouble == ""
    assert server.said[-1] == "recovered"


def test_an_older_version_is_not_put_back(server: Server) -> None:
    """As a member that was cut off may answer, where reads were not linearizable."""
    server.gets(text("50"), 9)
    server.gets(text("5"), 8)
    assert server.path.read_bytes() == text("50")
    server.start()
    server.gets(text("5"), 8)
    assert server.path.read_bytes() == text("50")
    assert "an older version is not put back" in server.mirror.standing.trouble
    server.gets(text("5"), 2, cluster=7)  # a cluster that was made anew counts from the start
    assert server.path.read_bytes() == text("5")


@pytest.mark.parametrize("again", [False, True], ids=["running", "started again"])
@pytest.mark.parametrize("later", [0, 3], ids=["as it was", "and changed since"])
def test_a_cluster_that_was_restored_with_its_id_is_taken(
    server: Server, again: bool, later: int
) -> None:
    """``etcdctl snapshot restore`` with the names that it had: only its revision goes down."""
    server.gets(text("5"), 20, now=25)
    server.gets(text("50"), 30, now=40)
    if again:
        server.start()
    server.gets(text("5"), 20 + later, now=26)
    assert server.path.read_bytes() == text("5")
    assert server.mirror.standing.mod_revision == 20 + later
    assert server.mirror.standing.trouble == ""
    assert "another cluster" in server.said[-1]
    server.gets(text("7"), 29, now=29)
    assert server.path.read_bytes() == text("7")


def test_an_older_version_is_taken_once_etcd_insists_on_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cluster that was restored and went on before this mirror read it again."""
    server.gets(text("50"), 30, now=30)
    server.gets(text("5"), 20, now=31)
    assert server.path.read_bytes() == text("50")
    server.gets(text("50"), 30, now=32)
    monkeypatch.setattr(mirror, "INSISTS_S", 0.0)
    server.gets(text("5"), 20, now=33)
    assert server.path.read_bytes() == text("5")
    assert server.mirror.standing.trouble == ""
    assert "another cluster" in server.said[-1]


def test_the_same_number_with_another_text_is_of_a_restored_cluster(server: Server) -> None:
    server.gets(text("50"), 30, now=30)
    server.gets(text("5"), 30, now=45)
    assert server.path.read_bytes() == text("5")
    assert "another cluster" in server.said[-1]


def test_a_restored_cluster_is_taken_also_where_the_first_write_fails(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "RETRY_S", 0.0)
    server.gets(text("50"), 30, now=60)
    server.gets(b"[broken", 20, now=26)
    assert server.path.read_bytes() == text("50")
    server.gets(text("5"), 27, now=33)
    assert server.path.read_bytes() == text("5")
    assert sum("another cluster" in said for said in server.said) == 1


def test_a_rollback_on_the_server_wins_until_it_is_resumed_there(server: Server) -> None:
    server.gets(text(), 2)
    server.edits(SetRolledBack(True, "chat", "acme", "2026-11-29T03:00:00Z jo@gw-01: smells"))
    mine = server.path.read_bytes()
    assert b"jo@gw-01: smells" in mine
    assert server.mirror.standing.latched == ("chat/acme",)
    server.gets(text(), 2)
    assert server.path.read_bytes() == mine  # as it was written there, reason and all
    server.gets(text("80"), 3)
    assert server.is_latched()
    assert server.file.routes["chat"].orgs["acme"].points == 8000
    assert b"# kept as it is" in server.path.read_bytes()
    assert server.mirror.standing.revision == revision_of(text("80"))
    server.start()
    server.gets(text("90"), 4)
    assert server.is_latched()
    server.edits(SetRolledBack(False, "chat", "acme"))
    assert not server.is_latched()
    assert not list(server.mirror.standing.latched)
    server.gets(text("95"), 5)
    assert server.path.read_bytes() == text("95")


def test_it_wins_also_after_etcd_was_rolled_back_and_resumed(server: Server) -> None:
    server.gets(text(), 2)
    server.edits(SetRolledBack(True, "chat", "acme"))
    server.gets(text("{ percent = 5, rolled_back = true }"), 3)
    server.start()
    server.gets(text("5"), 4)
    assert server.is_latched()
    assert server.mirror.standing.latched == ("chat/acme",)


def test_a_rollback_of_etcd_is_not_one_of_the_server(server: Server) -> None:
    server.gets(text("{ percent = 5, rolled_back = true }"), 2)
    assert server.is_latched()
    server.edits(SetRolledBack(False, "chat", "acme"))  # a resume on the server is none
    assert server.is_latched()
    assert server.said[-1].startswith("a change made on this server was put back")
    server.gets(text("5"), 3)
    assert not server.is_latched()


def test_other_edits_on_the_server_are_put_back(server: Server) -> None:
    server.gets(text(), 2)
    server.edits(SetPercent("chat", "globex", 9000))
    assert server.path.read_bytes() == text()
    server.edits(SetPercent("chat", "globex", 9000), SetRolledBack(True, "chat", "acme"))
    assert server.file.routes["chat"].orgs["globex"].points == 1000
    assert server.is_latched()


def test_a_share_that_was_set_to_nothing_there_stays_nothing(server: Server) -> None:
    server.gets(text(default="30"), 2)
    server.edits(SetDefaultPercent("chat", 0))
    server.gets(text("50", default="40"), 3)
    assert server.file.routes["chat"].default_points == 0
    assert server.mirror.standing.latched == ("chat/(default)",)


SHARES = b"[routes.chat.keys]\nvip = 50\n[routes.chat.flags]\nbeta = 50\n"


def shares(server: Server) -> tuple[dict[str, int], dict[str, int]]:
    chat = server.file.routes["chat"]
    return dict(chat.keys), dict(chat.flags)


def test_an_alias_or_flag_at_nothing_there_stays_so_without_its_line_in_etcd(
    server: Server,
) -> None:
    """Without a line it would have its org's share."""
    server.gets(text() + SHARES, 2)
    server.edits(SetShare("chat", "keys", "vip", 0), SetShare("chat", "flags", "beta", 0))
    assert server.mirror.standing.latched == ("chat/alias vip", "chat/flag beta")
    for revision in (3, 4):
        server.gets(text(str(revision)), revision)
        assert shares(server) == ({"vip": 0}, {"beta": 0})
        server.start()
    server.gets(text("9"), 5)
    assert server.mirror.standing.latched == ("chat/alias vip", "chat/flag beta")
    server.edits(SetShare("chat", "keys", "vip", None))
    assert shares(server) == ({}, {"beta": 0})
    server.gets(text("9") + SHARES, 6)
    assert shares(server) == ({"vip": 5000}, {"beta": 0})


@pytest.mark.parametrize("table", ["keys", "flags"])
def test_an_alias_or_flag_that_gets_a_line_of_nothing_there_keeps_it(
    server: Server, table: Literal["keys", "flags"]
) -> None:
    server.gets(text(), 2)
    server.edits(SetShare("chat", table, "vip", 0))
    for revision in (2, 3):
        server.gets(text(), revision)
        server.mirror.look()
        assert {"vip": 0} in shares(server)


def test_a_line_of_nothing_that_etcd_takes_out_is_none_of_the_server(server: Server) -> None:
    server.gets(text() + SHARES.replace(b"50", b"0"), 2)
    server.gets(text(), 3)
    assert server.path.read_bytes() == text()
    assert server.mirror.standing.latched == ()


def test_a_file_that_was_there_before_its_mirror(server: Server) -> None:
    """What it has rolled back stays so; the rest is etcd's."""
    server.path.write_bytes(text("{ percent = 70, rolled_back = true }"))
    server.gets(text("5"), 2)
    assert server.is_latched()
    assert server.file.routes["chat"].orgs["acme"].points == 500


def test_a_file_that_is_broken_or_removed_there_is_put_right(server: Server) -> None:
    server.gets(text(), 2)
    server.edits(SetRolledBack(True, "chat", "acme"))
    server.path.write_bytes(b"[routes")
    os.utime(server.path, (1, 1))
    server.mirror.look()
    assert server.is_latched()
    server.path.unlink()
    server.mirror.look()
    assert server.is_latched()


def test_a_file_that_cannot_be_written_is_told(server: Server) -> None:
    server.gets(text(), 2)
    record_path(server.path).unlink()
    record_path(server.path).mkdir()
    server.gets(text("50"), 3)
    assert "is not current" in server.mirror.standing.trouble
    assert server.path.read_bytes() == text()
    record_path(server.path).rmdir()
    server.gets(text("50"), 3)
    assert server.path.read_bytes() == text("50")
    assert json.loads(record_path(server.path).read_bytes())["key"] == KEY


@pytest.mark.parametrize("what", ["/dev/zero", "/dev/full", "FIFO"])
def test_a_path_that_is_no_file_is_told(server: Server, what: str) -> None:
    """It is not read: a device has no end."""
    if what == "FIFO":
        os.mkfifo(server.path)
    else:
        server.path.symlink_to(what)
    server.gets(text(), 2)
    assert server.mirror.standing.trouble.endswith("is not current: not a regular file")
    server.path.unlink()
    server.mirror._retry_at = 0.0
    server.gets(text(), 2)
    assert server.path.read_bytes() == text()
    assert server.mirror.standing.trouble == ""


def test_a_write_that_failed_is_tried_again_without_etcd(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and not four times a second: each try is a row of the history."""
    server.gets(text(), 2)
    record_path(server.path).unlink()
    record_path(server.path).mkdir()
    server.edits(SetPercent("chat", "globex", 9000))
    assert "is not current" in server.mirror.standing.trouble
    changed = server.path.read_bytes()
    record_path(server.path).rmdir()
    server.mirror.look()
    assert server.path.read_bytes() == changed
    monkeypatch.setattr(server.mirror, "_retry_at", 0.0)
    server.mirror.look()
    assert server.path.read_bytes() == text()
    assert server.mirror.standing.trouble == ""


def test_a_trouble_of_etcd_is_over_with_the_version_in_force(server: Server) -> None:
    """A member that was behind has caught up: the answer is the version in force again."""
    server.gets(text("50"), 9)
    server.gets(text("5"), 8)
    assert "an older version is not put back" in server.mirror.standing.trouble
    server.gets(text("50"), 9)
    assert server.mirror.standing.trouble == ""
    assert server.said[-1] == "recovered"


def test_a_local_edit_does_not_end_a_trouble_of_etcd(server: Server) -> None:
    server.gets(text(), 2)
    server.gets(b"[routes", 3)
    server.edits(SetPercent("chat", "globex", 9000))
    assert server.path.read_bytes() == text()
    assert "version 3 cannot be used" in server.mirror.standing.trouble
    assert "recovered" not in server.said


def test_a_share_of_nothing_in_an_old_copy_is_no_rollback(server: Server) -> None:
    """A file from before its mirror has percents of another day; its latches alone are meant."""
    server.path.write_bytes(text("{ percent = 5, rolled_back = true }", default="0"))
    server.gets(text("50", default="30"), 2)
    assert server.file.routes["chat"].default_points == 3000
    assert server.mirror.standing.latched == ("chat/acme",)


def test_an_edit_right_behind_a_write_is_seen(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the mirror's write and its look at what it wrote somebody raises a share."""
    server.gets(text(), 2)
    swap = server.mirror._swap

    def followed(*given: object) -> None:
        swap(*given)  # type: ignore[arg-type]
        server.path.write_bytes(text("99"))
        os.utime(server.path, (1, 1))

    monkeypatch.setattr(server.mirror, "_swap", followed)
    server.gets(text("50"), 3)
    monkeypatch.setattr(server.mirror, "_swap", swap)
    server.mirror.look()
    assert server.path.read_bytes() == text("50")


def test_warnings_of_a_write_are_told(server: Server) -> None:
    server.gets(text(), 2)
    other = server.path.with_name("hard-link.toml")
    other.hardlink_to(server.path)
    server.gets(text("50"), 3)
    assert any("a hard link" in words for words in server.said)
    assert server.mirror.standing.trouble == ""


def test_a_version_in_force_is_not_parsed_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.gets(text(), 2)
    server.mirror.look()
    monkeypatch.setattr("rollout_console.mirror.mirror.parse", None)
    for _ in range(3):
        server.gets(text(), 2)
        server.mirror.look()
        assert server.mirror.standing.trouble == ""


def test_a_change_that_the_mirror_would_put_back_is_refused_on_the_server(server: Server) -> None:
    server.gets(text(default="10"), 2)
    switch = Switch(server.path, server._history, Actor("jo", "gw-01"))
    switch.open()
    planner = switch.planner
    for plan in (
        planner.plan_set("chat", "acme", 5000), planner.plan_set("chat", "*", 2000),
        planner.plan_model("chat", "n"), planner.plan_share("chat", "flags", "beta", 100),
    ):  # fmt: skip
        with pytest.raises(
            NothingToDo,
            match=rf"mirrors etcd, .* change it with -f etcd://gw:2379{KEY};",
        ):
            switch.apply(plan)
    assert server.path.read_bytes() == text(default="10")
    with pytest.raises(NothingToDo, match=r"no change of rollout\.toml to undo"):
        planner.plan_undo()  # what the mirror did is nobody's change here
    rollback = planner.plan_rollback("chat", "acme", "")
    assert rollback.effect.endswith(
        "; on this server alone, as it mirrors etcd://gw:2379/rollout/prod"
    )
    switch.apply(rollback)
    server.mirror.look()
    assert server.is_latched()
    switch.refresh()
    switch.apply(planner.plan_undo())
    server.mirror.look()
    assert not server.is_latched()
    switch.refresh()
    switch.apply(planner.plan_set("chat", "*", 0))  # the safe side stays
    server.mirror.look()
    assert server.file.routes["chat"].default_points == 0
    record_path(server.path).unlink()
    switch.refresh()
    switch.apply(planner.plan_set("chat", "acme", 5000))


def test_a_resume_of_what_is_rolled_back_in_etcd_is_refused_on_the_server(server: Server) -> None:
    """The mirror would put it back, and the org would be at TokenLab until then."""
    server.gets(text(), 2)
    switch = Switch(server.path, server._history, Actor("jo", "gw-01"))
    switch.open()
    switch.apply(switch.planner.plan_rollback("chat", "globex", ""))
    switch.apply(switch.planner.plan_rollback("chat", "acme", ""))
    server.mirror.look()
    server.gets(text("{ percent = 5, rolled_back = true }"), 3)
    switch.refresh()
    mine = server.path.read_bytes()
    for plan in (switch.planner.plan_undo(), switch.planner.plan_resume("chat", "acme")):
        with pytest.raises(NothingToDo, match=rf"change it with -f etcd://gw:2379{KEY};"):
            switch.apply(plan)
    assert server.path.read_bytes() == mine
    switch.apply(switch.planner.plan_resume("chat", "globex"))
    server.mirror.look()
    assert not server.is_latched("globex")
    server.gets(text(), 4)
    assert server.is_latched()  # on the server as well, until it is resumed there
    switch.refresh()
    switch.apply(switch.planner.plan_resume("chat", "acme"))
    server.mirror.look()
    assert not server.is_latched()
