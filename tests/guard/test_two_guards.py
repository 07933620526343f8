"""A change of the leader in the middle of a turn: no org is thrown out of its ramp."""

from collections.abc import Callable
from pathlib import Path

from rollout_console.changes.switch import Done
from rollout_console.guard.loop import GuardLoop, Turn
from rollout_console.guard.monitor import Monitor
from tests.guard.test_guarding import ramp_file
from tests.guard.test_history_of_many import run_of

__all__ = ["ramp_file"]


def test_the_leader_after_another_begins_with_what_that_has_done(ramp_file: Path) -> None:
    """The other guard's turn is between the rename of a step and the lock of the new inode."""
    run = run_of(ramp_file, 6)
    run.turn(1)
    switch = run.new_switch("guard-b")
    other = GuardLoop(switch, Monitor(ramp_file, switch.open().file))
    other.start(run.now)
    run.now += 60
    for number in range(6):
        run.traffic(150, org=f"o{number:04d}")
    turns: list[Turn] = [other.turn(run.balance, {}, run.now)]
    assert not turns[0].acts
    take_over: Callable[[Done, float], None] = run.guarding._take_over

    def between(done: Done, now: float) -> None:
        if len(turns) == 1:
            turns.append(other.turn(run.balance, {}, run.now))
        take_over(done, now)

    run.guarding._take_over = between  # type: ignore[method-assign]
    turns.append(run.turn(1))
    for guard in (other, run.guarding) * 3:
        run.now += 1
        turns.append(guard.turn(run.balance, {}, run.now))
    assert turns[1].acts, "it was sooner"
    events = [event for turn in turns for event in turn.events]
    assert [event.text for event in events if event.kind in ("ramp", "alert")] == []
    assert [turn.trouble for turn in turns if turn.trouble] == []
    raised = sorted(event.org or "" for event in events if event.kind == "raise")
    assert raised == [f"o{number:04d}" for number in range(6)], "each once"
    assert {run.share(org) for org in raised} == {1000}
    for guard in (other, run.guarding):
        guard.end()
