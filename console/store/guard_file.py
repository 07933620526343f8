"""The guard's own record beside the rollout file: where each org of a ramp is, and who is out.

``rollout.guard.toml`` for ``rollout.toml``. Several guards share it, on one host or several; an org
that somebody moved by hand stands under ``out`` until it is put back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from console.rollout.errors import PercentError
from console.rollout.percent import parse_percent
from console.store.errors import StoreError
from console.store.side_file import SideFile, inline, number, sub_table, time_of

_HEAD = (
    "# Where the guard is with each org's ramp; rollout-console guard keeps it. Orgs under out\n"
    "# were moved by hand and wait to be put back: rollout-console guard --put-back ROUTE [ORG]\n"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an org of a ramp is, in basis points, and since when.

    ``to`` is the step that is being taken: a guard that died in the middle of it is not taken for
    somebody else's hand.
    """

    points: int
    since: datetime | None = None
    to: int | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """Since when an org is out of its ramp, and why."""

    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class RouteRamp:
    """The orgs of one route's ramp that are known, and those that are out of it."""

    places: Mapping[str, Place] = field(default_factory=dict)
    out: Mapping[str, Out] = field(default_factory=dict)


class GuardFile:
    """Reads and edits the record; every method raises StoreError, and nothing is half-done then."""

    def __init__(self, rollout_file: Path) -> None:
        path = rollout_file.with_name(f"{rollout_file.stem}.guard.toml")
        self._file = SideFile(path, _HEAD, _state)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    def read(self) -> Mapping[str, RouteRamp]:
        """Return the record by route."""
        return self._file.state()

    def keep(self, route: str, places: Mapping[str, Place]) -> Mapping[str, RouteRamp]:
        """Keep where these orgs are."""

        def edit(table: Any) -> None:
            kept = sub_table(sub_table(sub_table(table, "routes"), route), "at")
            for org, place in places.items():
                kept[org] = _place_value(place)

        return self._file.edit(edit)

    def take_out(self, route: str, orgs: Mapping[str, Out]) -> Mapping[str, RouteRamp]:
        """Take orgs out of their ramp."""

        def edit(table: Any) -> None:
            one = sub_table(sub_table(table, "routes"), route)
            for org, out in orgs.items():
                sub_table(one, "at").pop(org, None)
                sub_table(one, "out")[org] = inline(since=out.since, why=out.why)

        return self._file.edit(edit)

    def put_back(self, route: str, orgs: Iterable[str]) -> Mapping[str, RouteRamp]:
        """Forget what is known of orgs: the guard goes on from wherever they are then."""

        def edit(table: Any) -> None:
            one = sub_table(sub_table(table, "routes"), route)
            for org in orgs:
                sub_table(one, "out").pop(org, None)
                sub_table(one, "at").pop(org, None)

        return self._file.edit(edit)


def _place_value(place: Place) -> Any:
    values: dict[str, Any] = {"percent": number(place.points)}
    if place.since is not None:
        values["since"] = place.since
    if place.to is not None:
        values["to"] = number(place.to)
    return inline(**values)


def _state(path: Path, table: Mapping[str, Any], _revision: str) -> Mapping[str, RouteRamp]:
    try:
        return {
            str(name): RouteRamp(
                {str(org): _place(one) for org, one in route.get("at", {}).items()},
                {
                    str(org): Out(time_of(one["since"]), str(one["why"]))
                    for org, one in route.get("out", {}).items()
                },
            )
            for name, route in table.get("routes", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError, PercentError) as error:
        what = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path} does not say what a guard's record says ({what})") from None


def _place(one: Mapping[str, Any]) -> Place:
    since, to = one.get("since"), one.get("to")
    return Place(
        parse_percent(str(one["percent"])),
        None if since is None else time_of(since),
        None if to is None else parse_percent(str(to)),
    )
