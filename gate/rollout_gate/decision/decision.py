"""The routing decision: which side one request goes to.

``decide`` is the reference implementation, the rules in order of precedence; a ``Decider`` makes
the same decisions from precomputed tables (the fast path).
"""

from collections.abc import Iterable, Mapping
from typing import cast

from mmh3 import mmh3_32_uintdigest as murmur3

from rollout_gate.bucketing import SHORT_HEADS, bucket_after
from rollout_gate.decision.result import Decision, Facts
from rollout_gate.file.model import RolloutFile, Route, Side

__all__ = ["Decider", "Decision", "decide", "share"]

_Limit = int
"""The first bucket that does not go to TokenLab: a share's basis points. While latched it is
``~points`` (bitwise complement), which is negative and so below all buckets."""

_Plan = tuple[
    tuple[bytes, ...],
    Mapping[str, _Limit],
    Facts,
    tuple[_Limit, Facts],
    tuple[Facts, Mapping[str, int], Facts, "_BestFlag", Facts],
]
"""Precomputed for a route: the hash input before a key of each length; the limits of orgs, and
their facts; the limit and facts of all other orgs; the facts of a latch, then shares and facts of
aliases and flags. The mappings are dicts, which the interpreter indexes without a method call."""

_NOT_AS_ASKED = (TypeError, AttributeError, ValueError, LookupError)
"""Exceptions raised by an argument of a wrong type, used as a string or as a list of strings."""

MOST_REMEMBERED = 1024
"""Memoization limit: combinations of flags that are cached for a route."""

_NO_FLAGS: tuple[str, ...] = ()
_BAD_FLAGS = cast(Iterable[str], None)
"""A value that is no list of flags, for which the decision is ``bad_argument``."""


def decide(
    file: RolloutFile,
    route: str,
    org: str,
    *,
    key: str | None = None,
    key_alias: str | None = None,
    flags: Iterable[str] = (),
) -> Decision:
    """Return the decision for one request; never raises.

    ``key`` keeps one subject on one side; without one (None or empty) the org id is the key.
    A route that the file does not have goes to the previous side by the rule ``unknown_route``,
    an argument that is not a string (a number for a key, no org at all) by ``bad_argument``.
    """
    name = _text(route)
    if name is None or _text(org) is None:
        return Decision.of("previous", 0, -1, "bad_argument", file.revision, name or "", "", "")
    found = file.routes.get(name)
    if found is None:
        return Decision.of("previous", 0, -1, "unknown_route", file.revision, route, "", "")
    try:
        bucket = bucket_after(found.hash_prefix, key or org)
        points, rule = share(found, org, key_alias, flags)
    except _NOT_AS_ASKED:
        return Decision.of("previous", 0, -1, "bad_argument", file.revision, route, "", "")
    latch = _latch(file, found, org)
    side: Side = "tokenlab" if bucket < points and not latch else "previous"
    return Decision.of(
        side, points, bucket, latch or rule, file.revision, route, found.model, found.format
    )


def share(
    route: Route, org: str, key_alias: str | None = None, flags: Iterable[str] = ()
) -> tuple[int, str]:
    """Return the share (basis points) that applies, latches ignored, and the rule that gave it."""
    if key_alias is not None and key_alias in route.keys:
        return route.keys[key_alias], f"keys.{key_alias}"
    best = max(
        ((route.flags[flag], flag) for flag in flags if flag in route.flags),
        key=lambda found: found[0],
        default=None,
    )
    if best is not None:
        return best[0], f"flags.{best[1]}"
    line = route.orgs.get(org)
    if line is not None and line.points is not None:
        return line.points, f"orgs.{org}"
    return route.default_points, "default_percent"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _latch(file: RolloutFile, route: Route, org: str) -> str:
    """Return the rule of the latch that is set, the widest first; empty where none is."""
    if file.rolled_back:
        return "rolled_back.file"
    if route.rolled_back:
        return "rolled_back.route"
    return "rolled_back.org" if route.org_rolled_back(org) else ""


