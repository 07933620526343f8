"""Render the live screen's lines of text: status, figures, events, and the rows of its list."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len

from rollout_console.common.durations import seconds_text, target_text
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.alerts import Alert
from rollout_console.guard.monitor import Monitor
from rollout_console.health.windows.top_errors import HORIZON_S, ErrorGroup
from rollout_console.ui.screens.home.status import StatusFacts, data_age
from rollout_console.ui.screens.live.charts import value_text
from rollout_console.ui.screens.live.events import SIGNS
from rollout_console.ui.screens.live.figures import SIDES, Frame
from rollout_console.ui.screens.live.routing import RoutingRow, hosts_text
from rollout_console.ui.screens.live.state import LiveView, Row
from rollout_console.ui.text import fit, fit_middle, right
from rollout_console.ui.widgets.line_table import Cells
from rollout_gate.file.model import Side
from rollout_gate.file.percent import percent_text
from rollout_gate.secret import redacted

Pieces = list[tuple[str, str]]

WINDOW_WORDS = {60: "1 m", 300: "5 m", 3600: "1 h", 86_400: "24 h"}
_METRICS = (
    ("5xx", "4xx", "429", "bad", "p50", "p95", "p99", "ttft"),
    ("5xx", "4xx", "429", "p50", "p95", "p99"),
    ("5xx", "4xx", "p95"),
    ("5xx", "p95"),
)
"""The metrics of each side in the line of figures: the first of these sets that fits is shown."""
_JOB_METRICS = (
    ("5xx", "4xx", "429", "failed", "late", "asset_p50", "asset_p95"),
    ("5xx", "4xx", "failed", "late", "asset_p95"),
    ("failed", "late", "asset_p95"),
    ("failed", "asset_p95"),
    ("asset_p95", "failed"),
)
"""Those of a route of async jobs."""
_NAMES = {"failed": "jobs failed", "asset_p50": "asset p50", "asset_p95": "asset p95"}
_BRIEF_NAMES = {"asset_p95": "asset"}
"""For the last of the sets, which fits into 80 columns."""
_ORGS_FROM = 96
_SIGN_STYLES = {"↩": "$warning bold", "!": "$error bold"}


def clock(at: float) -> str:
    """Format epoch seconds as a time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def status_line(
    view: LiveView, monitor: Monitor, facts: StatusFacts, width: int, now: float
) -> Pieces:
    """Return the status line; in a narrow terminal, what must not be truncated comes first."""
    subject = view.subject
    paused: Pieces = []
    if view.paused_at is not None:
        age = monitor.age_s(now)
        is_coming = age is not None and age <= monitor.stale_after_s
        coming = "new data is coming" if is_coming else "no new data"
        paused = [(f"  paused at {clock(view.paused_at)}, {coming}", "$warning bold")]
    named = visible(subject.words)
    pieces: Pieces = [(" live", "bold"), (" ▸ ", "$accent")]
    pieces.append((fit_middle(named, min(cell_len(named), max(width // 3, 14))), "bold"))
    pieces.append((f"  {WINDOW_WORDS[view.window_s]}", ""))
    if width < 60:
        pieces = [*paused, *pieces]
    else:
        pieces += paused
    pieces += _share(subject.route, subject.org, monitor)
    if not paused:
        pieces.append(data_age(monitor, now))
    pieces.append(facts.writes)
    return pieces


def _share(route: str | None, org: str | None, monitor: Monitor) -> Pieces:
    """Return the state of the subject in the file: rolled back, or its percent."""
    file = monitor.file
    if file.rolled_back:
        return [("  ↩ ALL ROLLED BACK", "$error bold")]
    found = file.routes.get(route) if route is not None else None
    if found is None:
        return []
    if found.rolled_back:
        return [("  ↩ route rolled back", "$warning bold")]
    if org is None:
        return []
    if found.org_rolled_back(org):
        return [("  ↩ rolled back", "$warning bold")]
    return [(f"  {percent_text(found.org_points(org))}%", "")]


_NO_RECORDS = "no access-log records yet: they begin with the first request through the gate"


def figures_line(frame: Frame, index: int | None, width: int) -> Pieces:
    """Return the figures of both sides at the cursor, or over the window."""
    if frame.age_s is None:
        reads = frame.reads_older and not frame.source
        words = "reading the log…" if reads else frame.unusable or _NO_RECORDS
        return [(f" {visible(words)}", "$warning")]
    if index is None:
        window = WINDOW_WORDS[frame.window_s]
        when = f"last {window}"
        if frame.kept_s < frame.window_s:
            word = "so far" if frame.reads_older else "kept"
            when = f"{window} ({word}: {seconds_text(frame.kept_s)})"
    else:
        when = clock(frame.grid.at(index))
    head = (f" {when}", "reverse" if index is not None else "$foreground 70%")
    tokenlab = previous = ""
    for metrics in _METRICS if frame.jobs is None else _JOB_METRICS:
        tokenlab, previous = (_side_words(frame, side, metrics, index) for side in SIDES)
        if cell_len(head[0] + tokenlab + previous) + 5 <= width:
            break
    stale = frame.age_s > frame.stale_after_s
    faint = "$foreground 60%" if stale else ""
    return [head, (f"  {tokenlab}", faint or "bold"), (f" · {previous}", faint)]


def _side_words(frame: Frame, side: Side, metrics: Sequence[str], index: int | None) -> str:
    is_brief = metrics == _JOB_METRICS[-1]
    names = _BRIEF_NAMES if is_brief else _NAMES
    words = [
        f"{names.get(one, one)} {value_text(one, frame.value(side, one, index))}" for one in metrics
    ]
    if is_brief:
        return f"{side} {' '.join(words)}"
    return f"{side} {' '.join(words)} {value_text('rate', frame.value(side, 'rate', index))}/s"


def event_line(view: LiveView, trouble: str, keymap: dict[str, str]) -> Pieces:
    """Return the most severe event at the cursor, or the last of all; or ``trouble`` if set."""
    if trouble:
        return [(" ! ", "$error bold"), (visible(trouble), "$warning")]
    index, events = view.index, view.events
    if index is None:
        if not events:
            return [(" no change and no alert in this time", "$foreground 60%")]
        some = sorted(events[max(events)], key=lambda one: one.at, reverse=True)
        when = f"last: {clock(some[0].at)} "
    else:
        some, when = events.get(index, []), ""
        if not some:
            before = keymap.get("live.event", "p")
            words = (
                f" nothing happened here; {before}: the event before" if events else " no events"
            )
            return [(words, "$foreground 60%")]
    first, more = some[0], len(some) - 1
    style = _SIGN_STYLES.get(first.sign, "$accent bold")
    pieces: Pieces = [(f" {when}", "$foreground 70%"), (f"{first.sign} ", style)]
    words = SIGNS[first.sign]
    pieces.append((f"{words}: {redacted(visible(first.words))}", ""))
    if more:
        pieces.insert(0, (f" {more + 1} events,", "$warning"))
    return pieces


def list_title(view: LiveView, keymap: dict[str, str]) -> Pieces:
    """Return the list's title, with the number of entries in the other list."""
    other = keymap.get("live.list", "v")
    shown = WINDOW_WORDS[min(view.window_s, HORIZON_S)]
    seen = sum(bool(one.acknowledged_by) for one in view.alerts)
    errors = len(view.errors)
    source = view.frame.source if view.frame is not None else ""
    if view.listed == "errors":
        route, org = view.subject.route, view.subject.org
        of = "" if route is None else f" of {visible(target_text(route, org))}"
        words = (
            f"top errors{of} of the last {shown}"
            if errors
            else f"no errors{of} in the last {shown}"
        )
        words = f"no single errors: {source}" if source else words
        after = f"alerts ({len(view.alerts)})"
        if view.list_after() == "routing":
            after = f"against the routing ({len(view.routing)})"
        return [(f" {words}", "bold"), (f"   {other}: {after}", "$foreground 60%")]
    if view.listed == "routing":
        words = "against the routing" if view.routing else "all lines went where the file says"
        words = f"no proof of the routing: {source}" if source else words
        return [
            (f" {words}", "bold"),
            (f"   {other}: alerts ({len(view.alerts)})", "$foreground 60%"),
        ]
    words = "nothing is wrong now"
    if view.alerts:
        words = counted(len(view.alerts), "alert")
        words += f", {seen} acknowledged" if seen else ""
    kinds = "not told" if source else f"{errors} {'kind' if errors == 1 else 'kinds'}"
    return [(f" {words}", "bold"), (f"   {other}: top errors ({kinds})", "$foreground 60%")]


def row_header(listed: str, width: int) -> Cells:
    """Return the header of the list."""
    if listed == "alerts":
        return [(fit(f"  {'since':<9}{'level':<9}what", width), "table--head")]
    if listed == "routing":
        name, org, host = _routing_widths(width)
        line = f"  {'since':<9}{'what':<10}{'count':>6}  {fit('route', name)}{fit('org', org)}"
        return [(fit(f"{line}{fit('host', host)}last", width), "table--head")]
    name, text, orgs = _error_widths(width)
    line = f" {'count':>6}  {'status':<8}{'side':<10}{fit('route', name)}{fit('error', text)}"
    return [(fit(f"{line}{fit('orgs', orgs)}last", width), "table--head")]


def row_cells(row: Row, width: int) -> Cells:
    """Return one row of the list."""
    if isinstance(row, RoutingRow):
        return _routing_cells(row, width)
    return _alert_cells(row, width) if isinstance(row, Alert) else _error_cells(row, width)


def _routing_widths(width: int) -> tuple[int, int, int]:
    """Return the cells for route, org and host; in a narrow terminal the host has more."""
    left = max(width - 11 - 10 - 8 - 9, 0)
    name = min(20, left // 3)
    org = min(24, (left - name) // 2)
    return name, org, left - name - org


def _routing_cells(row: RoutingRow, width: int) -> Cells:
    name, org, host = _routing_widths(width)
    since = "–" if row.since is None else clock(row.since)
    return [
        (f" {since:<8}  ", ""),
        (fit(row.what, 10), "table--bad" if row.is_alarm else "table--warn"),
        (f"{right(f'{row.count}', 6)}  ", ""),
        (_cell(visible(row.route) or "–", name), "table--route"),
        (_cell(redacted(visible(row.org)) or "–", org), ""),
        (_cell(hosts_text(row), host), ""),
        (clock(row.last_at), "table--dim"),
    ]


def _alert_cells(alert: Alert, width: int) -> Cells:
    seen = f" seen by {visible(alert.acknowledged_by)}" if alert.acknowledged_by else ""
    seen = fit(seen, min(cell_len(seen), width // 2))
    text = redacted(visible(alert.sentence))
    head = f" {clock(alert.since)} "
    level = fit(alert.level, 9)
    left = max(width - len(head) - len(level) - cell_len(seen), 0)
    if seen:
        return [(head + level + fit(text, left) + seen, "table--dim")]
    style = "table--bad" if alert.level == "alarm" else "table--warn"
    return [(head, ""), (level, style), (fit(text, left), "")]


def _error_widths(width: int) -> tuple[int, int, int]:
    """Return the cells for route, error and orgs; only a wide terminal has any for orgs."""
    left = max(width - 6 - 10 - 10 - 9, 0)
    name = min(24, left // 3)
    text = left - name if width < _ORGS_FROM else min(left - name, 40)
    return name, text, left - name - text


def _error_cells(group: ErrorGroup, width: int) -> Cells:
    name, text, orgs = _error_widths(width)
    said = redacted(visible(group.error)) or "no error code"
    said += "" if group.request_ids else " (no request id)"
    return [
        (right(f"{group.count}", 6), "table--bad" if group.side == "tokenlab" else ""),
        (f"  {fit(status_text(group.status), 8)}", ""),
        (fit(group.side, 10), "table--dim" if group.side == "previous" else ""),
        (_cell(visible(group.route) or "–", name), "table--route"),
        (_cell(said, text), ""),
        (_cell(visible(", ".join(group.orgs)), orgs), "table--dim"),
        (clock(group.last_at), "table--dim"),
    ]


def _cell(text: str, width: int) -> str:
    """Return a text in a column, with a gap after it."""
    return fit_middle(text, width - 1) + " " if width > 1 else " " * width


def status_text(status: int) -> str:
    """Return an HTTP status; 0 stands for no answer."""
    return str(status) if status else "none"


def whole_row(row: Row) -> tuple[str, list[str]]:
    """Return title and lines of a row's details, with secrets redacted."""
    if isinstance(row, Alert):
        lines = [row.sentence, "", f"level:  {row.level}", f"since:  {clock(row.since)} UTC"]
        if row.acknowledged_by:
            lines.append(f"acknowledged by {row.acknowledged_by}")
        return "Alert", [redacted(line) for line in lines]
    if isinstance(row, RoutingRow):
        return "Routing", [redacted(line) for line in _routing_facts(row)]
    facts = (
        ("route", row.route or "several"),
        ("side", row.side),
        ("status", status_text(row.status)),
        ("error", row.error or "no error code"),
        ("count", str(row.count)),
        ("last", f"{clock(row.last_at)} UTC"),
        ("orgs", ", ".join(row.orgs) or "–"),
    )
    ids: Sequence[str] = row.request_ids or ("none in the log",)
    lines = [f"{name:<9}{text}" for name, text in facts]
    lines += ["", "request ids, the newest first:", *(f"  {one}" for one in ids)]
    return "Error", [redacted(line) for line in lines]


def _routing_facts(row: RoutingRow) -> list[str]:
    facts = (
        ("route", row.route or "all"),
        ("org", row.org or "all"),
        ("count", f"{row.count} {'hosts' if row.what == 'behind' else 'requests'}"),
        ("since", "not known" if row.since is None else f"{clock(row.since)} UTC"),
        ("last", f"{clock(row.last_at)} UTC"),
    )
    hosts = row.hosts or ("none in the log",)
    lines = [row.sentence, "", *(f"{name:<9}{text}" for name, text in facts)]
    return [*lines, "", "hosts:", *(f"  {one}" for one in hosts)]
