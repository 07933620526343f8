"""What the next step of a route waits for: the guard, the bake time, exit checks, or nothing."""

from collections.abc import Iterator, Sequence

from rollout_console.common.listing import first_of
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.ladder import step_up
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.objections import Models, held_by_model
from rollout_console.guard.ramp import PHASE
from rollout_console.readiness.phases import PhaseState
from rollout_gate.file.model import Route
from rollout_gate.file.percent import FULL, percent_text
from rollout_gate.file.phases import following

Waits = tuple[str, str]
"""The words, and the style of a table's cell."""

_MOST_JUDGED = 50
"""Orgs that are judged one by one; of a route with more, the first of them stand for all."""
_MOST_NAMED = 2


def waits_for(
    state: PhaseState, monitor: Monitor, models: Models, balance: BalanceWatch, now: float
) -> Waits:
    """Return what the next step of a route waits for, the gravest first, and its style."""
    route = monitor.file.routes.get(state.route)
    if route is None:
        return "", ""
    if monitor.file.rolled_back or route.rolled_back:
        return "rolled back: o at home resumes", "table--bad"
    if held := held_by_model(models, route.name):
        return held, "table--bad"
    if state.phase == PHASE and (found := _of_ramp(route, monitor, balance, now)) is not None:
        return found
    missing = state.missing
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return f"missing: {missing[0].check.words}{more}", "table--dim"
    if following(state.phase) == state.phase:
        return "nothing: the last phase is done", "table--good"
    return f"nothing: n goes to {following(state.phase)}", "table--good"


def _of_ramp(route: Route, monitor: Monitor, balance: BalanceWatch, now: float) -> Waits | None:
    """Return what holds the orgs below 100%; None where all are there, and none is rolled back."""
    verdict = monitor.verdicts(now).get(route.name)
    if verdict is not None and verdict.kind == "rollback":
        return f"ROLL BACK: {verdict.fact}", "table--bad"
    held: list[tuple[str, str]] = []
    ready: list[str] = []
    shares = {org: route.org_points(org) for org, one in route.orgs.items() if not one.rolled_back}
    below = [(org, points) for org, points in shares.items() if points < FULL]
    for org, reason, before, after in _steps(route, below, monitor, balance, now):
        if reason:
            held.append((f"{org} {percent_text(before)} to {percent_text(after)}%", reason))
        else:
            ready.append(f"{org} to {percent_text(after)}%")
    latched = [org for org, share in route.orgs.items() if share.rolled_back]
    words = []
    if len({reason for _, reason in held}) == 1:
        words.append(held[0][1] if len(held) > 1 else ": ".join(held[0]))
    elif held:
        words += [": ".join(held[0]), _more_wait(len(held) - 1)]
    if ready:
        words.append(f"ready: {first_of(ready, _MOST_NAMED)}")
    if latched:
        words.append(f"rolled back: {first_of(latched, _MOST_NAMED)}")
    if not words:
        return None
    if len(below) > _MOST_JUDGED:
        words[0] = f"of the first {_MOST_JUDGED} of {len(below)} orgs: {words[0]}"
    return " · ".join(words), "table--dim" if held else "table--good" if ready else "table--bad"


def _steps(
    route: Route,
    below: Sequence[tuple[str, int]],
    monitor: Monitor,
    balance: BalanceWatch,
    now: float,
) -> Iterator[tuple[str, str, int, int]]:
    """Yield the first orgs with a next step, what holds that, and its shares (basis points)."""
    for org, points in below[:_MOST_JUDGED]:
        after = step_up(route.ramp.steps, points)
        yield org, monitor.held(route.name, org, points, after, balance, now), points, after


def _more_wait(count: int) -> str:
    return "1 more org waits" if count == 1 else f"{count} more orgs wait"
