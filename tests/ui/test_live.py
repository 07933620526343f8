"""What the live screen shows, without a screen: grids, figures, events, the order of things."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.guard.alerts import Alert, Alerts
from rollout_console.guard.monitor import Monitor
from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_console.history.rows import Change
from rollout_console.ui.screens.live.charts import draw_charts
from rollout_console.ui.screens.live.events import events_of, gravest, placed
from rollout_console.ui.screens.live.figures import (
    WINDOWS_S,
    Frame,
    Grid,
    Subject,
    frame_of,
    grid_for,
    orgs_by_traffic,
    settled,
)
from rollout_console.ui.screens.live.lines import clock, event_line, list_title
from rollout_console.ui.screens.live.state import LiveView
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse

NOW = 1_790_000_000.5


def change(action: str, before: str, after: str, **fields: object) -> Change:
    whole: dict[str, object] = {
        "id": 1, "at": datetime.fromtimestamp(NOW - 10, UTC), "user": "jo", "host": "h",
        "ssh_origin": "", "action": action, "route": "chat", "org": "acme", "before": before,
        "after": after, "reason": "", "verdict": "", "previous_revision": "", "revision": "",
        "undoes_id": None, **fields,
    }  # fmt: skip
    return Change(**whole)  # type: ignore[arg-type]


def write(
    path: Path, ago: float, status: int = 200, *, org: str = "acme", side: str = "tokenlab"
) -> None:
    log = AccessLog(path.parent / "access.jsonl")
    at = timestamp(datetime.fromtimestamp(NOW - ago, UTC))
    log.append(
        AccessLine(
            ts=at, route="chat", org=org, side=side, model="m", status=status, latency_ms=100.0
        )
    )
    log.close()


@pytest.fixture
def monitor(file: Path) -> Monitor:
    return Monitor(file, parse(file.read_bytes()))


@given(st.sampled_from(WINDOWS_S), st.integers(1, 400), st.floats(1e9, 2e9), st.booleans())
def test_a_grid_fits_its_columns(window: int, columns: int, now: float, of_org: bool) -> None:
    grid = grid_for(window, columns, now, of_org=of_org)
    assert 1 <= grid.points <= columns
    assert grid.points * grid.step == window
    assert grid.index(now) == grid.points - 1
    assert grid.start % grid.step == 0
    assert grid.step % (300 if window > 3600 else 5 if of_org or window > 900 else 1) == 0


@given(st.integers(0, 10**9), st.integers(1, 120), st.integers(1, 240))
def test_every_point_has_its_column(first: int, points: int, columns: int) -> None:
    shown = Grid(first, 5, points).columns(columns)
    assert len(shown) == columns
    assert {i for some in shown for i in some} == set(range(points))
    if columns >= points:
        assert all(len(some) == 1 for some in shown)


def test_a_point_keeps_its_width_while_it_ages() -> None:
    for first in range(1000, 1100):
        old, new = Grid(first, 5, 60).columns(73), Grid(first + 1, 5, 60).columns(73)
        for index in range(1, 60):
            width = sum(index in some for some in old)
            assert sum(index - 1 in some for some in new) == width


def test_figures_of_both_sides_at_a_point_and_over_the_window(file: Path, monitor: Monitor) -> None:
    for ago in (100.0, 100.1, 100.2, 100.3):
        write(file, ago)
    write(file, 100.0, 503)
    write(file, 40.0, 401, side="previous")
    write(file, 1.0, org="globex.eu")
    monitor.catch_up(NOW)
    frame = frame_of(monitor, Subject("chat"), 300, 60, NOW)
    place = frame.grid.index(NOW - 100)
    assert frame.value("tokenlab", "5xx", place) == pytest.approx(20.0)
    assert frame.value("tokenlab", "5xx", None) == pytest.approx(100 / 6)
    assert frame.value("previous", "4xx", frame.grid.index(NOW - 40)) == 100.0
    assert frame.value("tokenlab", "p95", 0) is None
    assert frame.count(StatusClass.GATEWAY, place) == 1
    assert frame.count(StatusClass.OK, None) == 5
    assert frame.age_s == pytest.approx(1.0, abs=0.01)
    assert [one.status for one in frame.errors] == [401, 503]
    of_org = frame_of(monitor, Subject("chat", "globex.eu"), 300, 60, NOW)
    assert of_org.whole["tokenlab"].requests == 1
    assert not of_org.errors
    everything = frame_of(monitor, Subject(), 300, 60, NOW)
    assert everything.whole["tokenlab"].requests == 6


def test_the_rate_of_a_point_that_is_not_over_is_no_dip(file: Path, monitor: Monitor) -> None:
    for ago in range(1, 250):
        write(file, float(ago))
    monitor.catch_up(NOW)
    now = NOW // 30 * 30 + 21.0
    frame = frame_of(monitor, Subject("chat"), 300, 10, now)
    newest = frame.value("tokenlab", "rate", 9)
    soon = frame_of(monitor, Subject("chat"), 300, 10, NOW // 30 * 30 + 2.0)
    assert soon.value("tokenlab", "rate", 9) is None
    assert soon.value("tokenlab", "p95", 9) is None, "of one request it says nothing"
    assert frame.value("tokenlab", "p95", 9) is not None
    assert frame.grid.step == 30
    begun = sum(1 for ago in range(1, 250) if NOW - ago >= NOW // 30 * 30)
    assert newest == pytest.approx(begun / 20) if begun else newest is None


def test_orgs_stand_by_traffic_and_those_without_after(file: Path, monitor: Monitor) -> None:
    for i in range(3):
        write(file, 1.0 + i, org="small")
    for i in range(9):
        write(file, 1.0 + i, org="big", side="previous")
    monitor.catch_up(NOW)
    orgs = orgs_by_traffic(monitor, "chat", NOW)
    assert orgs[:2] == ["big", "small"]
    assert "acme" in orgs[2:]


@pytest.mark.parametrize(
    ("one", "sign", "words"),
    [
        (change("set", "10", "25"), "↑", "chat / acme 10% to 25% by jo"),
        (change("set", "25", "12.5", reason="why"), "↓", "chat / acme 25% to 12.5% by jo: why"),
        (change("rollback", "in force", "rolled back", reason="5xx 4.2%"), "↩",
         "chat / acme by jo: 5xx 4.2%"),
        (change("rollback", "in force", "rolled back", route=None, org=None), "↩",
         "everything by jo"),
        (change("resume", "rolled back", "in force"), "↻", "chat / acme by jo"),
        (change("undo", "rolled back", "in force"), "↻",
         "undo chat / acme: rolled back to in force by jo"),
        (change("undo", "25", "10"), "↓", "undo chat / acme: 25% to 10% by jo"),
        (change("set", "0", "5", org=ALL_ORGS), "↑",
         "chat / (default) 0% to 5% by jo"),
        (change("phase", "pilot", "shadow", org=None), "~",
         "phase chat: pilot to shadow by jo"),
        (change("set", "", "5"), "↑", "chat / acme no line to 5% by jo"),
        (change("model", "4.1", "5", org=None), "~", "model chat: 4.1 to 5 by jo"),
        (change("external", "", "chat / acme 5% to 10%", route=None, org=None), "~",
         "edit: chat / acme 5% to 10% by jo"),
        (change("external", "", "chat in force to rolled back", route=None, org=None,
                moves='[["chat", null, 5000, 0, true]]'), "↩",
         "edit: chat in force to rolled back by jo"),
        (change("put_back", "out of its ramp", "in its ramp", reason="5xx 40%"), "~",
         "put back into its ramp: chat / acme by jo; it was out: 5xx 40%"),
    ],
)  # fmt: skip
def test_signs_and_words(one: Change, sign: str, words: str) -> None:
    (event,) = events_of([one], [], Subject())
    assert (event.sign, event.words) == (sign, words)


def test_a_subject_sees_what_reaches_it() -> None:
    rows = [
        change("set", "1", "2", org="acme"),
        change("set", "1", "3", org="other"),
        change("set", "1", "4", org=ALL_ORGS),
        change("rollback", "in force", "rolled back", route="claude", org=None),
        change("rollback", "in force", "rolled back", route=None, org=None),
    ]
    alerts = [Alert(("x",), "alarm", "chat: bad", "chat", since=NOW)]
    count = {
        subject: len(events_of(rows, alerts, subject))
        for subject in (Subject(), Subject("chat"), Subject("chat", "acme"), Subject("claude"))
    }
    assert list(count.values()) == [6, 5, 4, 2]


def test_events_fall_on_their_points_the_gravest_first() -> None:
    grid = grid_for(300, 60, NOW)
    rows = [change("set", "1", "2"), change("rollback", "in force", "rolled back")]
    late = change("set", "1", "2", at=datetime.fromtimestamp(NOW - 400, UTC))
    found = placed(events_of([*rows, late], [], Subject()), grid)
    assert list(found) == [grid.index(NOW - 10)]
    (some,) = found.values()
    assert [event.sign for event in some] == ["↩", "↑"]
    assert gravest(list(reversed(some))) == "↩"


def test_the_last_event_is_the_latest_with_its_own_time_and_words(
    file: Path, monitor: Monitor
) -> None:
    """Also where a graver one is in the same point of the time axis."""
    at = datetime.fromtimestamp(NOW - 7, UTC)
    view = LiveView(monitor, Alerts())
    view.changes = [
        change("undo", "rolled back", "in force", at=at),
        change("rollback", "in force", "rolled back"),
    ]
    view.look(NOW)
    view.place_events()
    (some,) = view.events.values()
    assert [one.sign for one in some] == ["↩", "↻"]
    words = "".join(text for text, _ in event_line(view, "", {}))
    assert words == (
        f" 2 events, last: {clock(NOW - 7)} ↻ resume:"
        " undo chat / acme: rolled back to in force by jo"
    )


def test_the_list_of_errors_names_the_org_that_it_is_of(file: Path, monitor: Monitor) -> None:
    view = LiveView(monitor, Alerts())
    view.listed = "errors"
    for subject, words in (
        (Subject(), "no errors in the last 5 m"),
        (Subject("chat"), "no errors of chat in the last 5 m"),
        (Subject("chat", "acme"), "no errors of chat / acme in the last 5 m"),
    ):
        view.subject = subject
        view.look(NOW)
        assert list_title(view, {})[0][0].strip() == words


def test_alerts_that_are_over_are_still_events() -> None:
    alerts = Alerts()
    alerts.look([Alert(("a",), "alarm", "one")], NOW)
    alerts.look([], NOW + 100)
    assert not alerts.open
    assert [(one.sentence, one.since) for one in alerts.begun] == [("one", NOW)]


def test_close_counts_do_not_change_places() -> None:
    def group(error: str, count: int) -> ErrorGroup:
        return ErrorGroup("chat", "tokenlab", 503, error, count, NOW, (), ())

    before = settled([group("a", 10), group("b", 9)], [])
    assert [one.error for one in before] == ["a", "b"]
    close = settled([group("b", 11), group("a", 10)], before)
    assert [one.error for one in close] == ["a", "b"]
    far = settled([group("c", 90), group("b", 20), group("a", 10)], close)
    assert [one.error for one in far] == ["c", "b", "a"]


def test_a_chart_of_what_no_request_has_denies_no_request(file: Path, monitor: Monitor) -> None:
    def words(frame: Frame) -> str:
        rows = draw_charts(["speed"], frame, {"speed": 10.0}, {}, (80, 12), None, stale=False)
        return "\n".join("".join(char for char, _ in row) for row in rows)

    assert "no requests in this time" in words(frame_of(monitor, Subject("chat"), 300, 60, NOW))
    write(file, 5.0)
    monitor.catch_up(NOW)
    shown = words(frame_of(monitor, Subject("chat"), 300, 60, NOW))
    assert "not measured by any request in this time" in shown
