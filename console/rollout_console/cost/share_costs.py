"""What each share costs a day: kept by ``cost``, and read where a share is to be raised.

A confirm asks no network and reads no log: the command ``cost`` keeps a small file, and a raise is
linear in the share, as a share is of requests. What is older than a day says nothing.
"""

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from rollout_console.changes.plan import Plan
from rollout_console.changes.recorded import Recorded, moved_by
from rollout_console.changes.traffic_diff import Move
from rollout_console.common.durations import seconds_text
from rollout_console.common.files import write_private
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


class ShareCost(msgspec.Struct, frozen=True, array_like=True):
    """What a share of ``points`` (basis points) costs a day, from so many ``seconds`` of it."""

    points: Annotated[int, msgspec.Meta(gt=0, le=FULL)]
    a_day: Decimal
    seconds: float


class ShareCosts(msgspec.Struct, frozen=True):
    """The costs of shares by route and org, from matched records up to ``until`` (epoch seconds).

    Orgs without a line of their own have the route's default share.
    """

    until: float
    routes: Mapping[str, Mapping[str, ShareCost]]


class ShareTally:
    """Sums what each share has cost since it was last changed, a day at most.

    A route with shares by key alias or flag is left out: its traffic is not linear in an org's.
    """

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
            if route is None or route.keys or route.flags or span < _LEAST_S or cost <= 0:
                continue
            points = 0 if self._file.is_latched(name, org) else route.org_points(org)
            if points:
                a_day = cost * Decimal(86_400) / Decimal(round(span))
                routes.setdefault(name, {})[org] = ShareCost(points, a_day, span)
        return ShareCosts(self._until, routes)

    def _begins_of(self, route: str, org: str) -> float:
        wider = ((route, org), (route, None), (None, None))
        return max([self._since, *(self._changed.get(place, 0.0) for place in wider)])


def kept_path(folder: Path, rollout_file: Path, base_url: str) -> Path:
    """Return where the costs of the shares of a rollout file are kept."""
    digest = hashlib.sha256(f"{rollout_file.resolve()}\n{root_of(base_url)}".encode()).hexdigest()
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

    It is empty for anything else, and where it is not known. Blocks for WAIT_S at most.
    """
    file = plan.prepared.before.file
    if plan.direction != "up":
        return ""
    found: list[ShareCosts] = []

    def look() -> None:
        costs = kept(kept_path(folder, path, file.base_url), time.time() if now is None else now)
        found.extend([costs] if costs is not None else [])

    thread = threading.Thread(target=look, name="share-costs", daemon=True)
    thread.start()
    thread.join(WAIT_S)
    return _words(plan.moves, file, found[0], time.time() if now is None else now) if found else ""


def _words(moves: Iterable[Move], file: RolloutFile, costs: ShareCosts, now: float) -> str:
    known, moved, added, span = 0, 0, ZERO, 0.0
    for move in moves:
        moved += 1
        route = file.routes.get(move.route)
        some = list(_shares_of(move, route, costs.routes.get(move.route, {})))
        known += bool(some)
        for one in some:
            if not one.a_day.is_finite():
                return ""
            added += one.a_day * Decimal(move.after - move.before) / Decimal(one.points)
            span = max(span, one.seconds)
    if not known:
        return ""
    amount = added.quantize(_CENT, ROUND_HALF_EVEN)
    less = abs(amount) < _CENT
    money = "less than +$0.01" if less else f"{'-' if amount < 0 else '+'}${abs(amount):,.2f}"
    words = f"about {money} a day on TokenLab, from its cost in {_minutes(span)}"
    age = seconds_text(max(now - costs.until, 0.0))
    missing = (
        f"; nothing is known of {moved - known:,} of {moved:,} shares" if moved > known else ""
    )
    return f"{words}, {age} ago{missing}"


def _minutes(seconds: float) -> str:
    return seconds_text(round(max(seconds, 0.0) / 60) * 60)


def _shares_of(
    move: Move, route: Route | None, costs: Mapping[str, ShareCost]
) -> Iterable[ShareCost]:
    if route is None or route.keys or route.flags:
        return
    if move.subject == "org" and move.name in costs:
        yield costs[move.name]
    elif move.subject == "others":
        yield from (one for org, one in costs.items() if org not in route.orgs)
