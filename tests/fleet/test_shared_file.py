"""A rollout file in etcd: changes by transaction, one history for all hosts, the working copy."""

import itertools
import os
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.changes.errors import Conflict, NotReadable, StoreError, Uncertain, Written
from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import NothingToDo
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdRefused
from rollout_console.fleet import shared_file
from rollout_console.fleet.kept_change import KeptWrite, decoded, encoded
from rollout_console.fleet.opening import open_shared, shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.history.actor import Actor
from rollout_console.history.errors import HistoryError
from rollout_console.history.retention import KEPT
from rollout_console.history.rows import NewChange
from rollout_console.readiness.plan_file import PlanFile
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of
from tests.fleet.conftest import Host
from tests.mirror.servers import text
from tests.support.etcd import Cluster
from tests.support.lossy import lossy
from tests.support.waiting import until


def shared(switch: Switch) -> SharedFile:
    assert isinstance(switch.shared, SharedFile)
    return switch.shared


def to(switch: Switch, percent: int, org: str = "acme") -> Plan:
    return switch.planner.plan_set("chat", org, 100 * percent)


def in_etcd(client: EtcdClient) -> bytes:
    return client.get(client.address.key).values[0].data


def writes(client: EtcdClient) -> list[KeptWrite]:
    found = client.get(f"{client.address.key}/history", prefix=True).values
    kept = [decoded(one.data) for one in sorted(found, key=lambda one: one.mod_revision)]
    return [one for one in kept if one is not None and one.rows]


def said(switch: Switch) -> list[tuple[str, str, str, str]]:
    shared(switch).sync()
    rows, why = switch.recent(50)
    assert not why
    return [(row.author, row.action, row.before, row.after) for row in rows]


def test_a_change_is_the_same_edit_as_in_a_file(host: Host, client: EtcdClient) -> None:
    one = host("gw-01")
    done = one.apply(to(one, 25), reason="because")
    assert in_etcd(client) == text("25") == one.path.read_bytes()
    assert done.plan.effect.endswith(f"in etcd:{client.address.key}")
    assert one.location == str(client.address)
    (write,) = writes(client)
    assert write.text == text("25")
    assert write.rows[0].reason == "because"
    assert not done.warnings


def test_all_hosts_have_one_history_with_the_same_ids(host: Host) -> None:
    one, two = host("gw-01"), host("gw-02")
    one.apply(to(one, 25))
    shared(two).sync()
    found = two.refresh()
    assert found is not None
    assert found[1]
    assert two.edit.words == "jo@gw-01: set chat / acme: 5% to 25%"
    assert two.edit.ours
    two.apply(to(two, 50))
    assert said(one) == said(two)
    assert [row[:2] for row in said(one)] == [("jo@gw-02", "set"), ("jo@gw-01", "set")]
    (ids, other) = ([row.id for row in switch.recent(9)[0]] for switch in (one, two))
    assert ids == other
    late = host("gw-03")
    assert said(late) == said(one)
    assert late.history.text_of(late.path, revision_of(text("25"))) == text("25")
    assert late.history.text_of(late.path, revision_of(text())) == text()


def test_undo_and_restore_work_on_what_another_host_did(host: Host, client: EtcdClient) -> None:
    one, two = host("gw-01"), host("gw-02")
    one.apply(one.planner.plan_rollback("chat", "acme", "smells"), reason="smells")
    assert b"rolled_back = true" in in_etcd(client)
    shared(two).sync()
    two.refresh()
    two.apply(two.planner.plan_undo())
    assert in_etcd(client) == text()
    assert [row[:2] for row in said(one)] == [("jo@gw-02", "undo"), ("jo@gw-01", "rollback")]
    one.refresh()
    with pytest.raises(NothingToDo):
        one.planner.plan_undo()
    one.apply(one.planner.plan_set("chat", "globex", 100))
    two.refresh()
    shared(two).sync()
    two.refresh()
    two.apply(two.planner.plan_restore(revision_of(text())))
    assert in_etcd(client) == text()


