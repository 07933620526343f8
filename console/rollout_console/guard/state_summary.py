"""Summarize the state of a rollout in a few lines: file, guard, routes, alarms."""

from collections.abc import Iterator, Sequence

from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.common.durations import seconds_text
from rollout_console.guard.alerts import Alert
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.state_change import StateChange
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import percent_text
from rollout_gate.file.revision import SHORT

MOST_ROUTES = 40
MOST_ALERTS = 20
"""Limits of the routes and of the alerts that a summary names; the rest is counted."""


def summary_of(
    monitor: Monitor, path: str, alerts: Sequence[Alert], *, guard_acts: bool, now: float
) -> Iterator[StateChange]:
    """Yield the lines of the summary at a time (epoch seconds); ``alerts`` are the open ones."""
    file = monitor.file
    latch = ", EVERYTHING ROLLED BACK" if file.rolled_back else ""
    revision = file.revision
    yield StateChange("start", f"{path}, revision {revision[:SHORT]}{latch}", revision=revision)
    yield guard_state(file, acts=guard_acts)
    verdicts = monitor.verdicts(now)
    for name in [*verdicts][:MOST_ROUTES]:
        words = "ROLLED BACK" if file.is_latched(name) else verdicts[name].advised
        text = f"{name}: {words}; {_shares(file.routes[name])}"
        kind = verdicts[name].kind
        yield StateChange("route", text, name, signal=verdicts[name].signal, verdict=kind)
    if len(verdicts) > MOST_ROUTES:
        yield StateChange("route", f"and {len(verdicts) - MOST_ROUTES:,} more routes")
    yield log_state(monitor, now)
    for alert in alerts[:MOST_ALERTS]:
        yield alarm_of(alert)
    if len(alerts) > MOST_ALERTS:
        yield StateChange("alarm", f"and {len(alerts) - MOST_ALERTS:,} more", level="warning")
    if not alerts:
        yield StateChange("start", "no alarm")


def _shares(route: Route) -> str:
    """Return the default percent of a route, and those of its orgs as a range."""
    words = f"{DEFAULT_SHARE} {percent_text(route.default_points)}%"
    if route.orgs:
        points = [route.org_points(org) for org in route.orgs]
        least, most = percent_text(min(points)), percent_text(max(points))
        span = f"{least}%" if least == most else f"{least}% to {most}%"
        words += f", {len(points):,} {'org' if len(points) == 1 else 'orgs'} {span}"
        back = sum(1 for share in route.orgs.values() if share.rolled_back)
        words += f", {back:,} rolled back" if back else ""
    return words


def guard_state(file: RolloutFile, *, acts: bool) -> StateChange:
    """Return the mode of the guard, and whether one is running."""
    running = "a guard is running" if acts else "no guard is running"
    return StateChange("guard", f"mode {file.guard.mode}, {running}")


def log_state(monitor: Monitor, now: float) -> StateChange:
    """Return how old the newest line of the access log is."""
    age = monitor.age_s(now)
    if monitor.prometheus is not None:
        trouble = monitor.source_trouble(now)
        if trouble or age is None:
            return StateChange("log", trouble or "asking Prometheus")
        return StateChange("log", f"Prometheus: the newest answer is {seconds_text(age)} old")
    if age is None:
        return StateChange("log", f"no line yet in {monitor.log_path}")
    stale = "stale: " if age > monitor.stale_after_s else ""
    return StateChange("log", f"{stale}the newest line is {seconds_text(age)} old")


def balance_state(balance: BalanceWatch) -> StateChange | None:
    """Return the balance, and how long it lasts; None where it is not known."""
    if balance.latest is None:
        return None
    runway = balance.runway_s()
    left = f", {seconds_text(runway)} left" if runway is not None else ""
    return StateChange("balance", f"${balance.latest[1].balance:,.2f}{left}")


def alarm_of(alert: Alert) -> StateChange:
    """Return an alert that has begun."""
    return StateChange(
        "alarm", alert.sentence, alert.route, alert.org, alert.signal, level=alert.level
    )
