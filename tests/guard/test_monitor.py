"""From log lines to figures, verdicts, holds and the proof of a rollback."""

import os
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.changes.external_edits import described
from rollout_console.changes.recorded import Recorded
from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.alerts import alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.tokenlab.types import Balance
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of

NOW = time.time()


def write(
    path: Path, ago: float, status: int = 200, side: str = "tokenlab", org: str = "acme",
    latency_ms: float = 100.0,
) -> None:  # fmt: skip
    at = datetime.fromtimestamp(NOW - ago, UTC)
    log = AccessLog(path.parent / "access.jsonl")
    log.append(
        AccessLine(
            ts=timestamp(at), route="chat", org=org, side=side, model="m", status=status,
            latency_ms=latency_ms,
        )
    )  # fmt: skip
    log.close()


FOLLOWING = '"fri 16:00 - mon 08:00", "22:00 - 06:00", "2026-12-24 - 2027-01-02"'


@pytest.fixture
def monitor(file: Path) -> Monitor:
    made = Monitor(file, parse(file.read_bytes()))
    made.remember(Recorded((), made.file.revision, 0.0), NOW)
    return made


def held(monitor: Monitor, before: int, after: int, balance: str | None = None) -> str:
    watch = BalanceWatch()
    if balance is not None:
        watch.add(NOW - 5, Balance("o", Decimal(balance), Decimal(balance), Decimal(0)))
    return monitor.held("chat", "acme", before, after, watch, NOW)


def test_no_data_holds_and_health_lets_go(file: Path, monitor: Monitor) -> None:
    assert held(monitor, 2500, 5000) == "no data"
    assert held(monitor, 0, 100) == ""
    assert "start with 1%" in held(monitor, 0, 5000)
    for i in range(140):
        write(file, 1 + i / 10)
    monitor.catch_up(NOW)
    assert held(monitor, 2500, 5000) == ""
    assert "under $50.00" in held(monitor, 2500, 5000, "49.99")
    assert monitor.health("chat", "acme", NOW).verdict_text == "ok"


def test_a_storm_is_a_rollback_verdict_with_its_reason(file: Path, monitor: Monitor) -> None:
    for i in range(60):
        write(file, 1 + i / 10, 503 if i % 2 else 200, org=f"org-{i % 3}")
    monitor.catch_up(NOW)
    health = monitor.health("chat", "org-1", NOW)
    assert health.verdict.kind == "rollback"
    assert health.over_5xx
    assert "5xx" in held(monitor, 2500, 5000)
    reason = monitor.rollback_reason("chat", None, NOW)
    assert re.match(r"5xx 50% in [67] s, 30 of 60", reason), "over the span of the errors alone"
    assert monitor.rollback_reason("chat", "org-1", NOW).endswith("on the route")
    assert monitor.rollback_reason(None, None, NOW).startswith("5xx 50.0%")
    foreign = file.read_bytes().replace(b"acme = 25", b"acme = 5", 1)
    monitor.configure(parse(foreign), NOW)
    assert monitor.health("chat", "org-1", NOW).verdict.kind == "rollback", "it is of acme alone"
    latched = foreign.replace(b"[routes.chat]\n", b"[routes.chat]\nrolled_back = true\n", 1)
    monitor.configure(parse(latched), NOW)
    assert monitor.health("chat", "org-1", NOW).verdict.kind == "hold", "a change starts anew"


def test_what_is_memoized_of_one_time_follows_log_file_and_history(
    file: Path, monitor: Monitor
) -> None:
    def verdict() -> tuple[int, str]:
        found = monitor.health("chat", None, NOW)
        assert found == monitor.health("chat", None, NOW)
        return found.requests, found.verdict.kind

    assert verdict() == (0, "hold")
    for i in range(140):
        write(file, 1 + i / 10)
    monitor.catch_up(NOW)
    assert verdict() == (140, "ok")
    monitor.note_raise("chat", None, NOW)
    assert verdict() == (140, "hold")  # it bakes
    for i in range(60):
        write(file, 1 + i / 10, 503, org=f"org-{i % 3}")
    monitor.catch_up(NOW)
    assert verdict() == (200, "rollback")
    calm = file.read_bytes().replace(b"max_5xx_percent = 2.0", b"max_5xx_percent = 60.0")
    monitor.configure(parse(calm), NOW)
    assert verdict() == (200, "hold")


