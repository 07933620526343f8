"""Describe a recorded change: who, what, its direction, and the diff of the two texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from rollout_console.changes.effect_words import spoken_value
from rollout_console.changes.external_edits import described
from rollout_console.changes.plan import ALL_ORGS, moves_by_target
from rollout_console.changes.recorded import moved_by, recorded_target
from rollout_console.changes.text_diff import changed_lines
from rollout_console.changes.traffic_diff import DEFAULT_SHARE, Move, moves
from rollout_console.common.durations import spoken_change
from rollout_console.history.errors import HistoryError
from rollout_console.history.history import History
from rollout_console.history.rows import NOTES, Change
from rollout_gate.file.errors import FileError
from rollout_gate.file.parse import parse

ROLLED_BACK = "rolled back"

Way = Literal["rollback", "resume", "raise", "lower", "note", "other"]


class Details(msgspec.Struct, frozen=True):
    """The two texts of a change compared.

    ``moves`` are the shares that differ, ``words`` names other differences too, ``diff`` has the
    changed lines with ``-`` and ``+``. ``trouble`` says why something of it is missing, empty where
    nothing is. Of a write of several changes, ``moves`` are those of this one, and ``others`` is
    the number of the others, of which ``diff`` and ``words`` are, too. ``previous`` is the revision
    before the write.
    """

    moves: Sequence[Move] = ()
    words: str = ""
    diff: Sequence[str] = ()
    trouble: str = ""
    others: int = 0
    previous: str = ""


def details_of(history: History, file: Path, change: Change) -> Details:
    """Compare the texts before and after a change; an error is in ``trouble``."""
    if change.action in NOTES:
        return Details(trouble="it is an event: the file stayed as it was")
    try:
        group = history.group_of(change)
        previous = group[0].previous_revision
        before = history.text_of(file, previous)
        after = history.text_of(file, change.revision)
    except HistoryError as error:
        return Details(trouble=str(error))
    diff, others = changed_lines(before, after), len(group) - 1
    try:
        found = moves(parse(before), parse(after))
    except FileError as error:
        trouble = f"one of the two texts cannot be used: {error}"
        return Details(diff=diff, trouble=trouble, others=others, previous=previous)
    if others:
        found = moves_by_target(found, map(recorded_target, group))[recorded_target(change)]
    return Details(found, described(before, after).words, diff, others=others, previous=previous)


def what_of(change: Change, to: str = "→") -> str:
    """Return what a change did, in one line of words, without author and reason.

    ``to`` stands between the value before and the one after.
    """
    if change.action == "external":
        return f"edit: {change.after}"
    if change.action in ("restore", "mirror"):
        return f"{change.action} {change.after}"
    action, target = _spoken(change)
    if change.action == "undelivered":
        return f"not delivered: {change.after}"
    if change.action == "acknowledge":
        return f"acknowledged: {change.after}"
    if change.action == "put_back":
        return f"put back into its ramp: {target}"
    if change.action in ("rollback", "resume"):
        return f"{action} {target}"
    before, after = spoken_value(change, change.before), spoken_value(change, change.after)
    return f"{action} {target}: {before} {to} {after}"


def target_of(change: Change) -> str:
    """Return what a change was of: ``chat / acme``, ``chat / alias ci``, ``everything``."""
    return _spoken(change)[1]


def _spoken(change: Change) -> tuple[str, str]:
    org = DEFAULT_SHARE if change.org == ALL_ORGS else change.org
    return spoken_change(change.action, change.route, org)


def way_of(change: Change) -> Way:
    """Return in which direction a change moved traffic; a latch counts before single shares."""
    if change.action in NOTES:
        return "note"
    if change.after == ROLLED_BACK:
        return "rollback"
    if change.before == ROLLED_BACK:
        return "resume"
    found = moved_by(change)
    if any(move.raised for move in found):
        return "resume" if any(move.raised and move.latched for move in found) else "raise"
    if not found:
        return "other"
    # The recorded moves say nothing of a latch that was set; an external edit's words do.
    is_latch = change.action == "external" and f"to {ROLLED_BACK}" in change.after
    return "rollback" if is_latch else "lower"