def test_somebody_elses_change_is_a_conflict_and_a_rollback_goes_on_top(
    host: Host, client: EtcdClient
) -> None:
    one, two = host("gw-01"), host("gw-02")
    raises, rolls_back = to(one, 50), one.planner.plan_rollback("chat", "acme", "")
    two.apply(to(two, 20, "globex"))
    with pytest.raises(Conflict, match="was changed by another writer"):
        one.apply(raises)
    assert parse(in_etcd(client)).routes["chat"].org_points("acme") == 500
    one.apply(rolls_back)
    file = parse(in_etcd(client))
    assert file.is_latched("chat", "acme")
    assert file.routes["chat"].org_points("globex") == 2000
    revisions = [(row.previous_revision, row.revision) for row in reversed(one.recent(9)[0])]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(revisions))


def test_an_edit_by_etcdctl_is_one_row_whoever_sees_it(host: Host, client: EtcdClient) -> None:
    one, two = host("gw-01"), host("gw-02")
    client.put(client.address.key, text("75"))
    for switch in (one, two, one):
        shared(switch).sync()
        switch.refresh()
    assert [row[:2] for row in said(one)] == [("somebody else", "external")]
    assert "chat / acme 5% to 75%" in said(two)[0][3]
    assert said(host("gw-03")) == said(one)


def test_a_broken_text_is_told_with_its_line_and_a_rollback_mends_it(
    host: Host, client: EtcdClient
) -> None:
    one = host("gw-01")
    client.put(client.address.key, text("500"))
    shared(one).sync()
    with pytest.raises(StoreError, match=f"etcd:{client.address.key}: line 9, column 8"):
        one.refresh()
    done = one.apply(one.planner.plan_rollback("chat", "acme", ""))
    assert parse(in_etcd(client)).is_latched("chat", "acme")
    assert done.kept_as


def test_a_key_that_is_gone_is_told_and_can_be_put_back(host: Host, client: EtcdClient) -> None:
    one = host("gw-01")
    client.delete(client.address.key)
    shared(one).sync()
    with pytest.raises(NotReadable, match=f"etcd has no {client.address.key}"):
        one.refresh()
    one.apply(one.planner.plan_rollback("chat", "acme", ""))
    assert parse(in_etcd(client)).is_latched("chat", "acme")


@pytest.mark.parametrize("found", [None, b"[routes", b""])
def test_a_rollback_mends_a_file_that_nobody_has_changed_since_its_beginning(
    host: Host, client: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    found: bytes | None,
) -> None:  # fmt: skip
    """The text with which the history begins is the last good version, on a new host as well."""
    host("gw-01")
    if found is None:
        client.delete(client.address.key)
    else:
        client.put(client.address.key, found)
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "gw-02"))
    with EtcdClient(client.address) as other:
        access = WriteAccess(read_only=False)
        two = shared_switch(SharedFile(other), Actor("jo", "gw-02"), access)
        assert two.open_or_last_good().data == text()
        two.apply(two.planner.plan_rollback("chat", "acme", ""))
    assert parse(in_etcd(client)).is_latched("chat", "acme")


def test_a_lost_answer_is_found_out_and_the_change_made_once(
    host: Host, etcd: Cluster, client: EtcdClient
) -> None:
    with lossy(etcd.members[0].url) as link:
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        link.lose = ["answer"]
        one.apply(to(one, 25))
        assert in_etcd(client) == text("25")
        assert len(writes(client)) == 1
        link.lose = ["request"]
        one.apply(to(one, 30))
        assert in_etcd(client) == text("30")
        assert len(writes(client)) == 2
        link.lose = ["late"]
        one.apply(to(one, 35))
        link.delivered.clear()
        link.released.set()
        assert link.delivered.wait(20)
        assert in_etcd(client) == text("35")
        assert len(writes(client)) == 3
        assert [row[1] for row in said(one)] == ["set"] * 3


