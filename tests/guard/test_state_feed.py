"""The console as lines: what is told, once, by whom and why; and what is told of 10,000 orgs."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_console.changes.recorded import Recorded
from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.leader_lock import LeaderLock
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.state_change import CALM, Grade, Hysteresis, StateChange, grade_of
from rollout_console.guard.state_feed import StateFeed
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate import AccessLine, AccessLog, timestamp

NOW = float(int(time.time()))
SICK = ("verdict", "alarm", "over")


def write(
    file: Path, at: float, count: int, status: int = 200, *, orgs: Iterable[str] = ("acme",),
    side: str = "tokenlab", latency_ms: float = 50.0,
) -> None:  # fmt: skip
    """Write requests of each org within the second before a time."""
    log = AccessLog(file.parent / "access.jsonl")
    for i in range(count):
        ts = timestamp(datetime.fromtimestamp(at - i / count, UTC))
        for org in orgs:
            log.append(
                AccessLine(ts=ts, route="chat", org=org, side=side, model="m", status=status,
                           latency_ms=latency_ms)
            )  # fmt: skip
    log.close()


class Watched:
    """A feed on a file, a turn a second by a clock of its own."""

    def __init__(self, file: Path, history: History | None = None) -> None:
        self.file = file
        self.switch = Switch(
            file, history or History(file.parent / "rollout.history.sqlite3"),
            Actor("reader", "gw-02"), access=WriteAccess(read_only=True),
        )  # fmt: skip
        self.monitor = Monitor(file, self.switch.open().file)
        self.feed = StateFeed(self.switch, self.monitor)
        self.now = NOW
        self.balance = BalanceWatch()
        self.monitor.remember(Recorded((), self.monitor.file.revision, 0.0), NOW)
        self.begun = self.feed.start(self.balance, {}, self.now)

    def turns(self, seconds: int = 1) -> list[StateChange]:
        found = []
        for _ in range(seconds):
            self.now += 1
            found += self.feed.turn(self.balance, {}, self.now)
        return found

    def under(self, *seconds_of: tuple[int, int, tuple[str, ...]]) -> list[StateChange]:
        """Take ten turns, with requests of a count, a status and orgs in each second."""
        found = []
        for _ in range(10):
            for count, status, orgs in seconds_of:
                write(self.file, self.now, count, status, orgs=orgs)
            found += self.turns(1)
        return found

    def said(self, seconds: int = 1, *kinds: str) -> list[str]:
        turns = self.turns(seconds)
        return [f"{one.kind}: {one.text}" for one in turns if not kinds or one.kind in kinds]


@pytest.fixture
def watched(file: Path) -> Watched:
    return Watched(file)


def jo(file: Path) -> Switch:
    made = Switch(file, History(file.parent / "rollout.history.sqlite3"), Actor("jo", "gw-01"))
    made.open()
    return made


def test_it_begins_with_a_short_summary(watched: Watched) -> None:
    revision = watched.monitor.file.revision
    log = watched.file.parent / "access.jsonl"
    assert [f"{one.kind}: {one.text}" for one in watched.begun] == [
        f"start: {watched.file}, revision {revision[:12]}",
        "guard: mode hold, no guard is running",
        "route: chat: hold: no data; (default) 0%, 3 orgs 10% to 25%, 1 rolled back",
        "route: claude: hold: no data; (default) 0%, 1 org 1%",
        f"log: no line yet in {log}",
        "start: no alarm",
    ]
    assert watched.said(100) == []


def test_a_storm_is_one_line_and_its_end_another(watched: Watched) -> None:
    (began,) = [one for one in watched.under((12, 503, ("acme", "globex.eu"))) if one.kind in SICK]
    assert began.text.startswith("chat: rollback: 5xx 100% in ")
    assert (began.kind, began.level, began.signal) == ("alarm", "alarm", "gateway")
    assert watched.said(20) == ["log: stale: the newest line is 16 s old"]
    over = watched.said(400)
    assert len(over) == 2, over
    assert over[0] == "alarm: no line of the access log for 2 m"
    assert over[1].startswith("over: chat: rollback: 5xx 100%")
    assert over[1].endswith("; now hold: no data 6 m")


def test_a_sick_org_is_named_and_its_rollback_drains(watched: Watched) -> None:
    well, sick = (12, 200, ("acme", "initech2", "hooli")), (4, 503, ("globex.eu",))
    (began,) = [one for one in watched.under(well, sick) if one.kind == "alarm"]
    assert (began.route, began.org) == ("chat", "globex.eu")
    switch = jo(watched.file)
    plan = switch.planner.plan_rollback("chat", "globex.eu", "5xx 100%")
    done = switch.apply(plan, reason="5xx 100%")
    watched.now = float(int(time.time()))
    (told,) = [one for one in watched.turns(1) if one.kind == "file"]
    assert told.text == "jo@gw-01: rollback chat / globex.eu (5xx 100%)"
    assert (told.route, told.org) == ("chat", "globex.eu")
    assert told.revision == done.snapshot.revision
    write(watched.file, watched.now, 3, 503, orgs=("globex.eu",))
    write(watched.file, watched.now + 3, 3, orgs=("globex.eu",), side="previous")
    drained = [one for one in watched.turns(15) if one.kind in ("drained", "file")]
    assert [one.kind for one in drained] == ["drained"]
    assert drained[0].text.startswith("chat / globex.eu: drained in ")


def test_several_rolled_back_at_once_are_one_line_each_way(watched: Watched) -> None:
    orgs = [f"org-{i}" for i in range(40)]
    text = watched.file.read_text()
    lines = "".join(f"{org} = 50\n" for org in orgs)
    watched.file.write_text(text.replace("[routes.chat.orgs]\n", f"[routes.chat.orgs]\n{lines}"))
    watched.turns(5)
    switch = jo(watched.file)
    plan = switch.planner.plan_rollbacks([("chat", org) for org in orgs], "all of them")
    switch.apply(plan, reason="all of them")
    watched.now = float(int(time.time()))
    write(watched.file, watched.now, 1, orgs=orgs)
    assert watched.said(3, "file", "drained") == [
        "file: jo@gw-01: rollback chat / org-0 and 39 more (all of them)",
    ]
    write(watched.file, watched.now, 1, orgs=orgs, side="previous")
    assert watched.said(20, "file", "drained") == [
        "drained: chat / org-0, chat / org-1, chat / org-2 and 37 more have drained",
    ]


def test_an_edit_by_hand_is_told_once_with_or_without_a_history(watched: Watched) -> None:
    def edit(old: str, new: str) -> None:
        watched.file.write_text(watched.file.read_text().replace(old, new, 1))

    edit("acme = 25", "acme = 30")
    assert watched.said(8) == ["file: somebody else: chat / acme 25% to 30%"]
    recorder = jo(watched.file)
    watched.turns(8)
    edit("acme = 30", "acme = 5")
    seen = watched.said(2)
    recorder.refresh()  # another console records it, in the first history of the file
    assert [*seen, *watched.said(8)] == ["file: somebody else: chat / acme 30% to 5%"]
    edit("acme = 5", "acme = 30")  # the file is again as it was
    assert watched.said(1) == [], "another console may know who it was"
    recorder.refresh()
    assert watched.said(8) == ["file: somebody else: chat / acme 5% to 30%"]
    edit("acme = 30", "acme = 5")
    assert watched.said(8) == ["file: somebody else: chat / acme 30% to 5%"], "nobody records it"


def test_a_file_that_is_broken_and_mended_is_two_lines(watched: Watched) -> None:
    good = watched.file.read_bytes()
    watched.file.write_bytes(good.replace(b"acme = 25", b"acme = 250"))
    (broken,) = watched.turns(5)
    assert (broken.kind, broken.level) == ("file", "alarm")
    assert "line 40" in broken.text
    assert broken.text.endswith("; gates keep the last good version")
    watched.file.write_bytes(good.replace(b"acme = 25", b"acme = nonsense"))
    (other,) = watched.turns(5)
    assert other.text != broken.text
    watched.file.write_bytes(good)
    assert watched.said(5) == ["file: rollout.toml can be used again"]
    watched.file.unlink()
    (gone,) = watched.turns(5)
    assert gone.level == "alarm"
    watched.file.write_bytes(good.replace(b"acme = 25", b"acme = 26"))
    assert watched.said(8) == [
        "file: rollout.toml can be used again",
        "file: somebody else: chat / acme 25% to 26%",
    ]


def test_a_log_is_stale_and_fresh_and_one_with_a_line_now_and_then_is_stale_once(
    watched: Watched,
) -> None:
    write(watched.file, NOW, 1)
    assert watched.said(1, "log") == ["log: the newest line is 1.0 s old"]
    assert watched.said(20, "log") == ["log: stale: the newest line is 16 s old"]
    for _ in range(5):
        write(watched.file, watched.now, 1)
        assert watched.said(25, "log") == []
    for _ in range(25):
        write(watched.file, watched.now, 1)
        watched.turns(1)
    write(watched.file, watched.now, 1)
    assert watched.said(3, "log") == []


def test_a_rotated_log_is_followed(watched: Watched) -> None:
    log = watched.file.parent / "access.jsonl"
    write(watched.file, NOW, 5)
    watched.turns(1)
    for name in ("access.jsonl.1", "access.jsonl.2"):
        log.rename(log.with_name(name))
        write(watched.file, watched.now + 1, 5)
        assert watched.said(2) == []
    assert watched.monitor.lines == 15


def test_a_guard_that_comes_and_goes_is_told(watched: Watched) -> None:
    lock = LeaderLock(watched.file)
    assert lock.hold()
    assert watched.said(5) == ["guard: mode hold, a guard is running"]
    lock.release()
    assert watched.said(5) == ["guard: mode hold, no guard is running"]
    text = watched.file.read_text()
    watched.file.write_text(text.replace('mode = "hold"', 'mode = "enforce"', 1))
    assert "guard: mode enforce, no guard is running" in watched.said(8)


@pytest.mark.slow
def test_ten_thousand_orgs_that_get_worse_are_few_lines(file: Path) -> None:
    orgs = [f"org-{i:05}" for i in range(10_000)]
    text = file.read_text()
    lines = "".join(f"{org} = 50\n" for org in orgs)
    file.write_text(text.replace("[routes.chat.orgs]\n", f"[routes.chat.orgs]\n{lines}"))
    write(file, NOW - 5, 1, orgs=orgs)
    watched = Watched(file)
    assert len(watched.begun) == 6
    assert "10,003 orgs 10% to 50%, 1 rolled back" in watched.begun[2].text
    assert max(len(one.text) for one in watched.begun) < 200
    write(file, NOW, 4, 503, orgs=orgs[:3_000])
    found = watched.turns(5)
    assert len(found) < 40, [one.text for one in found[:60]]
    assert max(len(one.text) for one in found) < 400


def test_an_org_that_loses_its_place_among_the_alerts_is_not_over(file: Path) -> None:
    watched, orgs = Watched(file), tuple(f"org-{i:02}" for i in range(30))
    well = tuple(f"well-{i}" for i in range(300))
    found = watched.under((2, 200, well), (4, 503, orgs[10:]))
    found += watched.under((2, 200, well), (4, 503, orgs))
    for _ in range(8):
        found += watched.under((2, 200, well), (4, 503, orgs))
    began = {one.org for one in found if one.kind == "alarm" and one.org}
    ended = {one.org for one in found if one.kind == "over"}
    assert len(began & set(orgs)) >= 20
    assert not ended & set(orgs), "each of them is still condemned"


def test_a_clock_that_is_set_back_makes_no_wait_longer(watched: Watched) -> None:
    watched.under((12, 503, ("acme", "globex.eu")))
    watched.now -= 3_600
    over = watched.said(150, "over")
    assert [one.split(": rollback")[0] for one in over] == ["over: chat"]
    text = watched.file.read_text()
    assert 'mode = "hold"' in text
    watched.file.write_text(text.replace('mode = "hold"', 'mode = "observe"', 1))
    told = watched.said(20, "guard", "file")
    assert any(one.startswith("guard: mode observe") for one in told), told


def test_many_orgs_with_the_same_change_share_a_line(watched: Watched) -> None:
    well, slow = [f"well-{i}" for i in range(120)], [f"slow-{i}" for i in range(8)]
    write(watched.file, NOW, 4, orgs=well)
    write(watched.file, NOW, 1, orgs=slow, latency_ms=9_000)
    assert watched.said(3, "verdict") == [
        "verdict: chat: 8 orgs hold (slow): slow-0, slow-1, slow-2 and 5 more"
    ]


def verdict(kind: str, signal: str = "", *, waits: bool = False) -> Verdict:
    return Verdict(kind, "why", signal, waits=waits)  # type: ignore[arg-type]


def test_hysteresis_tells_worse_at_once_and_better_when_it_lasts() -> None:
    place, kept = ("chat", None), Hysteresis(60)
    bad, worse = grade_of(verdict("hold", "latency")), grade_of(verdict("rollback", "gateway"))
    waits = grade_of(verdict("hold", "data", waits=True))
    assert CALM.rank < waits.rank < bad.rank < worse.rank
    assert kept.is_due(place, bad, 0)
    assert not kept.is_due(place, bad, 1)
    assert kept.is_due(place, worse, 2)
    assert not kept.is_due(place, CALM, 3)
    assert not kept.is_due(place, worse, 50)
    assert not kept.is_due(place, CALM, 51)
    assert not kept.is_due(place, waits, 110)
    assert kept.is_due(place, CALM, 112)
    assert kept.told(place) == CALM
    assert kept.is_due(place, bad, 113)
    other = Grade(bad.rank, "contract")
    assert not kept.is_due(place, other, 114)
    assert kept.is_due(place, other, 175)


def test_what_a_change_lacks_is_left_out_of_its_object() -> None:
    import msgspec

    found: Mapping[str, str] = msgspec.to_builtins(StateChange("log", "fresh"))
    assert found == {"kind": "log", "text": "fresh"}


def test_an_acknowledgement_on_any_console_is_told_with_who(watched: Watched) -> None:
    other = jo(watched.file)
    other.note_acknowledged("chat", "acme", "chat / acme: 5xx 44%, 8 of 18")
    (told,) = watched.turns(2)
    assert told == StateChange(
        "acknowledged", "jo@gw-01: chat / acme: 5xx 44%, 8 of 18", "chat", "acme"
    )
    assert watched.said(5) == []


def test_an_acknowledgement_right_after_a_change_is_not_taken_for_it(watched: Watched) -> None:
    other = jo(watched.file)
    other.apply(other.planner.plan_rollback("chat", "acme"), reason="drill")
    other.note_acknowledged("chat", None, "chat: 5xx 44%")
    said = watched.said(2)
    assert len(said) == 2
    assert said[0].startswith("file: jo@gw-01: rollback chat / acme (drill)")
    assert said[1] == "acknowledged: jo@gw-01: chat: 5xx 44%"
    assert watched.switch.edit.words == "jo@gw-01: rollback chat / acme: in force to rolled back"
