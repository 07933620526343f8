"""What each share costs a day: kept by ``cost``, and read where a share is to be raised.

A confirm asks no network and reads no log: the command ``cost`` keeps a small file, and a raise is
linear in the share, as a share is of requests. What is older than a day says nothing.

On a route with shares by key alias or flag, an org's cost on TokenLab is that of its own share and
of what these add. Nobody knows how much that is, so that the figure is a bound: at most as much.
"""

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from rollout_console.changes.plan import Plan
from rollout_console.changes.recorded import Recorded, moved_by
from rollout_console.changes.traffic_diff import Move
from rollout_console.common.durations import seconds_text
from rollout_console.common.files import real_path, write_private
from rollout_console.reconcile.money import EXACT, ZERO
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import FULL
from rollout_gate.untrusted import UndecodableError, decode_json

if TYPE_CHECKING:
    from rollout_console.reconcile.piles import Row

WAIT_S = 0.2
"""How long a confirm waits for the kept file: no slow disk holds up a raise."""
KEPT_S = 86_400.0
"""How old what was kept may be, and how far back the cost of a share goes."""
INCOMPLETE_S = 3600.0
"""The newest records, which are not all settled, are left out."""
_LEAST_S = 3600.0
_MOST_BYTES = 64 * 1024 * 1024
_CENT = Decimal("0.01")

_RUN_COST = "no cost was added up within a day (rollout-console cost)"
_SLOW = "what cost has kept cannot be read in time"
_NOT_BY_NAME = "costs are not known by key alias or flag"
_NO_SHARE = "nothing of it is on TokenLab to tell from"
_MOST_DIGITS = 15
_NO_COST = "its share has no cost of an hour or more"
_SEVERAL = "nothing is known of these shares"


class ShareCost(msgspec.Struct, frozen=True, array_like=True):
    """What a share of ``points`` (basis points) costs a day, from so many ``seconds`` of it."""

    points: Annotated[int, msgspec.Meta(gt=0, le=FULL)]
    a_day: Decimal
    seconds: Annotated[float, msgspec.Meta(gt=0, le=2 * KEPT_S)]


class ShareCosts(msgspec.Struct, frozen=True):
    """The costs of shares by route and org, from matched records up to ``until`` (epoch seconds).

    Orgs without a line of their own have the route's default share. ``mixed`` are routes whose
    aliases or flags had shares as well: what is known of these is a bound.
    """

    until: float
    routes: Mapping[str, Mapping[str, ShareCost]]
    mixed: tuple[str, ...] = ()


class ShareTally:
    """Sums what each share has cost since it was last changed, a day at most."""

    def __init__(
        self, file: RolloutFile, recorded: Recorded, changed_at: float, since: float, until: float
    ) -> None:
        """``changed_at`` is when the rollout file was last written; all times in epoch seconds."""
        self._until = until
        self._file = file
        known = recorded.revision == file.revision
        since = max(since, until - KEPT_S)
        # What the history does not have may be an edit of any share.
        self._since = max(since, recorded.known_since if known else changed_at)
        if known and recorded.known_since > until:  # nothing is recorded yet
            self._since = max(since, changed_at)
        self._changed: dict[tuple[str | None, str | None], float] = {}
        for change in recorded.changes:
            at = change.at.timestamp()
            places = [(move.route, move.org) for move in moved_by(change)]
            # Another model costs something else a request.
            places += [(change.route, None)] if change.action == "model" else []
            for place in places:
                self._changed[place] = max(at, self._changed.get(place, at))
        self._costs: dict[tuple[str, str], Decimal] = {}
        self._begins: dict[tuple[str, str], float] = {}

    def add(self, row: "Row") -> None:
        """Count a row, where it is a matched record of a share as it is now."""
        if row.pile != "matched" or row.cost is None or row.line_at is None:
            return
        place = row.route, row.org
        if place not in self._begins:
            self._begins[place] = self._begins_of(*place)
        if self._begins[place] <= row.line_at / 1e6 < self._until:
            self._costs[place] = EXACT.add(self._costs.get(place, ZERO), row.cost)

    def found(self) -> ShareCosts:
        """Return the cost of each share a day, of those that are in force for an hour or more."""
        routes: dict[str, dict[str, ShareCost]] = {}
        for (name, org), cost in self._costs.items():
            route = self._file.routes.get(name)
            span = self._until - self._begins[name, org]
            if route is None or span < _LEAST_S or cost <= 0:
                continue
            points = 0 if self._file.is_latched(name, org) else route.org_points(org)
            if points:
                a_day = cost * Decimal(86_400) / Decimal(round(span))
                routes.setdefault(name, {})[org] = ShareCost(points, a_day, span)
        mixed = tuple(name for name in routes if _is_mixed(self._file.routes[name]))
        return ShareCosts(self._until, routes, mixed)

    def _begins_of(self, route: str, org: str) -> float:
        wider = ((route, org), (route, None), (None, None))
        return max([self._since, *(self._changed.get(place, 0.0) for place in wider)])


