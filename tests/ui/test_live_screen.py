"""The live screen, driven by keys, on a real file, a real log and a real history."""

import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.alerts import Alert
from rollout_console.guard.monitor import Monitor
from rollout_console.health.backfill.reader import Backfill, Part
from rollout_console.health.windows.top_errors import ErrorGroup
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.keymap import FORBIDDEN, LIVE_KEYS
from rollout_console.ui.palette import ConsoleCommands
from rollout_console.ui.screens.help import HelpScreen
from rollout_console.ui.screens.live.screen import LiveScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.cell_view import CellView
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate.file.parse import parse
from tests.support.waiting import resize, until_ready, until_shown

Running = Pilot[None]
HOSTILE = "\x1b[31mevil\u202eorg[bold]"


def write(file: Path, *lines: dict[str, Any]) -> None:
    with (file.parent / "access.jsonl").open("a") as log:
        for line in lines:
            at = datetime.fromtimestamp(line.pop("at"), UTC)
            whole = {
                "ts": at.isoformat().replace("+00:00", "Z"), "route": "chat", "org": "acme",
                "side": "tokenlab", "model": "m", "status": 200, "latency_ms": 120.0, **line,
            }  # fmt: skip
            log.write(json.dumps(whole) + "\n")


def traffic(file: Path, *, count: int = 60, status: int = 200, **fields: Any) -> None:
    now = time.time()
    write(file, *({"at": now - i, "status": status, **fields} for i in range(count)))


def app_of(file: Path, *, read_only: bool = False, monitor: Monitor | None = None) -> ConsoleApp:
    who = Actor("jo", "gw-01")
    switch = Switch(
        file, History(file.parent / "h.sqlite3"), who, access=WriteAccess(read_only=read_only)
    )
    monitor = monitor or Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")


@asynccontextmanager
async def live(
    file: Path, size: tuple[int, int] = (120, 40), *, read_only: bool = False, lines: int = 1
) -> AsyncIterator[Running]:
    app = app_of(file, read_only=read_only)
    async with app.run_test(size=size) as pilot:
        await until_shown(pilot, lambda: app._monitor.lines >= lines)
        await pilot.press("5")
        await until_shown(pilot, lambda: isinstance(app.screen, LiveScreen))
        await pilot.pause(0.2)
        yield pilot


def line(pilot: Running, name: str) -> str:
    return pilot.app.screen.query_one(f"#live-{name}", TextLine).text


def alarm_line(pilot: Running) -> str:
    shown = pilot.app.screen.query_one(".alarm", TextLine)
    return shown.text if shown.display else ""


def drawn(pilot: Running) -> list[str]:
    views = pilot.app.screen.query(CellView).results(CellView)
    return [row for view in views for row in view.lines]


def titles(pilot: Running) -> list[str]:
    return [row for row in drawn(pilot) if row[:1].isalpha()]


def rows(pilot: Running) -> str:
    table = pilot.app.screen.query_one(LineTable)
    return "\n".join(table.render_line(y).text for y in range(table.size.height))


def axis(pilot: Running) -> str:
    return next(row for row in drawn(pilot) if row.startswith("     └"))


def alarm(pilot: Running, name: str = "one", route: str = "chat") -> None:
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    found = [Alert(("test", name), "alarm", f"{route}: {name} is wrong", route)]
    app.session.alerts.look(found, time.time())


def long_log(file: Path) -> Monitor:
    now = time.time()
    write(file, *({"at": now - i * 10, "org": "acme"} for i in range(4000, 0, -1)))
    return Monitor(file, parse(file.read_bytes()), cold_bytes=40_000, older_bytes=1 << 30)


async def test_a_long_log_is_shown_at_once_and_its_past_when_it_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, next_of = threading.Event(), Backfill.next

    def held_up(older: Backfill) -> Part | None:
        may_go_on.wait()
        return next_of(older)

    monkeypatch.setattr(Backfill, "next", held_up)
    app = app_of(file, monitor=long_log(file))
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: app._monitor.reads_older)
        await pilot.press("5", "w", "w")
        await until_shown(pilot, lambda: " 24 h (so far: " in line(pilot, "figures"))
        may_go_on.set()
        await until_shown(pilot, lambda: not app._monitor.reads_older)
        await until_shown(pilot, lambda: "(" not in line(pilot, "figures"))
        figures = app._monitor.figures("chat", "acme", "tokenlab", time.time(), 86_400)
        assert figures.requests == 4000


