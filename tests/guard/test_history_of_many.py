"""What the history says of raises is known whole: of many orgs at once, and of a new history."""

from pathlib import Path

import pytest

from rollout_console.guard.following import follow_file
from rollout_console.guard.ladder import next_up
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.put_back import put_back
from tests.guard.test_guarding import Run, ramp_file

__all__ = ["ramp_file"]

HEAD = """\
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "https://api.tokenlab.sh"
[health]
access_log = "access.jsonl"
[guard]
window = "60s"
mode = "enforce"
[ramp]
steps = [1, 5, 10, 25, 50, 100]
bake = "60s"
[routes.chat]
format = "openai_chat_completions"
model = "m"
phase = "rollout"
previous_base_url = "https://api.openai.com/v1"
[routes.chat.orgs]
"""


def run_of(file: Path, orgs: int) -> Run:
    file.write_text(HEAD + "".join(f"o{number:04d} = 5\n" for number in range(orgs)))
    return Run(file)


def fresh(run: Run) -> Monitor:
    """A console that was just started."""
    made = Monitor(run.file, run.switch.store.last_good().file)
    made.remember(run.switch.recorded(), run.now)
    made.catch_up(run.now)
    return made


@pytest.mark.parametrize("orgs", [900, 1200])
def test_a_raise_of_all_orgs_at_once_bakes_for_each(ramp_file: Path, orgs: int) -> None:
    run = run_of(ramp_file, orgs)
    first, last = "o0000", f"o{orgs - 1:04d}"
    for org in (first, last):
        run.traffic(200, org=org)
    run.monitor.go_on(run.now)
    jo = run.new_switch("jo")
    jo.open()
    plan = jo.planner.plan_sets([("chat", None)], next_up)
    run.now += 3
    jo.apply(plan, reason="all up")
    run.now += 1
    follow_file(run.switch, run.monitor, run.now)
    for monitor in (run.monitor, fresh(run)):
        for org in (first, last):
            assert run.now - 2 <= monitor.raised_at("chat", org) <= run.now, org
            assert monitor.health("chat", org, run.now).verdict.kind == "hold", org
    assert "raise" not in [event.kind for event in run.turn(0.5).events]


def test_a_raise_bakes_although_the_history_was_replaced(ramp_file: Path) -> None:
    """As its error says: move it away, and a new one is made, whose ids begin again."""
    run = run_of(ramp_file, 12)
    jo = run.new_switch("jo")
    jo.open()
    for number in range(150):
        jo.apply(jo.planner.plan_set("chat", "o0007", 600 + number), reason="by hand")
    run.turn(1)
    run.now += 100
    run.traffic(150, org="o0000")
    run.monitor.go_on(run.now)
    for path in ramp_file.parent.glob("h.sqlite3*"):
        path.unlink()
    jo = run.new_switch("jo")
    jo.open()
    jo.apply(jo.planner.plan_set("chat", "o0000", 2500), reason="jo")
    run.turn(1)
    put_back(jo, "chat", "o0000")
    for _ in range(3):
        run.turn(1)
    assert run.share("o0000") == 2500
    for monitor in (run.monitor, fresh(run)):
        assert monitor.health("chat", "o0000", run.now).verdict.kind == "hold"


def test_an_org_of_now_is_not_hidden_by_those_of_before(
    ramp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Org ids are untrusted input: any number of them may have come and gone."""
    monkeypatch.setattr("rollout_console.guard.ingestion._MOST_SEEN", 50)
    run = run_of(ramp_file, 3)
    for number in range(100):
        run.traffic(1, org=f"junk{number}")
    run.turn(5)
    for org in ("o0000", "o0001", "o0002"):
        run.traffic(60, 503, org=org)
    turn = run.turn(5)
    assert [event.kind for event in turn.events if event.kind == "rollback"] == ["rollback"]