def test_a_step_bakes_and_needs_evidence_of_its_own(file: Path, monitor: Monitor) -> None:
    for i in range(140):
        write(file, 100 + i / 10)
    monitor.catch_up(NOW)
    raised = parse(file.read_bytes().replace(b"acme = 25", b"acme = 50", 1))
    monitor.configure(raised, NOW - 60)
    assert held(monitor, 5000, 10_000) == "no data 100 s"
    for i in range(140):
        write(file, 1 + i / 10)
    monitor.catch_up(NOW)
    assert held(monitor, 5000, 10_000) == "bakes for 14 m"
    later = Monitor(file, raised)
    later.catch_up(NOW)
    assert held(later, 5000, 10_000) == "no data since the step", "unknown is just now"
    later.remember(Recorded((), later.file.revision, 0.0), NOW)
    assert held(later, 5000, 10_000) == ""
    at = datetime.fromtimestamp(NOW - 60, UTC)
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw"), clock=lambda: at)
    switch.open()
    switch.apply(switch.planner.plan_set("chat", "acme", 5000))
    later.remember(switch.recorded(), NOW)
    assert held(later, 5000, 10_000) == "bakes for 14 m"


def test_the_proof_of_a_rollback(file: Path, monitor: Monitor) -> None:
    def proof(since_ago: float) -> tuple[bool, str]:
        monitor.catch_up(NOW)
        found = monitor.proof("chat", "acme", NOW - since_ago, NOW)
        return found.drained, found.text

    assert proof(20) == (False, "no request seen yet")
    write(file, 16)
    assert proof(20) == (
        False,
        "last TokenLab request 16 s ago · no request to previous either yet",
    )
    write(file, 1, side="previous")
    assert proof(20) == (True, "drained in 4 s · last TokenLab request 16 s ago")
    write(file, 2)
    assert proof(20)[0] is False
    assert "draining" in proof(20)[1]


@pytest.mark.parametrize(
    ("slowest_ended_ago", "text"),
    [(28, "draining · last TokenLab request 16 s ago; slowest 40 s"),
     (310, "draining · last TokenLab request 16 s ago; slowest 40 s"),
     (321, "drained in 4 s · last TokenLab request 16 s ago")],
)  # fmt: skip
def test_a_rollback_drains_for_as_long_as_its_slowest_request(
    file: Path, monitor: Monitor, slowest_ended_ago: float, text: str
) -> None:
    """A line is written at the end of a request: one in flight is in no line."""
    write(file, slowest_ended_ago, latency_ms=40_000.0)
    write(file, 200, latency_ms=90_000.0, side="previous")
    write(file, 200, latency_ms=90_000.0, org="globex.eu")
    write(file, 16)
    write(file, 1, side="previous")
    monitor.catch_up(NOW)
    found = monitor.proof("chat", "acme", NOW - 20, NOW)
    assert (found.drained, found.text) == (text.startswith("drained"), text)
    later = monitor.proof("chat", "acme", NOW - 20, NOW + 25)
    assert (later.drained, later.text) == (True, "drained in 4 s · last TokenLab request 41 s ago")


def test_an_org_that_was_quiet_may_have_a_request_in_flight(file: Path, monitor: Monitor) -> None:
    write(file, 60, latency_ms=40_000.0)
    write(file, 1, side="previous")
    monitor.catch_up(NOW)
    assert monitor.proof("chat", "acme", NOW - 20, NOW).text.startswith("draining · ")
    assert monitor.proof("chat", "acme", NOW - 45, NOW).text.startswith("was quiet before · ")