async def test_quitting_ends_what_reads_the_past(file: Path) -> None:
    app = app_of(file, monitor=long_log(file))
    async with app.run_test() as pilot:
        await until_shown(pilot, lambda: app._monitor.reads_older)
        older = app._monitor._older
        assert older is not None
        for process in older.processes:
            os.kill(process, signal.SIGSTOP)
        await pilot.press("q")
    for process in older.processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize(
    ("size", "charts"), [((80, 24), 1), ((120, 40), 3), ((200, 60), 4), ((20, 5), 0)]
)
async def test_every_size_stands(file: Path, size: tuple[int, int], charts: int) -> None:
    traffic(file)
    async with live(file, size) as pilot:
        screen = pilot.app.screen
        shown = [] if screen.has_class("-short") else titles(pilot)
        assert len(shown) == charts
        assert all(len(row) < size[0] for row in shown)
        assert all(view.size.height == len(view.lines) for view in screen.query(CellView) if shown)
        assert line(pilot, "status").startswith(" live ▸ chat / ")
        for widget in screen.children:
            assert widget.region.bottom <= size[1]
        assert screen.query_one(LineTable).size.height >= 1


async def test_both_sides_and_every_class(file: Path) -> None:
    traffic(file, latency_ms=100.0)
    traffic(file, side="previous", latency_ms=900.0)
    traffic(file, count=10, status=503)
    traffic(file, count=10, status=401, side="previous")
    traffic(file, count=5, status=429)
    async with live(file, (200, 60), lines=145) as pilot:
        assert "tokenlab 5xx 13.3% 4xx 0.0%" in line(pilot, "figures")
        assert "previous 5xx 0.0% 4xx 14.3%" in line(pilot, "figures")
        found = {row.split("  ")[0].split(" in ")[0]: row for row in titles(pilot)}
        assert "+" in "".join(drawn(pilot))
        assert set(found) == {"errors %", "latency ms", "requests a second", "tokenlab errors"}
        assert "x 4xx 0.0 + 429 6.7  • prev. 5xx 0.0" in found["errors %"]
        assert "█ 5xx 10  ▓ 429 5  ▚ balance 0  ▒ auth 0" in found["tokenlab errors"]
        text = "".join(drawn(pilot))
        assert "█" in text
        assert "▓" in text
        assert "•" in text
        assert any("⠀" < char <= "⣿" for char in text)


async def test_the_time_cursor_says_time_values_and_what_happened(file: Path) -> None:
    traffic(file)
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    switch.open()
    switch.apply(switch.planner.plan_rollback("chat", "acme", "5xx 4.2%"), reason="5xx 4.2%")
    async with live(file) as pilot:
        await until_shown(pilot, lambda: "last: " in line(pilot, "event"))
        assert "↩" in axis(pilot)
        await pilot.press("p")
        assert "↩ rollback: chat / acme by jo: 5xx 4.2%" in line(pilot, "event")
        at = line(pilot, "figures").split()[0]
        datetime.strptime(at, "%H:%M:%S").replace(tzinfo=UTC)
        before = titles(pilot)
        await pilot.press("left", "h")
        earlier = line(pilot, "figures").split()[0]
        assert earlier < at or earlier.startswith("23:")
        assert "nothing happened here" in line(pilot, "event")
        cells = pilot.app.screen.query_one("#live-left", CellView)._cells
        columns = {x for row in cells for x, (_, style) in enumerate(row) if style == "cursor"}
        assert len(columns) == 1
        await pilot.press("n")
        assert line(pilot, "figures").split()[0] == at
        assert titles(pilot) == before
        await pilot.press("p")
        assert "no event before this one" in line(pilot, "notice")
        await pilot.press("escape", "escape")
        assert line(pilot, "figures").startswith(" last 5 m")
        assert isinstance(pilot.app.screen, LiveScreen)


