"""The guard's persistent ramp state next to the rollout file: each org's step, and orgs taken out.

It is ``rollout.guard.toml`` for ``rollout.toml``. Several guards share it, on one host or several;
an org that was changed by hand is under ``out`` until it is put back.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path as FilePath
from typing import Any

import msgspec

from rollout_console.changes.errors import StoreError
from rollout_console.changes.side_file import Publisher, SideFile, time_of
from rollout_console.changes.toml_edit.line import quoted
from rollout_console.common.write_access import WriteAccess
from rollout_gate.file.errors import PercentError
from rollout_gate.file.percent import parse_percent, percent_text
from rollout_gate.file.positions import Path

_HEAD = (
    "# Where the guard is with each org's ramp; rollout-console guard keeps it. Orgs under out\n"
    "# were moved by hand and wait to be put back: rollout-console guard --put-back ROUTE [ORG]\n"
)


class Place(msgspec.Struct, frozen=True):
    """The share of an org on its ramp, in basis points, and since when.

    ``to`` is the write-ahead record of a step in progress: after a crash, recovery does not take
    that step for a manual edit.
    """

    points: int
    since: datetime | None = None
    to: int | None = None


class Out(msgspec.Struct, frozen=True):
    """An org that was taken out of its ramp: since when, and why."""

    since: datetime
    why: str


class RouteRamp(msgspec.Struct, frozen=True):
    """One route's ramp: the orgs on it with their places, and those taken out of it."""

    places: Mapping[str, Place] = msgspec.field(default_factory=dict)
    out: Mapping[str, Out] = msgspec.field(default_factory=dict)


class _Record(msgspec.Struct, frozen=True):
    routes: Mapping[str, RouteRamp] = {}
    lowered: Mapping[tuple[str, str], datetime] = {}


class RampRecord:
    """Reads and edits the record; each edit is one compare-and-swap of the file.

    Every method raises StoreError on failure, with the file unchanged.
    """

    def __init__(
        self, rollout_file: FilePath, access: WriteAccess, publish: Publisher | None = None
    ) -> None:
        path = rollout_file.with_name(f"{rollout_file.stem}.guard.toml")
        self._file = SideFile(path, _HEAD, _state, access, publish)

    @property
    def path(self) -> FilePath:
        """The path of the record."""
        return self._file.path

    def written_at(self) -> float:
        """Return when the record was last written, in epoch seconds; 0.0 without one."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0

    def read(self) -> Mapping[str, RouteRamp]:
        """Return the record by route."""
        return self._file.state().routes

    def lowered(self) -> Mapping[tuple[str, str], datetime]:
        """Return when shares were last lowered for a budget, by its name and theirs.

        A route is the name of its orgs' shares; one of an alias or a flag has a name of its own.
        """
        return self._file.state().lowered

    def keep(self, route: str, places: Mapping[str, Place]) -> Mapping[str, RouteRamp]:
        """Store the places of these orgs."""
        return self._file.put(_places(route, places)).routes

    def note_lowered(
        self,
        route: str,
        share: str,
        budgets: Mapping[str, datetime | None],
        places: Mapping[str, Place],
    ) -> None:
        """Store when shares are lowered for these budgets, and places on a route, in one write.

        ``share`` is the name of ``lowered``. None deletes the time of a budget.
        """
        values: dict[Path, str | None] = {
            ("lowered", name, share): None if at is None else at.isoformat()
            for name, at in budgets.items()
        }
        self._file.put(values | _places(route, places))

    def take_out(self, route: str, orgs: Mapping[str, Out]) -> Mapping[str, RouteRamp]:
        """Move orgs from the ramp to ``out``."""
        values: dict[Path, str | None] = {}
        for org, out in orgs.items():
            values["routes", route, "at", org] = None
            values["routes", route, "out", org] = (
                f"{{ since = {out.since.isoformat()}, why = {quoted(out.why)} }}"
            )
        return self._file.put(values).routes

    def put_back(self, route: str, orgs: Iterable[str]) -> Mapping[str, RouteRamp]:
        """Delete the entries of orgs: the guard resumes their ramp from their current share."""
        return self._file.put(
            {("routes", route, part, org): None for org in orgs for part in ("out", "at")}
        ).routes


def _places(route: str, places: Mapping[str, Place]) -> dict[Path, str | None]:
    return {("routes", route, "at", org): _spelled(place) for org, place in places.items()}


def _spelled(place: Place) -> str:
    values = [f"percent = {percent_text(place.points)}"]
    if place.since is not None:
        values.append(f"since = {place.since.isoformat()}")
    if place.to is not None:
        values.append(f"to = {percent_text(place.to)}")
    return "{ " + ", ".join(values) + " }"


def _state(name: str, table: Mapping[str, Any], _revision: str) -> _Record:
    try:
        routes = {
            str(name): RouteRamp(
                {str(org): _place(one) for org, one in route.get("at", {}).items()},
                {
                    str(org): Out(time_of(one["since"]), str(one["why"]))
                    for org, one in route.get("out", {}).items()
                },
            )
            for name, route in table.get("routes", {}).items()
        }
        lowered = {
            (str(name), str(route)): time_of(at)
            for name, some in table.get("lowered", {}).items()
            for route, at in some.items()
        }
        return _Record(routes, lowered)
    except (AttributeError, KeyError, TypeError, ValueError, PercentError) as error:
        what = f"{type(error).__name__}: {error}"
        raise StoreError(f"{name} is not a valid guard record ({what})") from None


def _place(one: Mapping[str, Any]) -> Place:
    since, to = one.get("since"), one.get("to")
    return Place(
        parse_percent(str(one["percent"])),
        None if since is None else time_of(since),
        None if to is None else parse_percent(str(to)),
    )