def test_a_log_that_cannot_be_read_is_no_proof(file: Path, monitor: Monitor) -> None:
    write(file, 16)
    write(file, 1, side="previous")
    monitor.catch_up(NOW)
    log = monitor.log_path
    log.rename(log.with_suffix(".kept"))
    log.mkdir()
    monitor.catch_up(NOW)
    assert "cannot be read" in held(monitor, 0, 100)
    found = monitor.proof("chat", "acme", NOW - 20, NOW)
    assert not found.drained
    assert re.fullmatch(
        r"not known: .*cannot be read: .* · last TokenLab request 16 s ago", found.text
    )


def test_one_of_several_logs_that_cannot_be_read_is_not_called_all(file: Path) -> None:
    file.write_text(file.read_text().replace('"access.jsonl"', '"access*"'))
    monitor = Monitor(file, parse(file.read_bytes()))
    monitor.remember(Recorded((), monitor.file.revision, 0.0), NOW)
    write(file, 16)
    loop = file.parent / "access-two.jsonl"
    loop.symlink_to(loop.name)
    monitor.catch_up(NOW)
    assert monitor.log_trouble.startswith(f"not all requests are seen: {loop} cannot be read: ")
    assert "cannot be read" in held(monitor, 0, 100)
    assert not monitor.proof("chat", "acme", NOW - 20, NOW).drained
    loop.unlink()
    monitor.catch_up(NOW)
    assert monitor.log_trouble == ""


def test_a_log_that_is_away_or_not_read_to_its_end_is_no_proof(
    file: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, 16)
    write(file, 1, side="previous")
    monitor.catch_up(NOW)
    assert monitor.proof("chat", "acme", NOW - 20, NOW).drained
    with monkeypatch.context() as reading:
        reading.setattr(type(monitor), "behind", True)
        found = monitor.proof("chat", "acme", NOW - 20, NOW)
        assert (found.drained, found.text.partition(" · ")[0]) == (
            False, "not known: the access log is still being read",
        )  # fmt: skip
    monitor.log_path.unlink()
    monitor.catch_up(NOW)
    found = monitor.proof("chat", "acme", NOW - 20, NOW)
    assert not found.drained
    assert found.text.startswith("not known: the access log is away")


def test_the_balance_burns_exactly() -> None:
    watch = BalanceWatch()
    assert watch.runway_s() is None
    for i in range(4):
        used = Decimal(i)
        watch.add(100.0 + 10 * i, Balance("o", Decimal(60) - used, Decimal(60), used))
    assert watch.burn_per_s() == Decimal("0.1")
    assert watch.runway_s() == 570.0
    assert [v for v in watch.series(131.0, 60, 6) if v is not None][-1] == 57.0


def test_a_balance_that_does_not_come_holds(monitor: Monitor) -> None:
    def why(watch: BalanceWatch, now: float = NOW) -> str:
        return monitor.held("chat", "acme", 0, 100, watch, now)

    watch = BalanceWatch()
    watch.failed("no management token for profile 'prod'", asked=False)
    assert why(watch) == "", "where nobody can ask, there is nothing to judge"
    watch.failed("the API cannot be reached", asked=True)
    assert why(watch) == "balance not known: the API cannot be reached"
    watch.add(NOW - 1, Balance("o", Decimal(60), Decimal(60), Decimal(0)))
    assert why(watch) == ""
    watch.failed("the API cannot be reached", asked=True)
    assert why(watch) == "", "a moment ago it was in order"
    assert why(watch, NOW + 90) == "balance not known for 91 s: the API cannot be reached"


def test_the_verdict_that_the_history_keeps(file: Path, monitor: Monitor) -> None:
    assert monitor.spoken_verdict("nosuch", None, NOW) == ""
    assert monitor.spoken_verdict("chat", "acme", NOW) == "hold: no data"
    assert monitor.spoken_verdict(None, None, NOW) == "chat hold: no data; claude hold: no data"


