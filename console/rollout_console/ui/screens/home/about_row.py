"""What is known of the selected row beyond the figures of its line."""

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.common.durations import brief_seconds, seconds_text
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import percent_words
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.screens.home.rows import Row
from rollout_gate.file.model import Side

Pieces = list[tuple[str, str]]

SIDES: tuple[Side, ...] = ("tokenlab", "previous")


def about_row(row: Row, monitor: Monitor, probe: str, now: float) -> Pieces:
    """Return a line on a row: the previous side, and the route's model, phase and format.

    The figures come first, as 80 columns have no room for all. ``probe`` is the last probe's result
    in words, empty without one.
    """
    route = monitor.file.routes.get(row.route)
    if route is None:
        return []
    org = None if row.org in (None, ALL_ORGS) or row.table else row.org
    facts = [route.model or "no model", route.phase, *([probe] if probe else []), route.format]
    name = row.route if row.is_route else f"{row.route} / {row.label}"
    about = (_assets if monitor.is_async(row.route) else _previous)(monitor, row.route, org, now)
    said = f"{' · ' if about else ''}{' · '.join(visible(fact) for fact in facts)}"
    return [(f" {visible(name)}: ", "$foreground 60%"), (about, ""), (said, "$foreground 60%")]


def _assets(monitor: Monitor, route: str, org: str | None, now: float) -> str:
    """Return how the jobs of both sides have ended, and the p95 of the time to the asset."""
    said = []
    for side in SIDES:
        ended = monitor.job_verdicts.ended(route, org, side, now)
        if ended is not None and ended.count:
            p95 = f"p95 {brief_seconds(ended.p95_s)}, " if ended.completed else ""
            late = f" ({ended.late:,} late)" if ended.late else ""
            name = "" if side == "tokenlab" else "previous "
            failed = percent_words(ended.failed_percent)
            said.append(f"{name}{p95}failed {failed} of {ended.count:,}{late}")
    return f"assets 1 h: {' · '.join(said) or 'no job ended'}"


def _previous(monitor: Monitor, route: str, org: str | None, now: float) -> str:
    summary = monitor.summary(route, org, "previous", now)
    if not summary.requests:
        return ""
    window = seconds_text(monitor.window_s(route))
    p95 = "" if summary.p95 is None else f", p95 {summary.p95:.0f} ms"
    return (
        f"previous {summary.rate_per_s:.1f} req/s, 5xx {percent_words(summary.percent_5xx)}"
        f"{p95} ({window})"
    )