def test_where_the_answer_is_lost_and_another_host_was_faster_it_is_a_conflict(
    host: Host, etcd: Cluster, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lossy(etcd.members[0].url) as link:
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        two = host("gw-02")
        plan = to(one, 25)
        link.lose = ["request"]
        send = one.history._source._client.put_if_unchanged  # type: ignore[attr-defined]

        def another_first(*given: object, **more: object) -> int:
            if not link.lose:
                monkeypatch.undo()
                two.apply(to(two, 60))
            return int(send(*given, **more))

        monkeypatch.setattr(shared(one)._client, "put_if_unchanged", another_first)
        with pytest.raises(Conflict):
            one.apply(plan)
        assert in_etcd(client) == text("60")
        assert len(writes(client)) == 1


def test_an_outcome_that_cannot_be_found_out_is_said_so(
    host: Host, etcd: Cluster, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "SETTLE_S", 0.3)
    with lossy(etcd.members[0].url) as link:
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        link.lose = ["answer", *["request"] * 99]
        with pytest.raises(Uncertain, match="is not known"):
            one.apply(to(one, 25))
        shared(one)._note_away(EtcdAway("no member answers"))
        with pytest.raises(Uncertain, match="is not known"):  # the first may have been made
            one.apply(to(one, 25))
        link.lose = []
        shared(one).sync()
        assert one.refresh() is not None
        assert said(one)[0][:2] == ("jo@gw-01", "set")  # it was made, and by whom


@pytest.mark.slow
def test_etcd_away_changes_nothing_and_what_is_shown_says_its_age(
    host: Host, etcd: Cluster, client: EtcdClient
) -> None:
    with lossy(etcd.members[0].url) as link:
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        link.is_cut = True
        with pytest.raises((EtcdAway, Uncertain)):
            one.apply(to(one, 25))
        assert in_etcd(client) == text()
        shared(one)._note_away(EtcdAway("no member answers"))
        with pytest.raises(
            NotReadable, match=r"etcd away since .*, what is shown is of then: no member answers"
        ):
            one.refresh()
        link.is_cut = False
        shared(one).sync()
        assert one.refresh() is None


def test_while_etcd_is_known_to_be_away_a_change_is_refused_and_not_uncertain(
    host: Host, etcd: Cluster, client: EtcdClient
) -> None:
    """A reading comes first: a rollback that is known not to be made can be made on the servers."""
    with lossy(etcd.members[0].url) as link:
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        before = link.writes
        link.is_cut = True
        shared(one)._note_away(EtcdAway("no member answers"))
        with pytest.raises(EtcdAway, match="its own file can still be rolled back"):
            one.apply(to(one, 25))
        assert link.writes == before
        link.is_cut = False
        one.apply(to(one, 25))
        assert in_etcd(client) == text("25")


def test_a_change_of_ten_thousand_orgs_fits_into_a_transaction(
    host: Host, client: EtcdClient
) -> None:
    """Its rows are some megabytes; etcd takes 1.5 MiB."""
    orgs = [f"org-{number:05}" for number in range(10_000)]
    client.put(client.address.key, text() + "".join(f"{org} = 1\n" for org in orgs).encode())
    one, two = host("gw-01"), host("gw-02")
    plan = one.planner.plan_sets([("chat", org) for org in orgs], lambda _, __: 200)
    one.apply(plan, reason="all of them", verdict="hold: no data " * 20)
    (write,) = [one for one in writes(client) if one.rows[0].action == "set"]
    assert [row.org for row in write.rows] == orgs
    assert len(encoded(write)) < 300_000
    shared(two).sync()
    assert two.refresh() is not None
    rows, _ = two.recent(20_000)
    assert len([row for row in rows if row.reason == "all of them"]) == len(orgs)
    two.apply(two.planner.plan_undo())
    assert parse(in_etcd(client)).routes["chat"].orgs["org-09999"].points == 100


def test_a_change_that_is_too_large_for_etcd_says_so(host: Host, client: EtcdClient) -> None:
    one = host("gw-01")
    with pytest.raises(EtcdRefused, match=r"takes 1\.5 MiB unless its --max-request-bytes"):
        one.apply(one.planner.plan_text(text() + b"# " + b"x" * 1_600_000, "a test"))
    assert in_etcd(client) == text()


def test_a_change_that_etcd_has_is_made_whatever_becomes_of_the_copy(
    host: Host, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = host("gw-01")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shared(one)._copy, "put", full)
        done = one.apply(to(one, 25))
    assert in_etcd(client) == text("25")
    assert not done.warnings
    assert "No space left on device; it is kept in memory" in shared(one).trouble
    shared(one).sync()
    assert one.path.read_bytes() == text("25")
    assert not isinstance(one.refresh(), Written)


@pytest.mark.parametrize("is_open", [True, False], ids=["while open", "at the start"])
def test_a_corrupt_cache_of_the_history_is_made_anew(host: Host, is_open: bool) -> None:
    """It has nothing that etcd has not; nobody is to look for it in a state folder."""
    one = host("gw-01")
    for percent in (25, 30):
        one.apply(to(one, percent))
    for path in one.history.path.parent.glob("history-*"):
        path.write_bytes(b"no database" * 1_000)
    one = one if is_open else host("gw-01")
    assert [row[1:] for row in said(one)] == [("set", "25", "30"), ("set", "5", "25")]
    one.apply(one.planner.plan_undo())
    assert one.path.read_bytes() == text("25")


def test_a_disk_that_fills_up_is_not_taken_for_an_etcd_that_is_away(
    host: Host, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = host("gw-01"), host("gw-02")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shared(one)._copy, "put", full)
        shared(one).follow()
        until(lambda: "No space left on device" in shared(one).trouble)
        assert not shared(one).is_away
        assert "etcd away" not in shared(one).trouble
        one.apply(one.planner.plan_rollback("chat", "acme", ""))
        assert parse(in_etcd(client)).is_latched("chat", "acme")
    until(lambda: not shared(one).trouble)
    two.refresh()
    shared(one).close()


def test_a_state_folder_that_cannot_be_written_does_not_stop_a_rollback(
    host: Host, client: EtcdClient, tmp_path: Path
) -> None:
    (tmp_path / "gw-09").write_text("a file where the state folder should be")
    one = host("gw-09")
    one.apply(one.planner.plan_rollback("chat", "acme", ""))
    assert parse(in_etcd(client)).is_latched("chat", "acme")


def test_a_read_only_console_writes_nothing_to_etcd(host: Host, client: EtcdClient) -> None:
    before = client.get(client.address.key).revision
    one = host("gw-01", read_only=True)
    client.put(client.address.key, text("75"))
    shared(one).sync()
    one.refresh()
    after = client.get(client.address.key).revision
    assert after == before + 1


def test_an_older_reading_never_replaces_the_working_copy(host: Host) -> None:
    one = host("gw-01")
    two = host("gw-01")  # of the same user: the same copy
    older = shared(two).view
    one.apply(to(one, 25))
    shared(two)._put_copy(older)
    assert one.path.read_bytes() == two.path.read_bytes() == text("25")


def test_a_cluster_that_was_made_anew_is_adopted_with_its_own_history(
    host: Host, client: EtcdClient
) -> None:
    one = host("gw-01")
    one.apply(to(one, 25))
    file = shared(one)
    # As after a restore from a snapshot: an earlier revision of the same cluster.
    file._view = type(file._view)(
        file.view.cluster, file.view.revision + 10**6, file.view.file, {}, (), None, ()
    )
    file._read_to = file._view.revision
    client.put(client.address.key, text("40"))
    file.sync()
    assert one.path.read_bytes() == text("40")
    one.refresh()
    assert [row[1] for row in said(one)] == ["external", "set"]


def test_the_history_is_pruned_in_etcd_too(
    host: Host, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "KEPT", 5)
    monkeypatch.setattr(shared_file, "PRUNED_ONE_IN", 1)
    one = host("gw-01")
    for percent in range(10, 20):
        one.apply(to(one, percent))
    assert len(writes(client)) == 5
    assert writes(client)[-1].text == text("19")
    assert len(said(one)) == 10 <= KEPT  # a cache may have more
    assert len(said(host("gw-02"))) == 5


def test_a_cache_whose_newest_write_was_pruned_is_no_sign_of_a_backup(
    host: Host, client: EtcdClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "KEPT", 3)
    monkeypatch.setattr(shared_file, "PRUNED_ONE_IN", 1)
    one, two = host("gw-01"), host("gw-02")
    one.apply(to(one, 10))
    shared(two).sync()  # then gw-02 is switched off for long
    for percent in range(20, 30):
        one.apply(to(one, percent))
    late = host("gw-02")
    assert not any(key == "restored" for key, _ in shared(late).spread.problems)
    assert len(said(late)) == 3


def test_what_no_json_can_hold_is_replaced_as_in_a_file(host: Host, client: EtcdClient) -> None:
    one = host("gw-01")
    one.apply(to(one, 25), reason=os.fsdecode(b"caf\xe9"))
    assert writes(client)[-1].rows[0].reason == "caf?"
    assert one.recent(1)[0][0].reason == "caf?"


def test_a_foreign_or_damaged_value_among_the_history_is_left_out(
    host: Host, client: EtcdClient
) -> None:
    one = host("gw-01")
    one.apply(to(one, 25))
    for number, value in enumerate(
        (b"", b"{}", b"\xff", b'{"rows": 3}', encoded(writes(client)[0])[:-9])
    ):
        client.put(f"{client.address.key}/history/x{number}", value)
    damaged = encoded(writes(client)[0]).replace(b'"packed":"', b'"packed":"AAAA')
    client.put(f"{client.address.key}/history/damaged", damaged)
    two = host("gw-02")
    assert [row[1] for row in said(two)] == ["set", "set"]


@given(st.binary(max_size=300))
def test_no_value_of_the_history_raises(value: bytes) -> None:
    found = decoded(value)
    assert found is None or encoded(found)


def test_notes_are_rows_of_all_hosts(host: Host) -> None:
    one, two = host("gw-01"), host("gw-02")
    one.note_acknowledged("chat", None, "seen")
    assert said(two)[0][:2] == ("jo@gw-01", "acknowledge")
    assert two.refresh() is None


def test_the_file_that_two_hosts_edit_beside_it_is_one(host: Host) -> None:
    one, two = host("gw-01"), host("gw-02")
    plans = [PlanFile(x.path, x.access, x.publisher("plan")) for x in (one, two)]
    plans[0].own("chat", "jo")
    plans[1].own("chat", "ann", ("a@b",))  # a conflict with a copy that is old: read again
    shared(one).sync()
    assert plans[0].read().route("chat").owner == "ann"
    assert plans[0].read().route("chat").contacts == ("a@b",)


def test_a_plan_whose_answer_is_lost_with_etcd_is_not_said_to_be_unchanged(
    host: Host, etcd: Cluster, client: EtcdClient
) -> None:
    with lossy(etcd.members[0].url) as link:
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        link.is_cut = True
        with pytest.raises(Uncertain, match="/plan: etcd does not answer: whether the change was"):
            PlanFile(one.path, one.access, one.publisher("plan")).own("chat", "jo")


@pytest.mark.slow
def test_no_etcd_is_no_history_and_no_traceback(
    host: Host, etcd: Cluster, client: EtcdClient
) -> None:
    with ExitStack() as stack:
        link = stack.enter_context(lossy(etcd.members[0].url))
        one = host("gw-01", f"etcd://{link.url.partition('://')[2]}{client.address.key}")
        link.is_cut = True
        one.note_acknowledged("chat", None, "seen")  # no error: the trouble is told by the file
        with pytest.raises(HistoryError):
            one.history.record(one_note(one))


def one_note(switch: Switch) -> NewChange:
    return NewChange(
        switch.path, datetime.now(UTC), switch.who, "acknowledge", None, None, "", "", "", "",
        "a", "a", b"", b"",
    )  # fmt: skip


def test_it_survives_a_compaction(host: Host, etcd: Cluster, client: EtcdClient) -> None:
    one = host("gw-01")
    one.apply(to(one, 25))
    one.apply(to(one, 30))
    subprocess.run(
        ["etcdctl", "--endpoints", etcd.members[0].url, "compact", "--physical",
         str(client.get(client.address.key).revision)],
        check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"},
    )  # fmt: skip
    late = host("gw-02")
    assert [row[3] for row in said(late)] == ["30", "25"]
    late.apply(late.planner.plan_restore(revision_of(text("25"))))
    assert in_etcd(client) == text("25")


def test_a_rollback_on_a_new_host_does_not_wait_for_the_whole_history(
    host: Host, client: EtcdClient, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "NEWEST", 3)
    one = host("gw-01")
    for percent in range(10, 20):
        one.apply(to(one, percent))
    client.put(client.address.key, b"schema = \n")  # broken: the last good version is needed
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "gw-02"))
    with open_shared(address, {}, hurries=True) as new:
        switch = shared_switch(new, Actor("jo", "gw-02"), WriteAccess())
        switch.open_or_last_good()
        assert len(switch.recent(50)[0]) == 3
        switch.apply(switch.planner.plan_rollback("chat", "acme", "5xx"))
    assert parse(in_etcd(client)).is_latched("chat", "acme")
    actions = [row.action for write in writes(client) for row in write.rows]
    assert actions == ["set"] * 10 + ["rollback"]
    later = host("gw-02")  # which has the whole history
    assert [row[1] for row in said(later)] == actions[::-1]
    with open_shared(address, {}, hurries=True) as known:
        assert len(known.history.rows(known.path)) == len(actions)
