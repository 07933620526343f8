"""The next step up or down a ramp, from any share an org has now."""

from collections.abc import Sequence

from rollout_console.changes.share_group import points_of
from rollout_gate.file.model import Route
from rollout_gate.file.percent import FULL


def step_up(steps: Sequence[int], points: int) -> int:
    """Return the first step above ``points``, else 100%; all in basis points."""
    return next((step for step in steps if step > points), FULL)


def step_down(steps: Sequence[int], points: int) -> int:
    """Return the last step below ``points``, else 0%; all in basis points."""
    return next((step for step in reversed(steps) if step < points), 0)


def up(route: Route, points: int) -> int:
    """Return a share one step up its route's ramp; both in basis points."""
    return step_up(route.ramp.steps, points)


def down(route: Route, points: int) -> int:
    """Return a share one step down its route's ramp; both in basis points."""
    return step_down(route.ramp.steps, points)


def next_up(route: Route, org: str) -> int:
    """Return the share of an org one step up its route's ramp, in basis points."""
    return up(route, points_of(route, org))


def next_down(route: Route, org: str) -> int:
    """Return the share of an org one step down its route's ramp, in basis points."""
    return down(route, points_of(route, org))
