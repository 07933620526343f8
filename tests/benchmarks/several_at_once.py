"""A change of 300 lines at once, of a file with 10,000 orgs, against parsing the file once."""

import tempfile
from pathlib import Path

from rollout_console.changes.switch import Switch
from rollout_console.guard.ladder import next_up
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.file.parse import parse
from tests.benchmarks.timing import in_turn

ORGS = 10_000
AT_ONCE = 300
TARGET = 2.0
"""Limit of each plan, with its diff, in times of one parse of the file."""


def main() -> None:
    """Print how long a raise, a rollback and 300 new lines take to plan, and to undo."""
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder))


def _measure(folder: Path) -> None:
    path = folder / "rollout.toml"
    head = 'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "image"\n'
    lines = "".join(f"org-{i} = {i % 100}  # since {i}\n" for i in range(ORGS))
    path.write_text(f"{head}default_percent = 5\n[routes.chat.orgs]\n{lines}")
    switch = Switch(path, History(folder / "history.sqlite3"), Actor("jo", "gw-01"))
    data = switch.open().data
    planner, step = switch.planner, ORGS // AT_ONCE
    some: list[tuple[str, str | None]] = [("chat", f"org-{i * step}") for i in range(AT_ONCE)]
    new: list[tuple[str, str | None]] = [("chat", f"new-{i}") for i in range(AT_ONCE)]
    floor, raised, back, added = in_turn(
        lambda: parse(data),
        lambda: planner.plan_sets(some, next_up).moves,
        lambda: planner.plan_rollbacks(some, "5xx 44%").moves,
        lambda: planner.plan_sets(new, next_up, new=set(new)).moves,
        times=9,
    )
    switch.apply(planner.plan_sets(some, next_up))
    (undone,) = in_turn(lambda: planner.plan_undo().moves, times=5)
    print(
        f"{AT_ONCE} of {ORGS:,} orgs at once: parse {1e3 * floor:.0f} ms; planned: "
        f"raise {1e3 * raised:.0f} ms (ratio {raised / floor:.1f}), "
        f"rollback {1e3 * back:.0f} ms ({back / floor:.1f}), "
        f"new lines {1e3 * added:.0f} ms ({added / floor:.1f}), target {TARGET:g}; "
        f"undo {1e3 * undone:.0f} ms ({undone / floor:.1f})"
    )