class _BestFlag(dict[tuple[str, ...], tuple[int, str]]):
    """The highest share of several flags, in basis points, and the flag that has it.

    Results are memoized by the tuple of flags, at most MOST_REMEMBERED of them: all requests
    together carry few distinct tuples.
    """

    def __init__(self, shares: Mapping[str, int]) -> None:
        super().__init__()
        self._shares = dict(shares)

    def find(self, flags: Iterable[str]) -> tuple[int, str]:
        """Return share and flag; a share of -1 where the route has none of the flags."""
        points, best = -1, ""
        for flag in flags:
            given = self._shares.get(flag, -1)
            if given > points:
                points, best = given, flag
        if type(flags) is tuple and len(self) < MOST_REMEMBERED:
            self[flags] = points, best
        return points, best


class Decider:
    """Decides by the version of the file in force; ``take`` puts the next version in force.

    It is thread-safe: a decision made while another thread takes a file is entirely of one
    version.
    """

    def __init__(self, file: RolloutFile | None = None) -> None:
        self._file: RolloutFile | None = None
        self._plans: dict[str, _Plan] = {}
        if file is not None:
            self.take(file)

    @property
    def file(self) -> RolloutFile | None:
        """The version in force, or None if there never was one."""
        return self._file

    def take(self, file: RolloutFile) -> None:
        """Put a version in force; whatever is the same for all its requests is precomputed."""
        plans = {name: _plan(file, route) for name, route in file.routes.items()}
        self._file, self._plans = file, plans

    def decide(
        self,
        route: str,
        org: str,
        *,
        key: str | None = None,
        key_alias: str | None = None,
        flags: Iterable[str] = _NO_FLAGS,
    ) -> Decision:
        """Return the decision for one request; never raises, never waits for I/O.

        ``key`` keeps one subject on one side; without one (None or empty) the org id is the key.
        Until the first file is taken, all requests go to the previous side by rule ``no_file``.
        """
        try:
            heads, limits, facts, default, rest = self._plans[route]
            if org in limits:
                limit = limits[org]
                name = org
            else:
                if type(org) is not str:
                    raise TypeError
                limit, facts = default
                name = ""
            raw = (key or org).encode()
            bucket = murmur3(heads[len(raw)] + raw) * 10_000 >> 32
            if key_alias is not None or flags is not _NO_FLAGS:
                _, aliases, of_alias, best_of, of_flag = rest
                if key_alias is not None and key_alias in aliases:
                    points = aliases[key_alias]
                    limit = points if limit >= 0 else ~points
                    name = key_alias
                    facts = of_alias
                elif flags is not _NO_FLAGS:
                    best = best_of.get(flags) if type(flags) is tuple else None
                    if best is None:
                        # One pass exhausts a generator: the slow path must not find it empty.
                        once, flags = flags, _BAD_FLAGS
                        best = best_of.find(once)
                    points, flag = best
                    if points >= 0:
                        limit = points if limit >= 0 else ~points
                        name = flag
                        facts = of_flag
            if bucket < limit:
                return Decision("tokenlab", limit, bucket, name, facts)
            if limit < 0:
                return Decision("previous", ~limit, bucket, "", rest[0])
            return Decision("previous", limit, bucket, name, facts)
        except _NOT_AS_ASKED:
            # Slow path: a long key, a lone surrogate, an unknown route, no string, or no file yet.
            pass
        file = self._file
        if file is None:
            return Decision.of("previous", 0, -1, "no_file", "", _text(route) or "", "", "")
        return decide(file, route, org, key=key, key_alias=key_alias, flags=flags)


def _plan(file: RolloutFile, route: Route) -> _Plan:
    wide = "file" if file.rolled_back else "route" if route.rolled_back else ""
    same: dict[int, int] = {}  # interned: equal ints are one object, so that few are touched
    limits: dict[str, _Limit] = {}
    for org, line in route.orgs.items():
        if line.rolled_back or line.points is not None:
            points = route.org_points(org)
            limit = ~points if wide or line.rolled_back else points
            limits[org] = same.setdefault(limit, limit)

    def facts(rule: str) -> Facts:
        return Facts(rule, file.revision, route.name, route.model, route.format)

    default = ~route.default_points if wide else route.default_points
    return (
        tuple(route.hash_prefix + head for head in SHORT_HEADS),
        limits,
        facts("orgs."),
        (default, facts("default_percent")),
        (
            facts(f"rolled_back.{wide or 'org'}"),
            *(dict(route.keys), facts("keys.")),
            *(_BestFlag(route.flags), facts("flags.")),
        ),
    )
