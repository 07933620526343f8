"""The decision: which side one request goes to."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from mmh3 import mmh3_32_uintdigest as murmur3

from console.rollout.bucket import SHORT_HEADS, bucket_after
from console.rollout.model import RolloutFile, Route, Side


class Decision(NamedTuple):
    """Where a request goes, and why.

    ``points`` is the share in basis points; ``bucket`` is 0 to 9999, or -1 where no route was
    found to hash with. ``rule`` is what decided: ``rolled_back.file``, ``rolled_back.route``,
    ``rolled_back.org``, ``keys.ALIAS``, ``flags.NAME``, ``orgs.ORG``, ``default_percent``,
    ``unknown_route``, ``bad_argument`` or ``no_file``. ``revision`` is that of the file.
    """

    side: Side
    points: int
    bucket: int
    rule: str
    revision: str
    route: str
    model: str
    format: str

    @property
    def percent(self) -> float:
        """The share in percent, 0 to 100."""
        return self.points / 100


_Plan = tuple[
    tuple[bytes, ...],
    Callable[[str], int | None],
    tuple[int, frozenset[str]],
    str,
    str,
    str,
    str,
]
"""Of a route that is not latched: what is hashed before a key of each length, the shares of orgs,
that of all others with the orgs that are latched, and the revision, name, model and format."""

_NO_FLAGS: tuple[str, ...] = ()
_new = tuple.__new__  # a NamedTuple's own takes twice as long


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
        return Decision("previous", 0, -1, "bad_argument", file.revision, name or "", "", "")
    found = file.routes.get(name)
    if found is None:
        return Decision("previous", 0, -1, "unknown_route", file.revision, route, "", "")
    try:
        bucket = bucket_after(found.hash_prefix, key or org)
        points, rule = share(found, org, key_alias, flags)
    except (TypeError, AttributeError, ValueError):
        return Decision("previous", 0, -1, "bad_argument", file.revision, route, "", "")
    latch = _latch(file, found, org)
    side: Side = "tokenlab" if bucket < points and not latch else "previous"
    return Decision(
        side, points, bucket, latch or rule, file.revision, route, found.model, found.format
    )


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
        plans = {
            name: _plan(file, route)
            for name, route in file.routes.items()
            if not file.rolled_back and not route.rolled_back
        }
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
            if key_alias is None and flags is _NO_FLAGS:
                # The usual request: a short key and no latch. All others are for `decide`.
                heads, share_of, default, revision, name, model, kind = self._plans[route]
                points = share_of(org)
                if points is not None:
                    rule = "orgs." + org
                else:
                    points, latched = default
                    if org in latched:
                        raise LookupError
                    rule = "default_percent"
                raw = (key or org).encode()
                bucket = murmur3(heads[len(raw)] + raw) * 10_000 >> 32
                side = "tokenlab" if bucket < points else "previous"
                return _new(Decision, (side, points, bucket, rule, revision, name, model, kind))
        except (LookupError, TypeError, AttributeError, ValueError):
            pass
        file = self._file
        if file is None:
            return Decision("previous", 0, -1, "no_file", "", _text(route) or "", "", "")
        return decide(file, route, org, key=key, key_alias=key_alias, flags=flags)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _plan(file: RolloutFile, route: Route) -> _Plan:
    same: dict[int, int] = {}  # equal numbers as one object, so that few are ever touched
    shares = {
        org: same.setdefault(line.points, line.points)
        for org, line in route.orgs.items()
        if line.points is not None and not line.rolled_back
    }
    return (
        tuple(route.hash_prefix + head for head in SHORT_HEADS),
        shares.get,
        (
            route.default_points,
            frozenset(org for org, line in route.orgs.items() if line.rolled_back),
        ),
        file.revision,
        route.name,
        route.model,
        route.format,
    )


def _latch(file: RolloutFile, route: Route, org: str) -> str:
    """Return the rule of the latch that is set, the widest first; empty where none is."""
    if file.rolled_back:
        return "rolled_back.file"
    if route.rolled_back:
        return "rolled_back.route"
    return "rolled_back.org" if route.org_rolled_back(org) else ""


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
