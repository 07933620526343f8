"""Fault injection: the faults set over HTTP, and which requests they apply to.

Most kinds spoil the connection or the status. Those of ``VARIANTS`` spoil an answer whose status is
200 and whose connection ends well (``answer_faults.py``), those of ``PACES`` the pace of a stream.
"""

import asyncio
import itertools
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "failure": ("opened", "ending"),
    "cut": ("inside",),
    "empty": ("bare", "blank"),
    "filter": ("answer",),
    "length": (),
}
"""The kinds that spoil an answer with status 200, and the variants of each."""

PACES = ("stall", "trickle")
"""The kinds that delay the content of a stream, but neither its headers nor its pings."""

DRIP_MS = 50.0
"""Milliseconds between two bytes of a ``drip`` whose ``latency_ms`` is 0."""

FATES = ("task_failed", "task_stuck")
"""The kinds whose create is answered well, and whose async task then fails, or never ends."""

KINDS = (
    "error", "slow", "truncate", "garbage", "drop", "lost", "drip", "metadata",
    *VARIANTS, *PACES, *FATES,
)  # fmt: skip
SIDES = ("tokenlab", "previous")
CODES: Mapping[str, int] = {
    "gateway": 500,
    "overloaded": 503,
    "timeout": 504,
    "rate_limit": 429,
    "auth": 401,
    "balance": 402,
    "contract": 400,
}
"""The words for what a ``failure`` is of, and the HTTP status that it would have had."""

_AFTER_MOST = 1000
_LOOK_S = 0.05
"""How often a request that a fault delays looks whether the fault is still there, in seconds."""
_NUMBERS = ("status", "share", "latency_ms", "after")
_TAKES_AFTER = ("failure", "cut", "filter", "length")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, injected into a ``share`` (0 to 1) of the matching requests.

    Empty ``route``, ``path`` (a prefix), ``side`` or ``org`` match everything. ``after`` is how
    many content events of a stream pass before the fault, from 0 to 1000; ``code`` one of
    ``CODES``, empty for ``gateway``; ``variant`` one of the kind's ``VARIANTS``, or empty.
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
    after: int = 0
    code: str = ""
    variant: str = ""


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

    async def delay(self, fault: Fault, seconds: float) -> None:
        """Sleep so long, or until the fault is removed."""
        end = monotonic() + seconds
        while fault.id in self._faults and (left := end - monotonic()) > 0:  # noqa: ASYNC110 - asyncio.Event is not thread-safe
            await asyncio.sleep(min(left, _LOOK_S))

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
    known = {name for name in Fault.__slots__ if name != "id"}
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"a fault has no field {name!r}; known: {', '.join(sorted(known))}")
        number = name in _NUMBERS
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} must be a number")
        if not number and not isinstance(value, str):
            raise ValueError(f"{name} must be a text")
    if fields.get("kind", "error") not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    if fields.get("side", "") not in ("", *SIDES):
        raise ValueError(f"side must be one of {', '.join(SIDES)}")
    _check_numbers(fields)
    _check_answer(fields, fields.get("kind", "error"))
    return {**fields, **({"after": int(fields["after"])} if "after" in fields else {})}


def _check_numbers(fields: Mapping[str, Any]) -> None:
    if not 400 <= fields.get("status", 500) <= 599 or fields.get("status", 500) % 1:
        raise ValueError("status must be a whole number from 400 to 599")
    if not 0 <= fields.get("share", 1) <= 1:
        raise ValueError("share must be from 0 to 1")
    if not 0 <= fields.get("latency_ms", 0) <= 600_000:
        raise ValueError("latency_ms must be from 0 to 600000")
    if not 0 <= fields.get("after", 0) <= _AFTER_MOST or fields.get("after", 0) % 1:
        raise ValueError(f"after must be a whole number from 0 to {_AFTER_MOST}")


def _check_answer(fields: Mapping[str, Any], kind: str) -> None:
    """Raise ValueError for a field that this kind would ignore, or a word that it does not know."""
    if fields.get("after") and kind not in _TAKES_AFTER:
        raise ValueError(f"after is of {', '.join(_TAKES_AFTER)}; {kind} has none")
    code = fields.get("code", "")
    if code and kind != "failure":
        raise ValueError(f"code is of failure; {kind} has none")
    if code and code not in CODES:
        raise ValueError(f"code must be one of {', '.join(CODES)}")
    variant, known = fields.get("variant", ""), VARIANTS.get(kind, ())
    if variant and not known:
        raise ValueError(f"{kind} has no variants")
    if variant and variant not in known:
        raise ValueError(f"variant of {kind} must be one of {', '.join(known)}")