def kept_path(folder: Path, rollout_file: Path, base_url: str) -> Path:
    """Return where the costs of the shares of a rollout file are kept."""
    digest = hashlib.sha256(f"{real_path(rollout_file)}\n{root_of(base_url)}".encode()).hexdigest()
    return folder / f"share-costs-{digest[:16]}.json"


def keep(found: ShareCosts, path: Path) -> None:
    """Keep the costs of shares; that they cannot be kept is no error of the command."""
    with suppress(OSError):
        write_private(path, msgspec.json.encode(found))


def kept(path: Path, now: float) -> ShareCosts | None:
    """Return the costs that were kept, None where there are none of the last day."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        found = decode_json(path.read_bytes(), msgspec.json.Decoder(ShareCosts))
    except (OSError, UndecodableError):
        return None
    return found if abs(now - found.until) <= KEPT_S else None


def added_by(plan: Plan, path: Path, folder: Path, now: float | None = None) -> str:
    """Return what a raise of the rollout file at ``path`` would add a day, in a few words.

    Where that is not known, they say why. It is empty for anything else. Blocks for WAIT_S at most.
    """
    file = plan.prepared.before.file
    if plan.direction != "up":
        return ""
    found: list[ShareCosts | None] = []

    def look() -> None:
        found.append(
            kept(kept_path(folder, path, file.base_url), time.time() if now is None else now)
        )

    thread = threading.Thread(target=look, name="share-costs", daemon=True)
    thread.start()
    thread.join(WAIT_S)
    if not found or found[0] is None:
        return _unknown(_RUN_COST if found else _SLOW)
    return _words(plan.moves, file, found[0], time.time() if now is None else now)


def _words(moves: Iterable[Move], file: RolloutFile, costs: ShareCosts, now: float) -> str:
    moved, added, span, is_bound, unknown = 0, ZERO, 0.0, False, list[str]()
    for move in moves:
        moved += 1
        route = file.routes.get(move.route)
        some = list(_shares_of(move, route, costs.routes.get(move.route, {})))
        if not some:
            unknown.append(_why_unknown(move))
            continue
        if not all(one.a_day.is_finite() and one.a_day.adjusted() < _MOST_DIGITS for one in some):
            return _unknown(_RUN_COST)
        is_mixed = move.route in costs.mixed or (route is not None and _is_mixed(route))
        is_bound = is_bound or is_mixed
        span = max(span, *(one.seconds for one in some))
        if is_mixed and move.after < move.before:
            continue  # it takes something away, and perhaps nothing
        for one in some:
            added += one.a_day * Decimal(move.after - move.before) / Decimal(one.points)
    if len(unknown) == moved:
        return _unknown(unknown[0] if len({*unknown}) == 1 else _SEVERAL)
    amount = added.quantize(_CENT, ROUND_UP if is_bound else ROUND_HALF_EVEN)
    less = abs(amount) < _CENT
    money = "less than +$0.01" if less else f"{'-' if amount < 0 else '+'}${abs(amount):,.2f}"
    words = f"{'at most' if is_bound else 'about'} {money} a day on TokenLab"
    words += f", from its cost in {_minutes(span)}"
    age = seconds_text(max(now - costs.until, 0.0))
    others = ", with what aliases and flags added" if is_bound else ""
    missing = f"; nothing is known of {len(unknown):,} of {moved:,} shares" if unknown else ""
    return f"{words}{others}, {age} ago{missing}"


def _unknown(why: str) -> str:
    return f"added cost unknown: {why}"


def _why_unknown(move: Move) -> str:
    if move.subject not in ("org", "others"):
        return _NOT_BY_NAME
    return _NO_COST if move.before else _NO_SHARE


def _is_mixed(route: Route) -> bool:
    """Return whether traffic of an org goes to TokenLab by another share than the org's."""
    return bool(route.keys or route.flags)


def _minutes(seconds: float) -> str:
    return seconds_text(round(max(seconds, 0.0) / 60) * 60)


def _shares_of(
    move: Move, route: Route | None, costs: Mapping[str, ShareCost]
) -> Iterable[ShareCost]:
    if route is None:
        return
    if move.subject == "org" and move.name in costs:
        yield costs[move.name]
    elif move.subject == "others":
        yield from (one for org, one in costs.items() if org not in route.orgs)
