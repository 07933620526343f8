"""Which shares of a change of several the guard holds, so that the others can be raised."""

from collections.abc import Callable, Iterator, Mapping

from rollout_console.changes.effect_words import by_reason
from rollout_console.changes.plan import Plan, Target
from rollout_console.changes.traffic_diff import Move
from rollout_console.common.listing import first_of

_MOST_NAMED = 2


def held_shares(plan: Plan, held: Callable[[Move], str]) -> Iterator[tuple[Target, str]]:
    """Yield each target of a plan with the first reason of ``held`` against what it raises.

    The reason is empty where there is none. It is lazy, so that a caller can do other work between
    two of 10,000 targets.
    """
    for part, moves in zip(plan.parts, plan.moves_of_parts(), strict=True):
        yield part.target, next((said for one in moves if one.raises and (said := held(one))), "")


def held_words(plan: Plan, held: Mapping[Target, str]) -> str:
    """Return how many of a plan's shares are held, and the first reasons; empty without one."""
    if not held:
        return ""
    first = first_of(by_reason(held.items()), _MOST_NAMED)
    return f"{len(held)} of {len(plan.parts)}: {first}"