async def test_the_cursor_stays_on_its_time_while_the_chart_moves_on(file: Path) -> None:
    traffic(file)
    async with live(file) as pilot:
        await pilot.press(*["left"] * 5)
        at = line(pilot, "figures").split()[0]
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        assert screen._view.frame is not None
        place = screen._view.index
        moved = screen._view.frame.at + 9
        screen._view.look(moved)
        screen.draw()
        assert line(pilot, "figures").split()[0] == at
        assert screen._view.index == (place or 0) - 3
        await pilot.press(*["right"] * 9)
        assert line(pilot, "figures").startswith(" last 5 m")


@pytest.mark.slow
async def test_paused_nothing_is_drawn_but_an_alarm(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic(file)
    monkeypatch.setattr("rollout_console.ui.screens.live.screen.CHARTS_EVERY_S", 0.5)
    async with live(file) as pilot:
        await pilot.press("left", "space")
        await pilot.pause(1.2)  # what was under way is drawn
        assert "paused at " in line(pilot, "status")
        assert "new data is coming" in line(pilot, "status")
        before = drawn(pilot), line(pilot, "figures"), rows(pilot)
        drawings: list[object] = []
        display = pilot.app._display

        def note(screen: Any, update: Any) -> None:
            drawings.append(update)
            display(screen, update)

        monkeypatch.setattr(pilot.app, "_display", note)
        for _ in range(4):
            traffic(file, count=3)
            await pilot.pause(0.6)
        assert not drawings, "bytes for a screen that is to stay as it is"
        traffic(file, count=20, status=503)
        await until_shown(pilot, lambda: "5xx" in alarm_line(pilot))
        assert line(pilot, "figures") == before[1]
        assert rows(pilot).rstrip() == before[2].rstrip()
        assert drawn(pilot) == before[0]
        await pilot.press("1", "5")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, LiveScreen))
        await pilot.pause(0.2)
        assert drawn(pilot) == before[0], "going home let it go"
        await resize(pilot, 90, 30)
        assert line(pilot, "figures").split()[0] == before[1].split()[0]
        await resize(pilot, 120, 40)
        assert drawn(pilot) == before[0]
        await pilot.press("space")
        assert "paused" not in line(pilot, "status")
        await until_shown(pilot, lambda: "tokenlab 5xx 0.0%" not in line(pilot, "figures"))


@pytest.mark.slow
async def test_another_window_of_a_pause_ends_at_the_pause(file: Path) -> None:
    traffic(file)
    async with live(file) as pilot:
        await pilot.press("space")
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        assert screen._view.paused_at is not None
        await pilot.pause(max(0.0, screen._view.paused_at + 2.1 - time.time()))
        traffic(file, count=1, status=503)
        await until_shown(pilot, lambda: screen._monitor.lines >= 61)
        for key in ("w", "w", "w"):
            await pilot.press(key)
        assert line(pilot, "figures").startswith(" last 1 m  tokenlab 5xx 0.0%")
        await pilot.press("space")
        assert "tokenlab 5xx 0.0%" not in line(pilot, "figures")


