"""The decision: which side one request goes to.

``decide`` is the rules in their order; a ``Decider`` comes to the same decisions on a quicker way.
"""

from collections.abc import Callable, Iterable
from typing import cast

from mmh3 import mmh3_32_uintdigest as murmur3

from console.rollout.bucket import SHORT_HEADS, bucket_after
from console.rollout.decided import Decision, Facts
from console.rollout.model import RolloutFile, Route, Side

__all__ = ["Decider", "Decision", "decide", "share"]

_Limit = int
"""The bucket at which TokenLab ends: a share's points; ``~points``, below all, while latched."""

_PointsOf = Callable[[str], int | None]
"""Gives the share of an alias or a flag, in basis points; None where the route has none for it."""

_Plan = tuple[
    tuple[bytes, ...],
    Callable[[str], _Limit | None],
    Facts,
    tuple[_Limit, Facts],
    tuple[Facts, _PointsOf, Facts, _PointsOf, Facts],
]
"""Of a route: what is hashed before a key of each length; the limits of orgs, and their facts; the
limit and facts of all other orgs; the facts of a latch, then shares and facts of aliases and flags.
"""

_NOT_AS_ASKED = (TypeError, AttributeError, ValueError, LookupError)
"""What it raises to use something else as a text or as a list of them."""

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
            heads, limit_of, facts, default, rest = self._plans[route]
            limit = limit_of(org)
            name = org
            if limit is None:
                if type(org) is not str:
                    raise TypeError
                limit, facts = default
                name = ""
            raw = (key or org).encode()
            bucket = murmur3(heads[len(raw)] + raw) * 10_000 >> 32
            if key_alias is not None or flags is not _NO_FLAGS:
                _, alias_of, of_alias, flag_of, of_flag = rest
                points = alias_of(key_alias) if key_alias is not None else None
                if points is not None:
                    name, facts = key_alias or "", of_alias
                else:
                    # A generator gives its flags once; the slow way is not to find none of them.
                    once, flags = flags, _BAD_FLAGS
                    for flag in once:
                        given = flag_of(flag)
                        if given is not None and (points is None or given > points):
                            points, name, facts = given, flag, of_flag
                if points is not None:
                    limit = points if limit >= 0 else ~points
            if bucket < limit:
                return Decision(("tokenlab", limit, bucket, name, facts))
            if limit < 0:
                return Decision(("previous", ~limit, bucket, "", rest[0]))
            return Decision(("previous", limit, bucket, name, facts))
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
        limits.get,
        facts("orgs."),
        (default, facts("default_percent")),
        (
            facts(f"rolled_back.{wide or 'org'}"),
            *(route.keys.get, facts("keys.")),
            *(route.flags.get, facts("flags.")),
        ),
    )
