"""The decision: which side one request goes to."""

from collections.abc import Iterable
from typing import NamedTuple

from console.rollout.bucket import bucket_after
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
    A route that the file does not have goes to the previous side.
    """
    found = file.routes.get(route)
    if found is None:
        return Decision("previous", 0, -1, "unknown_route", file.revision, route, "", "")
    bucket = bucket_after(found.hash_prefix, key or org)
    # The usual request has neither alias nor flags: it is decided without a further call.
    line = found.orgs.get(org)
    if key_alias is not None or flags:
        points, rule = share(found, org, key_alias, flags)
    elif line is not None and line.points is not None:
        points, rule = line.points, "orgs." + org
    else:
        points, rule = found.default_points, "default_percent"
    if file.rolled_back:
        side: Side = "previous"
        rule = "rolled_back.file"
    elif found.rolled_back:
        side, rule = "previous", "rolled_back.route"
    elif line is not None and line.rolled_back:
        side, rule = "previous", "rolled_back.org"
    else:
        side = "tokenlab" if bucket < points else "previous"
    return Decision(side, points, bucket, rule, file.revision, route, found.model, found.format)


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
