"""Serialize the moves of a change for the history, and read the file's past from them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import Literal

import msgspec

from rollout_console.changes.plan import ALL_ORGS, Target, named_share
from rollout_console.changes.traffic_diff import Move
from rollout_console.history.rows import Change
from rollout_gate.file.errors import PercentError
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.percent import parse_percent

TABLES: Mapping[str, Literal["keys", "flags"]] = {"set_alias": "keys", "set_flag": "flags"}
"""What a share is by, by the action of its row, where it is not by an org."""

_MOST_OF_A_ROUTE = 100
"""Limit of the moves of one route that are recorded singly; more are aggregated by direction."""


class Moved(msgspec.Struct, frozen=True):
    """A share that was raised or lowered; route and org are None for all. ``latched`` is whether
    it was rolled back before."""

    route: str | None
    org: str | None
    raised: bool
    lowered: bool
    latched: bool


class Recorded(msgspec.Struct, frozen=True):
    """The newest changes of a file, newest first.

    ``revision`` is that of the file after the last of them, empty where the history cannot be
    read; ``known_since`` is the time (epoch seconds) since which they are complete, inf where that
    is not known. ``newest`` is the id of the newest row, 0 without one: ids of another database,
    as of one that was moved away, or restored from a backup, begin again.
    """

    changes: Sequence[Change] = ()
    revision: str = ""
    known_since: float = inf
    newest: int = 0


def to_json(found: Iterable[Move], before: RolloutFile) -> str:
    """Serialize moves as JSON rows: route, org (null for several), both shares, latched."""
    by_route: dict[str, list[tuple[str | None, int, int, bool]]] = defaultdict(list)
    for move in found:
        by_route[move.route].append((move.org, move.before, move.after, was_latched(before, move)))
    rows: list[tuple[str, str | None, int, int, bool]] = []
    for route, of_route in by_route.items():
        if len(of_route) <= _MOST_OF_A_ROUTE:
            rows += [(route, *one) for one in of_route]
            continue
        for raised in (True, False):
            some = [one for one in of_route if (one[2] > one[1]) is raised]
            if some:
                least, most = min(one[1] for one in some), max(one[1] for one in some)
                latched = any(one[3] for one in some)
                after = max(one[2] for one in some) if raised else min(one[2] for one in some)
                rows.append((route, None, least if raised else most, after, latched))
    return json.dumps(rows)


def recorded_target(change: Change) -> Target:
    """Return the target of a recorded change; ``flag beta`` in place of an org is one by a flag."""
    table = TABLES.get(change.action)
    return change.route, change.org if table is None else named_share(table, str(change.org))


def moved_by(change: Change) -> list[Moved]:
    """Return what a change moved; for a row without moves, inferred from its action and values."""
    try:
        rows = json.loads(change.moves or "[]")
        if rows:
            return [_moved(*row) for row in rows]
    except (ValueError, TypeError):
        pass  # a damaged row: fall back to its action
    org = None if change.org == ALL_ORGS else change.org
    if change.action == "set" or (change.action == "undo" and _are_percents(change)):
        raised = _is_raise(change)
        return [Moved(change.route, org, raised, not raised, latched=False)]
    if change.action == "rollback":
        return [Moved(change.route, org, raised=False, lowered=True, latched=False)]
    if change.action in ("resume", "undo", "restore", "mirror"):
        return [Moved(change.route, org, raised=True, lowered=False, latched=True)]
    return []


def was_latched(file: RolloutFile, move: Move) -> bool:
    """Return whether the share that moved was latched in the file before."""
    return file.is_latched(move.route, move.org)


def _moved(
    route: object, org: object, before: object, after: object, latched: object = False
) -> Moved:
    if not (isinstance(before, int) and isinstance(after, int)):
        raise TypeError
    return Moved(
        str(route),
        None if org is None else str(org),
        after > before,
        after < before,
        latched is True,
    )


def _are_percents(change: Change) -> bool:
    try:
        return parse_percent(change.before) >= 0 and parse_percent(change.after) >= 0
    except PercentError:
        return False


def _is_raise(change: Change) -> bool:
    try:
        return Decimal(change.after) > Decimal(change.before)
    except ArithmeticError:
        return True  # a damaged row: a step that bakes once too often does no harm