def test_a_rollback_target_that_is_sick_is_told(file: Path, monitor: Monitor) -> None:
    for i in range(30):
        write(file, 1 + i / 10, side="previous")
    monitor.catch_up(NOW)
    assert monitor.previous_trouble("chat", "acme", NOW) == ""
    for i in range(20):
        write(file, 1 + i / 10, 503, side="previous")
    monitor.catch_up(NOW)
    said = monitor.previous_trouble("chat", "acme", NOW)
    assert said == "the previous provider is failing as well: 5xx 40% of 50"
    everywhere = monitor.previous_trouble(None, None, NOW)
    assert everywhere.startswith("chat: the previous provider is failing")
    assert monitor.previous_trouble("claude", None, NOW) == ""


def test_what_both_sides_refuse_is_an_alarm(file: Path, monitor: Monitor) -> None:
    for i in range(40):
        write(file, 1 + i / 10, 403, side="previous" if i % 2 else "tokenlab")
    monitor.catch_up(NOW)
    alerts = alerts_now(monitor, BalanceWatch(pending=True), {}, "", NOW)
    (alarm,) = (one for one in alerts if one.signal == "auth")
    assert alarm.level == "alarm"
    assert alarm.fact.startswith("chat: 401/403 20 times in a row, ")
    assert monitor.sick_targets(NOW) == []


@pytest.mark.parametrize(("bad", "words"), [(0, "failing"), (30, "failing as well")])
def test_a_previous_side_that_fails_alone_does_not_fail_as_well(
    file: Path, monitor: Monitor, bad: int, words: str
) -> None:
    for i in range(50):
        write(file, 1 + i / 10, 503 if i < 20 else 200, side="previous")
        write(file, 1 + i / 10, 503 if i < bad else 200)
    monitor.catch_up(NOW)
    alerts = alerts_now(monitor, BalanceWatch(pending=True), {}, "", NOW)
    (said,) = (one.sentence for one in alerts if one.key == ("previous", "chat"))
    assert said == f"chat: the previous provider is {words}: 5xx 40% of 50"


def test_bad_requests_of_one_org_are_no_failure_of_the_previous_side(
    file: Path, monitor: Monitor
) -> None:
    for i in range(50):
        write(file, 1 + i / 10, 400, side="previous", org="acme")
        write(file, 1 + i / 10, side="previous", org="initech")
    monitor.catch_up(NOW)
    said = monitor.previous_now("chat", None, NOW)
    assert said == "the previous provider refuses acme: 4xx 100% of 50"
    for i in range(50):
        write(file, 1 + i / 10, 400, side="previous", org="initech")
    monitor.catch_up(NOW)
    said = monitor.previous_now("chat", None, NOW)
    assert said == "the previous provider is failing: 4xx 67% of 150"


@pytest.mark.parametrize(
    ("windows", "at", "until"),
    [
        (FOLLOWING, "2027-01-01T12:00", "frozen until Mon 04 Jan 08:00 UTC"),
        (FOLLOWING, "2026-12-18T15:59", ""),
        (FOLLOWING, "2026-12-23T23:00", "frozen until Mon 04 Jan 08:00 UTC"),
        (FOLLOWING, "2026-12-17T23:00", "frozen until Fri 18 Dec 06:00 UTC"),
        ('"22:00 - 06:00", "06:00 - 22:00"', "2027-01-01T12:00", "frozen until Mon 11 Jan"),
    ],
)
def test_a_freeze_lasts_until_the_last_of_windows_that_follow_one_another(
    file: Path, windows: str, at: str, until: str
) -> None:
    text = file.read_text().replace("freeze = []", f"freeze = [{windows}]")
    monitor = Monitor(file, parse(text.encode()))
    said = monitor.frozen("chat", datetime.fromisoformat(f"{at}+00:00").timestamp())
    assert said.startswith(until)
    assert bool(said) == bool(until)


