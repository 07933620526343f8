"""What an incident is about: the rollbacks that belong together, and what they rolled back."""

from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path

import msgspec

from rollout_console.changes.change_details import ROLLED_BACK, way_of
from rollout_console.changes.external_edits import rolled_back
from rollout_console.changes.recorded import moved_by
from rollout_console.common.durations import target_text
from rollout_console.common.errors import OperationError
from rollout_console.history.errors import HistoryError
from rollout_console.history.history import History
from rollout_console.history.rows import Change
from rollout_gate.file.errors import FileError
from rollout_gate.file.parse import parse

TOGETHER_S = 600.0
"""Rollbacks at most so far apart, with no resume in between, are of one incident."""
_LEAST_PREFIX = 7


class Cut(msgspec.Struct, frozen=True):
    """What one rollback cut off, route and org or None for all of them, and when."""

    route: str | None
    org: str | None
    at: float

    def covers(self, route: str, org: str) -> bool:
        """Return whether a request of an org on a route is of it."""
        return self.route in (None, route) and self.org in (None, org)

    @property
    def words(self) -> str:
        """What it is, as people read it."""
        return target_text(self.route, self.org)


class Scope(msgspec.Struct, frozen=True):
    """The rollbacks of one incident, oldest first, and what they cut off.

    Without a rollback it is about everything. ``given_back_at`` is when some of it was resumed or
    raised again (epoch seconds), inf where it was not.
    """

    rollbacks: Sequence[Change] = ()
    cuts: Sequence[Cut] = ()
    given_back_at: float = inf

    def covers(self, route: str, org: str) -> bool:
        """Return whether a request of an org on a route is of the incident."""
        return not self.cuts or any(cut.covers(route, org) for cut in self.cuts)

    def cut_at(self, route: str, org: str) -> float:
        """Return when a request's org was rolled back first; inf where it was not."""
        return min((cut.at for cut in self.cuts if cut.covers(route, org)), default=inf)

    @property
    def words(self) -> str:
        """What it is about, as people read it."""
        return ", ".join(dict.fromkeys(cut.words for cut in self.cuts)) or "everything"

    @property
    def began_at(self) -> float:
        """When the first of the rollbacks was made (epoch seconds); inf without one."""
        return min((one.at.timestamp() for one in self.rollbacks), default=inf)

    @property
    def last_at(self) -> float:
        """When the last of the rollbacks was made (epoch seconds); -inf without one."""
        return max((one.at.timestamp() for one in self.rollbacks), default=-inf)


def rollback_named(changes: Sequence[Change], revision: str) -> Change:
    """Return the newest change that made a revision, given by a prefix; raises OperationError.

    It need not be a latch: a share that was set to 0% ended the traffic just as well.
    """
    wanted = revision.strip().lower()
    if len(wanted) < _LEAST_PREFIX:
        raise OperationError(f"{revision!r} is too short: give at least {_LEAST_PREFIX} digits")
    for change in changes:
        if change.revision.startswith(wanted) and way_of(change) in ("rollback", "lower"):
            return change
    raise OperationError(f"no rollback made the revision {wanted}: see history")


def rollback_near(changes: Sequence[Change], at: float, within_s: float) -> Change | None:
    """Return the rollback nearest to a time; None without one ``within_s`` seconds of it."""
    found = [
        (abs(change.at.timestamp() - at), change)
        for change in changes
        if way_of(change) == "rollback"
    ]
    distance, nearest = min(found, key=lambda one: one[0], default=(inf, None))
    return nearest if distance <= within_s else None


def latest_rollback(changes: Sequence[Change]) -> Change | None:
    """Return the newest rollback of changes that are newest first; None without one."""
    return next((change for change in changes if way_of(change) == "rollback"), None)


def scope_of(history: History, file: Path, changes: Sequence[Change], rollback: Change) -> Scope:
    """Return the scope of a rollback, with those that belong to the same incident."""
    at = next(index for index, change in enumerate(changes) if change.id == rollback.id)
    chain = [*_linked(rollback, reversed(changes[:at]))][::-1]
    chain += [rollback, *_linked(rollback, changes[at + 1 :])]
    rollbacks = chain[::-1]
    cuts = [cut for one in rollbacks for cut in _cuts(history, file, one)]
    later = reversed([change for change in changes if change.id > rollbacks[-1].id])
    given_back = next((one.at.timestamp() for one in later if _gives_back(one, cuts)), inf)
    return Scope(rollbacks, cuts, given_back)


def _linked(rollback: Change, others: Iterator[Change] | Sequence[Change]) -> Iterator[Change]:
    """Yield the rollbacks that follow one another, going away from ``rollback``."""
    last = rollback.at.timestamp()
    for change in others:
        at = change.at.timestamp()
        if abs(at - last) > TOGETHER_S or way_of(change) == "resume":
            return
        if way_of(change) == "rollback":
            yield change
            last = at


def _cuts(history: History, file: Path, change: Change) -> list[Cut]:
    at = change.at.timestamp()
    if change.after == ROLLED_BACK:
        return [Cut(change.route, change.org, at)]
    found: list[Cut] = []
    try:
        before, after = (
            parse(history.text_of(file, one)) for one in (change.previous_revision, change.revision)
        )
        found = [Cut(route, org, at) for route, org in rolled_back(before, after)]
    except (FileError, HistoryError):
        pass  # a text that is gone or invalid: what its moves say is used
    lowered = [Cut(one.route, one.org, at) for one in moved_by(change) if one.lowered]
    return found or lowered or [Cut(change.route, change.org, at)]


def _gives_back(change: Change, cuts: Sequence[Cut]) -> bool:
    if way_of(change) not in ("resume", "raise"):
        return False
    raised = [move for move in moved_by(change) if move.raised]
    return any(
        move.route in (None, cut.route) or cut.route is None
        for move in raised
        for cut in cuts
        if cut.org is None or move.org in (None, cut.org)
    )
