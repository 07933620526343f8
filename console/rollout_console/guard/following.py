"""Follow the rollout file and its history without a screen: the part of a turn that both begin with
who acts and who only reports."""

from collections.abc import Sequence

from rollout_console.changes.snapshot import Snapshot
from rollout_console.changes.switch import Switch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.rows import Change

Found = tuple[Snapshot, bool]
"""A new version of the file, and whether another process wrote it."""


def follow_file(
    switch: Switch, monitor: Monitor, now: float
) -> tuple[Found | None, Sequence[Change]]:
    """Put a new version of the file in force; return it and the history's newest rows, if any.

    Rows that were returned before are returned again. Raises RolloutError while the file cannot be
    used; the last good version then stays in force.
    """
    found = switch.refresh(settled=True)
    if found is not None:
        monitor.configure(found[0].file, now)
    if found is None and not switch.history_changed():
        return None, ()
    recorded = switch.recorded(monitor.known_to)
    monitor.remember(recorded, now)
    return found, recorded.changes
