"""The next step up or down a ramp, from any share an org has now."""

from collections.abc import Sequence

from rollout_gate.file.percent import FULL


def step_up(steps: Sequence[int], points: int) -> int:
    """Return the first step above ``points``, else 100%; all in basis points."""
    return next((step for step in steps if step > points), FULL)


def step_down(steps: Sequence[int], points: int) -> int:
    """Return the last step below ``points``, else 0%; all in basis points."""
    return next((step for step in reversed(steps) if step < points), 0)
