"""The plan file next to the rollout file: owners, ticked exit checks and shadow samples.

It is separate from the rollout file so that no application reads it, and TOML so that people can.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from rollout_console.changes.atomic_swap import ABSENT
from rollout_console.changes.errors import StoreError
from rollout_console.changes.side_file import Publisher, SideFile, inline, sub_table, time_of
from rollout_console.common.write_access import WriteAccess

_HEAD = (
    "# Owners, ticks and samples of the rollout file beside this one; rollout-console keeps it.\n"
)


class Tick(msgspec.Struct, frozen=True):
    """An exit check confirmed by a person: who, when, and a note."""

    by: str
    at: datetime
    note: str = ""


class Sample(msgspec.Struct, frozen=True):
    """The result of a shadow sample: counts of judgements, and the latency of both sides.

    ``tokenlab_ms`` and ``previous_ms`` are median latencies in ms; ``errors`` counts pairs where
    TokenLab failed.
    """

    at: datetime
    by: str
    model: str
    better: int = 0
    same: int = 0
    worse: int = 0
    errors: int = 0
    tokenlab_ms: float = 0.0
    previous_ms: float = 0.0

    @property
    def judged(self) -> int:
        """The number of pairs with a judgement; ``errors`` are not among them."""
        return self.better + self.same + self.worse

    @property
    def words(self) -> str:
        """The counts of judgements in words."""
        return f"{self.better} better, {self.same} same, {self.worse} worse, {self.errors} failed"

    @property
    def latency_words(self) -> str:
        """The median latency of both sides in words."""
        return f"median {self.tokenlab_ms:.0f} ms against {self.previous_ms:.0f} ms"


class RoutePlan(msgspec.Struct, frozen=True):
    """The plan's data of one route."""

    owner: str = ""
    contacts: tuple[str, ...] = ()
    ticks: Mapping[str, Tick] = msgspec.field(default_factory=dict)
    sample: Sample | None = None


class PlanState(msgspec.Struct, frozen=True):
    """The complete plan, and the revision of its file."""

    revision: str = ABSENT
    contacts: tuple[str, ...] = ()
    routes: Mapping[str, RoutePlan] = msgspec.field(default_factory=dict)

    def route(self, name: str) -> RoutePlan:
        """Return the plan's data of a route, empty defaults where it has none."""
        return self.routes.get(name, RoutePlan())


class PlanFile:
    """Reads and edits ``rollout.plan.toml`` for a rollout file ``rollout.toml``."""

    def __init__(
        self, rollout_file: Path, access: WriteAccess, publish: Publisher | None = None
    ) -> None:
        path = rollout_file.with_name(f"{rollout_file.stem}.plan.toml")
        self._file = SideFile(path, _HEAD, _state, access, publish)

    @property
    def path(self) -> Path:
        """The path of the plan file."""
        return self._file.path

    def read(self) -> PlanState:
        """Return the plan, an empty one where there is no file; raises StoreError."""
        return self._file.state()

    def tick(self, route: str, check: str, tick: Tick | None) -> PlanState:
        """Set a tick, or remove it (None); raises StoreError."""

        def edit(table: Any) -> None:
            ticks = sub_table(sub_table(sub_table(table, "routes"), route), "ticks")
            if tick is None:
                ticks.pop(check, None)
            else:
                ticks[check] = inline(by=tick.by, at=tick.at, note=tick.note)

        return self._file.edit(edit)

    def own(self, route: str, owner: str, contacts: tuple[str, ...] | None = None) -> PlanState:
        """Set a route's owner and, where given, its contacts; raises StoreError."""

        def edit(table: Any) -> None:
            one = sub_table(sub_table(table, "routes"), route)
            one["owner"] = owner
            if contacts is not None:
                one["contacts"] = list(contacts)

        return self._file.edit(edit)

    def keep_sample(self, route: str, sample: Sample) -> PlanState:
        """Store the result of a shadow sample, replacing the previous one; raises StoreError."""

        def edit(table: Any) -> None:
            sub_table(sub_table(table, "routes"), route)["shadow"] = inline(
                at=sample.at, by=sample.by, model=sample.model, better=sample.better,
                same=sample.same, worse=sample.worse, errors=sample.errors,
                tokenlab_ms=sample.tokenlab_ms, previous_ms=sample.previous_ms,
            )  # fmt: skip

        return self._file.edit(edit)


def _state(name: str, table: Mapping[str, Any], revision: str) -> PlanState:
    try:
        support, routes = table.get("support", {}), table.get("routes", {})
        return PlanState(
            revision,
            _texts(support.get("contacts", [])),
            {str(name): _route(one) for name, one in routes.items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise StoreError(f"{name} is not a valid plan file ({what}); correct it") from None


def _route(table: Mapping[str, Any]) -> RoutePlan:
    ticks = {
        str(name): Tick(str(one["by"]), time_of(one["at"]), str(one.get("note", "")))
        for name, one in table.get("ticks", {}).items()
    }
    shadow = table.get("shadow")
    sample = None
    if shadow is not None:
        better, same, worse, errors = (
            int(shadow.get(name, 0)) for name in ("better", "same", "worse", "errors")
        )
        sample = Sample(
            time_of(shadow["at"]), str(shadow["by"]), str(shadow["model"]), better, same, worse,
            errors, float(shadow.get("tokenlab_ms", 0)), float(shadow.get("previous_ms", 0)),
        )  # fmt: skip
    return RoutePlan(str(table.get("owner", "")), _texts(table.get("contacts", [])), ticks, sample)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("contacts must be a list of texts")
    return tuple(str(one) for one in value)