def test_a_reader_that_does_not_obey_is_told(file: Path) -> None:
    text = file.read_bytes().replace(b"acme = 25", b"acme = { percent = 25, rolled_back = true }")
    file.write_bytes(text.replace(b'"globex.eu" = 12.5', b'"globex.eu" = 100'))
    os.utime(file, (NOW - 60, NOW - 60))
    text = file.read_bytes().replace(b"beta-testers = 100", b"")
    monitor = Monitor(file, parse(text))
    write(file, 57)  # within the grace
    write(file, 40, side="previous")
    write(file, 40, side="previous", org="initech")
    monitor.catch_up(NOW)
    assert monitor.strays.sentences(NOW) == []
    write(file, 30)
    write(file, 20)
    write(file, 10, side="previous", org="globex.eu")
    monitor.catch_up(NOW)
    first, second = monitor.strays.sentences(NOW)
    assert first == (
        "chat / acme sent 2 requests to TokenLab although it is rolled back, the last 20 s ago: "
        "an application does not read this file"
    )
    assert second.startswith("chat / globex.eu sent 1 request to previous although it is at 100%")
    monitor.configure(parse(text + b"\n"), NOW)
    assert monitor.strays.sentences(NOW) == [], "a new version begins anew"


def test_a_line_ahead_of_the_clock_of_a_route_that_is_not_in_the_file(
    file: Path, monitor: Monitor
) -> None:
    text = (
        '{"ts":"2999-01-01T00:00:00Z","route":"gone","org":"acme","side":"tokenlab",'
        '"status":200,"latency_ms":1.0}\n'
    )
    (file.parent / "access.jsonl").write_text(text)
    monitor.catch_up(NOW)
    assert monitor.lines == 1
    assert monitor.last_line_at == pytest.approx(NOW, abs=5.0)
    assert monitor.summary("gone", "acme", "tokenlab", NOW).requests == 1


def test_lines_ahead_of_the_clock_are_a_wrong_clock_and_no_misrouting(
    file: Path, monitor: Monitor
) -> None:
    latched = parse(file.read_bytes().replace(b"rolled_back = false", b"rolled_back = true", 1))
    monitor.configure(latched, NOW)
    for i in range(20):
        write(file, -1800 - i)
    monitor.catch_up(NOW + 30)
    assert monitor.strays.sentences(NOW + 30) == []
    alerts = alerts_now(monitor, BalanceWatch(pending=True), {}, "", NOW + 30)
    (clock,) = [alert for alert in alerts if alert.key == ("clock",)]
    assert clock.sentence.startswith("20 lines are dated ahead of this host's clock: set the clock")
    write(file, -31)
    monitor.catch_up(NOW + 40)
    assert len(monitor.strays.sentences(NOW + 40)) == 1
    assert monitor.skew_words(NOW + 10_000) == ""


