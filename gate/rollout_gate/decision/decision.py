"""The decision: which side one request goes to.

``decide`` is the rules in their order; a ``Decider`` comes to the same decisions on a quicker way.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from mmh3 import mmh3_32_uintdigest as murmur3

from rollout_gate.bucketing import SHORT_HEADS, bucket_after
from rollout_gate.decision.result import Decision, Facts
from rollout_gate.file.model import RolloutFile, Route, Side

__all__ = ["Decider", "Decision", "decide", "share"]

_Limit = int
"""The bucket at which TokenLab ends: a share's points; ``~points``, below all, while latched."""

_Plan = tuple[
    tuple[bytes, ...],
    Mapping[str, _Limit],
    Facts,
    tuple[_Limit, Facts],
    tuple[Facts, Mapping[str, int], Facts, "_BestFlag", Facts],
]
"""Of a route: what is hashed before a key of each length; the limits of orgs, and their facts; the
limit and facts of all other orgs; the facts of a latch, then shares and facts of aliases and flags.
The mappings are dicts, as the interpreter looks into those by itself, without a call."""

_NOT_AS_ASKED = (TypeError, AttributeError, ValueError, LookupError)
"""What it raises to use something else as a text or as a list of them."""

MOST_REMEMBERED = 1024
"""So many combinations of flags are remembered for a route."""

_NO_FLAGS: tuple[str, ...] = ()
_BAD_FLAGS = cast(Iterable[str], None)
"""What is no list of flags, and is decided as that."""


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
    A route that the file does not have goes to the previous side, and so does what is no text (a
    number for a key, no org at all), by the rule ``bad_argument``.
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
    """Return the share (basis points) that applies, latches apart, and the rule that gave it."""
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

    What was found is remembered by the tuple of flags, up to MOST_REMEMBERED of them: of all
    requests together few different ones come.
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
    """Decides by one version of the file after the other; ``take`` puts the next one in force.

    Any thread may decide while another takes a file: a decision is of one version as a whole.
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
        """Decide by this version from now on; what is the same for all requests is prepared."""
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
        Before there was a file, all goes to the previous side by the rule ``no_file``.
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
                        # A generator gives its flags once; the slow way is not to find none.
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
            # A long key, a lone surrogate, an unknown route, what is no text, or no file yet.
            pass
        file = self._file
        if file is None:
            return Decision.of("previous", 0, -1, "no_file", "", _text(route) or "", "", "")
        return decide(file, route, org, key=key, key_alias=key_alias, flags=flags)


def _plan(file: RolloutFile, route: Route) -> _Plan:
    wide = "file" if file.rolled_back else "route" if route.rolled_back else ""
    same: dict[int, int] = {}  # equal numbers as one object, so that few are ever touched
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