@pytest.mark.slow
async def test_nothing_is_drawn_for_the_screen_behind(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Textual would draw the whole terminal whenever home, which nobody sees, has something new."""
    traffic(file)
    async with live(file) as pilot:
        whole: list[str] = []
        display = pilot.app._display

        def note(screen: Any, update: Any) -> None:
            whole.append(type(update).__name__)
            display(screen, update)

        await pilot.pause(1.0)
        monkeypatch.setattr(pilot.app, "_display", note)
        for _ in range(6):
            traffic(file, count=2)
            pilot.app.screen_stack[0].refresh()
            await pilot.pause(0.3)
        assert "LayoutUpdate" not in whole


async def test_home_fits_the_size_that_it_did_not_see(file: Path) -> None:
    traffic(file)
    async with live(file) as pilot:
        await resize(pilot, 80, 24)
        await pilot.press("1")
        await until_shown(pilot, lambda: pilot.app.screen.query_one(RolloutTable).size.width == 80)
        assert not pilot.app.screen.has_class("-broad")


@pytest.mark.slow
async def test_figures_go_on_behind_a_dialog_and_under_no_screen(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic(file)
    async with live(file) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        await pilot.press("question_mark")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        screen._looked_at = 0.0
        await until_shown(pilot, lambda: screen._looked_at > 0.0)
        text = str(pilot.app.screen.query_one(Static).render())
        for key in LIVE_KEYS:
            assert key.help in text
        await pilot.press("escape")
        await until_shown(pilot, lambda: pilot.app.screen is screen)
        drawn: list[float] = []
        assert isinstance(pilot.app, ConsoleApp)
        monkeypatch.setattr(pilot.app.home, "draw_charts", lambda: drawn.append(time.time()))
        await pilot.pause(1.3)
        assert not drawn, "home is covered by a whole screen"


async def test_windows_routes_and_orgs(file: Path) -> None:
    traffic(file, count=30)
    traffic(file, count=50, org="globex.eu", status=503)
    traffic(file, count=10, route="claude", org="initech", status=400)
    async with live(file, lines=90) as pilot:
        seen = []
        for _ in range(4):
            await pilot.press("w")
            seen.append(line(pilot, "figures").split("  ")[0].strip())
        assert [words.split(" (")[0] for words in seen] == [
            "last 1 h", "last 24 h", "last 1 m", "last 5 m",
        ]  # fmt: skip
        assert "5xx 62.5%" in line(pilot, "figures")
        await pilot.press("o")
        assert "chat / globex.eu" in line(pilot, "status")
        assert "5xx 100%" in line(pilot, "figures")
        await pilot.press("o")
        assert "chat / acme" in line(pilot, "status")
        assert "  25%" in line(pilot, "status")
        assert "5xx 0.0%" in line(pilot, "figures")
        await pilot.press("O", "O", "right_square_bracket")
        assert "claude / all orgs" in line(pilot, "status")
        assert "4xx 100%" in line(pilot, "figures")
        await pilot.press("left_square_bracket", "shift+tab")
        assert "all routes" in line(pilot, "status")
        assert "5xx 55.6% 4xx 11.1%" in line(pilot, "figures")
        await pilot.press("o")
        assert "chooses one first" in line(pilot, "notice")
        await pilot.press("tab")
        assert "chat / all orgs" in line(pilot, "status")


async def test_it_follows_the_route_selected_at_home(file: Path) -> None:
    traffic(file)
    async with live(file) as pilot:
        await pilot.press("w", "1", "l", "5")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, LiveScreen))
        assert "claude / all orgs  1 h" in line(pilot, "status")
        await pilot.press("left_square_bracket", "1", "5")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, LiveScreen))
        assert "chat / all orgs" in line(pilot, "status"), "home has not moved, and this did"


@pytest.mark.parametrize("read_only", [False, True])
async def test_an_alert_is_acknowledged(
    file: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    traffic(file)
    async with live(file, read_only=read_only) as pilot:
        assert "nothing is wrong now" in line(pilot, "list")
        await pilot.press("a")
        assert "no alert is selected" in line(pilot, "notice")
        await pilot.press("escape")
        alarm(pilot)
        await until_shown(pilot, lambda: "one is wrong" in rows(pilot))
        assert "1 alert" in line(pilot, "list")
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        screen._look()
        assert "!" in axis(pilot)
        monkeypatch.setattr("rollout_console.ui.screens.live.screen.ROW_GRACE_S", 600.0)
        screen._table.set_rows([])
        screen._draw_list()  # as when the selected alert is over, and another takes its place
        await pilot.press("a")
        assert "not acknowledged: the selected row has just changed" in line(pilot, "notice")
        assert isinstance(pilot.app, ConsoleApp)
        assert pilot.app.session.alerts.open[0].acknowledged_by == ""
        screen._sight.begin(0.0)
        await until_shown(pilot, lambda: screen._sight.is_ready)
        await pilot.press("a")
        assert "seen by jo" in rows(pilot)
        assert "1 acknowledged" in line(pilot, "list")
        assert pilot.app.session.alerts.open[0].acknowledged_by == "jo@gw-01"
        await pilot.press("a")
        assert "acknowledged already, by jo@gw-01" in line(pilot, "notice")
        history = pilot.app.session.switch.history

        def noted() -> list[tuple[str, str]]:
            return [(row.action, row.after) for row in history.rows(file)]

        wanted = [] if read_only else [("acknowledge", "chat: one is wrong")]
        await until_shown(pilot, lambda: bool(noted()) or read_only)
        assert noted() == wanted


async def test_request_ids_for_support(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    lines = [
        {"at": now - 3 + i, "status": 503, "error": "upstream", "request_id": f"req-{i}"}
        for i in range(3)
    ]
    write(file, *lines)
    traffic(file, count=5, status=429, side="previous")
    async with live(file, lines=8) as pilot:
        copied: list[str] = []
        monkeypatch.setattr(pilot.app, "copy_to_clipboard", copied.append)
        await pilot.press("y")
        assert "no error is selected; v lists them" in line(pilot, "notice")
        await pilot.press("v")
        assert "top errors of chat of the last 5 m" in line(pilot, "list")
        await pilot.press("y")
        assert "no request id" in line(pilot, "notice")
        await pilot.press("j", "y")
        assert copied == ["req-2"]
        assert "req-2: sent to the terminal's clipboard" in line(pilot, "notice")
        await pilot.press("Y")
        assert copied[1:] == ["req-2\nreq-1\nreq-0"]
        assert "3 request ids" in line(pilot, "notice")
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        text = "\n".join(str(one.render()) for one in pilot.app.screen.query(Static))
        for word in ("upstream", "503", "req-0", "acme", "tokenlab"):
            assert word in text


async def test_rows_that_are_close_do_not_change_places(file: Path) -> None:
    traffic(file, count=10, status=503)
    traffic(file, count=9, status=502)
    async with live(file, lines=19) as pilot:
        await pilot.press("v", "j")
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        traffic(file, count=2, status=502)
        await until_shown(pilot, lambda: screen._monitor.lines >= 21)
        screen._look()
        assert rows(pilot).index("503") < rows(pilot).index("502")
        traffic(file, count=20, status=502)
        await until_shown(pilot, lambda: screen._monitor.lines >= 41)
        screen._look()
        assert rows(pilot).index("502") < rows(pilot).index("503")
        selected = screen._table.selected
        assert selected is not None
        assert isinstance(selected, ErrorGroup)
        assert selected.status == 502, "the cursor did not stay on its row"


async def test_what_comes_from_outside_is_shown_as_text(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    ids = {"error": HOSTILE, "request_id": HOSTILE + "\n"}
    write(file, *({"at": now - i, "status": 400, "org": HOSTILE, **ids} for i in range(20)))
    async with live(file, lines=20) as pilot:
        alarm(pilot, HOSTILE)
        await pilot.press("o", "v")
        assert "evil" in line(pilot, "status")
        copied: list[str] = []
        monkeypatch.setattr(pilot.app, "copy_to_clipboard", copied.append)
        await pilot.press("y")
        assert "evil" in copied[0]
        shown = rows(pilot) + line(pilot, "status") + line(pilot, "notice") + copied[0]
        await pilot.press("v")
        await until_shown(pilot, lambda: "evil" in rows(pilot))
        shown += rows(pilot) + line(pilot, "event") + pilot.app.export_screenshot()
        assert "[bold]" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown


async def test_what_is_against_the_routing_is_a_list(file: Path) -> None:
    os.utime(file, (time.time() - 600,) * 2)
    proof: dict[str, Any] = {
        "org": "initech",
        "bucket": 10,
        "revision": "0123456789ab",
        "attempt": 1,
    }
    traffic(file, count=3, host="gw-02\x1b[31m\u202e", **proof)
    traffic(file, count=2, host="sk-live-0123456789abcdef", **proof)
    async with live(file, (100, 40), lines=5) as pilot:
        await until_shown(pilot, lambda: "initech sent 5 requests" in rows(pilot))
        await pilot.press("v")
        assert "v: against the routing (2)" in line(pilot, "list")
        await pilot.press("v")
        assert line(pilot, "list").startswith(" against the routing   v: alerts (")
        shown = rows(pilot)
        header, first, second = shown.splitlines()[:3]
        assert header.split() == ["since", "what", "count", "route", "org", "host", "last"]
        assert " misrouted      5  chat " in first
        assert first.split()[-5:-1] == ["chat", "initech", "gw-02·[31m·", "+1"]
        assert second.split()[1:5] == ["behind", "2", "–", "–"]
        await pilot.press("a")
        assert "no alert is selected" in line(pilot, "notice")
        await pilot.press("y")
        assert "no error is selected" in line(pilot, "notice")
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        text = str(pilot.app.screen.query_one(Static).render())
        assert "chat / initech sent 5 requests to TokenLab although it is rolled back" in text
        assert "count    5 requests" in text
        for one in (shown, text):
            assert "0123456789abcdef" not in one
            assert "\u202e" not in one
        await pilot.press("escape", "v")
        assert "top errors" in line(pilot, "list")


async def test_no_data_and_old_data_are_said(file: Path) -> None:
    (file.parent / "access.jsonl").write_text("")
    async with live(file, lines=0) as pilot:
        assert "no access-log records yet: they begin with the first request" in line(
            pilot, "figures"
        )
        assert "no requests in this time" in "".join(drawn(pilot))
        write(file, *({"at": time.time() - 40 - i} for i in range(30)))
        await until_shown(pilot, lambda: "stale 4" in line(pilot, "status"))
        screen = pilot.app.screen
        assert isinstance(screen, LiveScreen)
        screen._look()
        view = screen.query_one("#live-left", CellView)
        styles = {style for row in view._cells for char, style in row if char.strip()}
        assert styles == {"dim"}


def test_keys_are_no_terminals() -> None:
    assert not {key for one in LIVE_KEYS for key in one.keys.split(",")} & set(FORBIDDEN)
    changes = [key.id for key in LIVE_KEYS if key.changes]
    assert all(one.startswith("live.rollback") for one in changes), "nothing here raises a share"


@pytest.mark.parametrize(("key", "latched"), [("R", "claude"), ("r", "claude"), ("!", "all")])
async def test_a_rollback_is_of_what_is_shown_here(file: Path, key: str, latched: str) -> None:
    write(file, {"at": time.time()})
    async with live(file) as pilot:
        while "claude" not in line(pilot, "status"):
            await pilot.press("right_square_bracket")
        await pilot.press("exclamation_mark" if key == "!" else key)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        before = file.read_bytes()
        await pilot.press("enter")
        await until_shown(pilot, lambda: "nothing was changed" in line(pilot, "notice"))
        await pilot.press("exclamation_mark" if key == "!" else key)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y")
        await until_shown(pilot, lambda: file.read_bytes() != before)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, LiveScreen))
        found = parse(file.read_bytes())
        assert (found.rolled_back, found.routes["claude"].rolled_back) == (
            latched == "all", latched == "claude",
        )  # fmt: skip
        assert not found.routes["chat"].rolled_back
        await until_shown(pilot, lambda: pilot.app._monitor.file.revision == found.revision)  # type: ignore[attr-defined]
        await pilot.press("exclamation_mark" if key == "!" else key)
        await until_shown(pilot, lambda: "rolled back already" in line(pilot, "notice"))


async def test_the_palette_here_changes_nothing_that_is_selected_elsewhere(file: Path) -> None:
    write(file, {"at": time.time()})
    async with live(file) as pilot:
        await pilot.press("colon")
        await until_shown(pilot, lambda: "Palette" in type(pilot.app.screen).__name__)
        provider = ConsoleCommands(pilot.app.screen_stack[-2])
        names = [hit.text async for hit in provider.discover()]
        assert names
        assert not [name for name in names if name and "oll back" in name]