def test_the_diff_of_a_plan_is_used_where_it_is_of_the_version_before(
    file: Path, monitor: Monitor, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(300):
        write(file, 1 + i)
    monitor.catch_up(NOW)
    assert held(monitor, 2500, 5000) == ""
    raised = switch.apply(switch.planner.plan_set("chat", "acme", 5000))
    with monkeypatch.context() as without:
        without.setattr("rollout_console.guard.judge.moves", None)
        monitor.configure(raised.snapshot.file, NOW, raised.plan)
    assert held(monitor, 5000, 10_000) == "no data since the step", "the raise was noted"
    stale = switch.planner.plan_set("chat", "globex.eu", 5000)
    switch.path.write_bytes(switch.path.read_bytes().replace(b"acme = 50", b"acme = 60", 1))
    monitor.configure(parse(switch.path.read_bytes()), NOW + 400, stale)
    assert monitor.file.routes["chat"].orgs["acme"].points == 6000


def test_a_small_org_shows_its_evidence_over_a_longer_time(file: Path, monitor: Monitor) -> None:
    for i in range(140):
        write(file, 10 + 20 * i)  # three a minute: 45 in the time that a step bakes
    monitor.catch_up(NOW)
    assert held(monitor, 2500, 5000) == ""
    raised = parse(file.read_bytes().replace(b"acme = 25", b"acme = 50", 1))
    monitor.configure(raised, NOW - 1000)
    assert held(monitor, 5000, 10_000) == "50 of 133 ok", "none of it from before the step"


def test_a_step_up_does_not_hide_a_storm(file: Path, monitor: Monitor) -> None:
    for i in range(60):
        write(file, 1 + i / 10, 503 if i % 2 else 200, org=f"org-{i % 3}")
    monitor.catch_up(NOW)
    raised = parse(file.read_bytes().replace(b"acme = 25", b"acme = 50", 1))
    monitor.configure(raised, NOW)
    assert monitor.health("chat", None, NOW).verdict.kind == "rollback"


def test_a_freeze_holds_every_raise(file: Path) -> None:
    text = file.read_text().replace("freeze = []", 'freeze = ["2020-01-01 - 2099-12-31"]')
    text = text.replace('mode = "hold"', 'mode = "observe"')
    monitor = Monitor(file, parse(text.encode()))
    assert held(monitor, 0, 100) == "frozen until Fri 01 Jan 00:00 UTC"


def known(file: Path, ago: float) -> tuple[Switch, Monitor]:
    """Return a switch whose history has known the file for so long, and a monitor of it."""
    history = History(file.parent / "h.sqlite3")
    data, at = file.read_bytes(), datetime.fromtimestamp(NOW - ago, UTC)
    history.see(file, Actor("jo", "gw"), at, (revision_of(data), data), described)
    switch = Switch(file, history, Actor("jo", "gw"))
    monitor = Monitor(file, switch.open().file)
    monitor.remember(switch.recorded(), NOW)
    for i in range(140):
        write(file, 1 + i / 10)
    monitor.catch_up(NOW)
    return switch, monitor


def test_an_edit_that_nobody_could_record_has_just_been_made(file: Path) -> None:
    """The history is old, and says nothing of the text that is there now."""
    _, before = known(file, 7200)
    assert held(before, 2500, 5000) == ""
    file.write_bytes(file.read_bytes().replace(b"acme = 25", b"acme = 50", 1))
    watching = Switch(
        file,
        History(file.parent / "h.sqlite3"),
        Actor("jo", "gw"),
        access=WriteAccess(read_only=True),
    )
    monitor = Monitor(file, watching.open().file)
    monitor.remember(watching.recorded(), NOW)
    monitor.catch_up(NOW)
    assert held(monitor, 5000, 10_000) == "no data since the step"


def test_a_change_on_a_clock_ahead_denies_no_storm(file: Path) -> None:
    switch, monitor = known(file, 7200)
    ahead = Switch(
        file, switch.history, Actor("al", "gw-2"),
        clock=lambda: datetime.fromtimestamp(NOW + 3600, UTC),
    )  # fmt: skip
    ahead.open()
    ahead.apply(ahead.planner.plan_set("chat", "acme", 1000))
    monitor.configure(ahead.open().file, NOW)
    for now in (NOW, NOW + 30):
        monitor.remember(switch.recorded(monitor.known_to), now)
    for i in range(60):
        write(file, -1 - i / 10, 503, org=f"org-{i % 3}")
    monitor.catch_up(NOW + 30)
    assert monitor.health("chat", None, NOW + 30).verdict.kind == "rollback"


def test_a_hold_says_when_the_last_error_was(file: Path, monitor: Monitor) -> None:
    for i in range(140):
        write(file, 1 + i, 503 if 100 <= i < 104 else 200)
    monitor.catch_up(NOW)
    verdict = monitor.health("chat", "acme", NOW).verdict
    assert (verdict.kind, verdict.signal) == ("hold", "gateway")
    assert verdict.reason.startswith("5xx 2.9%, none for 10")
    assert verdict.last_error_at == pytest.approx(NOW - 101, abs=6)


@pytest.mark.parametrize(("ago", "words"), [(420, "7 m"), (3000, "50 m")])
@pytest.mark.parametrize("org", ["acme", None])
def test_a_share_is_over_no_longer_than_since_the_first_line(
    file: Path, monitor: Monitor, org: str | None, ago: float, words: str
) -> None:
    for i in range(10):
        write(file, ago - i, 503)
    for i in range(57):
        write(file, 290 - 5 * i)
    monitor.catch_up(NOW)
    verdict = monitor.health("chat", org, NOW).verdict
    assert verdict.words == f"hold: 5xx 15% in {words}, 10 of 67"


def test_the_first_line_of_the_others_counts_where_an_org_is_left_out(file: Path) -> None:
    file.write_text(file.read_text().replace("acme = 25", "acme = { rolled_back = true }"))
    monitor = Monitor(file, parse(file.read_bytes()))
    monitor.remember(Recorded((), monitor.file.revision, 0.0), NOW)
    for i in range(10):
        write(file, 1500 - i)
    for i in range(10):
        write(file, 420 - i, 503, org="globex.eu")
    for i in range(57):
        write(file, 290 - 5 * i, org=("acme", "globex.eu")[i % 2])
    monitor.catch_up(NOW)
    verdict = monitor.health("chat", None, NOW).verdict
    assert verdict.words == "hold: 5xx 26% in 7 m, 10 of 38"


def test_lines_that_came_after_the_last_usable_one_are_told_at_the_start(
    file: Path, monitor: Monitor
) -> None:
    write(file, 1000)
    log = file.parent / "access.jsonl"
    with log.open("a", encoding="utf-8") as stream:
        stream.write("{}\n" * 5)
    monitor.catch_up(NOW)
    assert "5 lines of the access log cannot be used" in monitor.unusable_words(NOW)
    os.utime(log, (NOW - 900, NOW - 900))
    later = Monitor(file, monitor.file)
    later.catch_up(NOW)
    assert later.unusable_words(NOW) == "", "as old for it as for who was there"


GARBAGE_AGO = 2400


def garbage(file: Path, lines: int) -> None:
    with (file.parent / "access.jsonl").open("a", encoding="utf-8") as stream:
        stream.write("garbage\n" * lines)


def test_old_lines_that_cannot_be_used_are_no_new_alarm(file: Path, monitor: Monitor) -> None:
    for ago in range(3000, 0, -1):
        write(file, ago)
        if ago == GARBAGE_AGO:
            garbage(file, 500)
    monitor.catch_up(NOW)
    assert monitor.unusable.lines == 500
    assert monitor.unusable_words(NOW) == ""
    assert not monitor.mostly_unusable(NOW)
    assert monitor.health("chat", "acme", NOW + 31).verdict.reason == "no data 32 s"
    then = NOW - GARBAGE_AGO + 10
    assert "500 lines of the access log cannot be used" in monitor.unusable_words(then)


def test_new_lines_that_cannot_be_used_are_told_whenever_one_looks(
    file: Path, monitor: Monitor
) -> None:
    for ago in range(600, 200, -1):
        write(file, ago)
        if ago == 550:
            garbage(file, 90)
    monitor.catch_up(NOW - 200)
    garbage(file, 9)
    monitor.catch_up(NOW - 190)
    for ago in range(190, 0, -1):
        write(file, ago)
    monitor.catch_up(NOW)
    later = Monitor(file, monitor.file)
    later.catch_up(NOW)
    for one in (monitor, later):
        assert one.unusable_words(NOW).startswith("9 lines of the access log cannot be used")
        assert one.mostly_unusable(NOW), "9 of 299"
        assert not one.unusable_words(NOW + 200)
        one.close()


def test_a_line_of_no_generation_counts_as_usable(file: Path, monitor: Monitor) -> None:
    log = AccessLog(file.parent / "access.jsonl")
    for ago in range(250, 0, -1):
        at = timestamp(datetime.fromtimestamp(NOW - ago, UTC))
        log.append(
            AccessLine(
                ts=at, route="chat", org="acme", side="tokenlab", model="m", status=200,
                latency_ms=9.0, operation="task_poll",
            )
        )  # fmt: skip
    log.close()
    garbage(file, 2)
    monitor.catch_up(NOW)
    assert "2 lines" in monitor.unusable_words(NOW)
    assert not monitor.mostly_unusable(NOW)
