"""Fault injection: the faults set over HTTP, and which requests they apply to."""

import itertools
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("error", "slow", "truncate", "garbage", "drop", "drip", "metadata")
SIDES = ("tokenlab", "previous")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, injected into a ``share`` (0 to 1) of the matching requests.

    Empty ``route``, ``path`` (a prefix), ``side`` or ``org`` match everything.
    """

    id: int
    kind: str = "error"
    status: int = 500
    share: float = 1.0
    latency_ms: float = 0.0
    route: str = ""
    path: str = ""
    side: str = ""
    org: str = ""


class Faults:
    """The active faults."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)

    def add(self, fields: object) -> Fault:
        """Validate and add a fault given as a JSON object; raises ValueError with one sentence."""
        fault = Fault(next(self._ids), **_checked(fields))
        self._faults[fault.id] = fault
        return fault

    def clear(self, number: int | None = None) -> int:
        """Remove one fault by id, or all; return how many were removed."""
        gone = list(self._faults) if number is None else [n for n in (number,) if n in self._faults]
        for n in gone:
            del self._faults[n]
        return len(gone)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the faults as JSON objects."""
        return [asdict(fault) for fault in self._faults.values()]

    def hits(self, *, route: str, path: str, side: str, org: str) -> list[Fault]:
        """Return the faults to inject into this request, each drawn with its ``share``."""
        return [
            fault
            for fault in self._faults.values()
            if fault.route in ("", route)
            and path.startswith(fault.path)
            and fault.side in ("", side)
            and fault.org in ("", org)
            and self._random.random() < fault.share
        ]


def _checked(fields: object) -> dict[str, Any]:
    if not isinstance(fields, Mapping):
        raise ValueError("a fault is a JSON object")
    known = {"kind", "status", "share", "latency_ms", "route", "path", "side", "org"}
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"a fault has no field {name!r}; known: {', '.join(sorted(known))}")
        number = name in ("status", "share", "latency_ms")
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} must be a number")
        if not number and not isinstance(value, str):
            raise ValueError(f"{name} must be a text")
    if fields.get("kind", "error") not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    if fields.get("side", "") not in ("", *SIDES):
        raise ValueError(f"side must be one of {', '.join(SIDES)}")
    if not 400 <= fields.get("status", 500) <= 599 or fields.get("status", 500) % 1:
        raise ValueError("status must be a whole number from 400 to 599")
    if not 0 <= fields.get("share", 1) <= 1:
        raise ValueError("share must be from 0 to 1")
    if not 0 <= fields.get("latency_ms", 0) <= 600_000:
        raise ValueError("latency_ms must be from 0 to 600000")
    return dict(fields)
