"""The history screen, driven by keys, on a real file and a real history."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.rows import Change, NewChange
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.screens.history.screen import HistoryScreen
from rollout_console.ui.screens.history.state import PAGE
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of
from tests.report.storms import storm, switch_at, written
from tests.support.waiting import until_ready, until_shown

Running = Pilot[None]
HOSTILE = "\x1b[31mevil\u202e[bold] sk-live-abcdef1234567890"


def history_path(file: Path) -> Path:
    return file.parent / "h.sqlite3"


def switch_of(file: Path, user: str = "jo", *, read_only: bool = False, ssh: str = "") -> Switch:
    return Switch(
        file, History(history_path(file)), Actor(user, "gw-01", ssh),
        access=WriteAccess(read_only=read_only),
    )  # fmt: skip


def change(file: Path, org: str, points: int, reason: str, user: str = "kim") -> str:
    switch = switch_of(file, user, ssh="10.0.0.7")
    switch.open()
    return switch.apply(
        switch.planner.plan_set("chat", org, points), reason=reason
    ).snapshot.revision


@asynccontextmanager
async def shown(
    file: Path, size: tuple[int, int] = (80, 24), *, read_only: bool = False
) -> AsyncIterator[Running]:
    switch = switch_of(file, read_only=read_only)
    app = ConsoleApp(switch, Monitor(file, switch.open().file), Settings(), user="jo", host="gw-01")
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        await until_shown(pilot, lambda: isinstance(app.screen, HistoryScreen))
        await until_shown(pilot, lambda: "…" not in line(pilot, "status"))
        yield pilot
        assert app._exception is None


def line(pilot: Running, name: str) -> str:
    found = pilot.app.screen.query(f"#history-{name}")
    return found.first(TextLine).text if found else "…"


def details(pilot: Running) -> str:
    found = pilot.app.screen.query("#change Static")
    return str(found.first(Static).render()) if found else ""


def rows(pilot: Running) -> list[str]:
    table = pilot.app.screen.query_one(LineTable)
    texts = [table.render_line(y).text for y in range(1, table.size.height)]
    return [text[1:].rstrip() for text in texts if text.strip()]


def dialog(pilot: Running) -> str:
    return "\n".join(str(one.render()) for one in pilot.app.screen.query(Static))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (40, 12)])
async def test_who_what_why_and_both_diffs(file: Path, size: tuple[int, int]) -> None:
    change(file, "acme", 1000, "5xx on their side")
    async with shown(file, size) as pilot:
        await until_shown(pilot, lambda: "-acme = 25" in details(pilot))
        assert "↓ chat / acme  25% → 10%" in details(pilot)
        assert "by kim@gw-01 from 10.0.0.7" in details(pilot)
        assert "why: 5xx on their side" in details(pilot)
        assert "+acme = 10" in details(pilot)
        (row,) = rows(pilot)
        assert row.startswith("●↓ ")
        assert "kim" in row
        if size[0] >= 80:
            assert "set chat / acme: 25% → 10%" in row
            assert "5xx on" in row


async def test_new_rows_appear_and_the_cursor_stays_on_its_own(file: Path) -> None:
    change(file, "acme", 1000, "first")
    change(file, "acme", 500, "second")
    async with shown(file) as pilot:
        await pilot.press("j")
        await until_shown(pilot, lambda: "why: first" in details(pilot))
        change(file, "acme", 100, "third")
        await until_shown(pilot, lambda: len(rows(pilot)) == 3)
        assert "why: first" in details(pilot)
        await pilot.press("g")
        await until_shown(pilot, lambda: "why: third" in details(pilot))
        change(file, "acme", 0, "fourth")  # the cursor was on the newest: it follows
        await until_shown(pilot, lambda: "why: fourth" in details(pilot))


async def test_an_edit_by_hand_is_a_row_with_its_diff(file: Path) -> None:
    async with shown(file) as pilot:
        assert "no change of this file is recorded yet" in line(pilot, "notice")
        file.write_text(file.read_text().replace("acme = 25", "acme = 40"))
        await until_shown(pilot, lambda: "↑ chat / acme  25% → 40%" in details(pilot))
        assert "edit: chat / acme 25% to 40%" in rows(pilot)[0]
        assert "somebody else" in rows(pilot)[0]
        await until_shown(pilot, lambda: rows(pilot)[0].startswith("●"))


@pytest.mark.parametrize(
    ("typed", "reasons"),
    [
        ("kim", {"one", "two"}),
        ("!kim", {"three"}),
        ("globex two", {"two"}),
        ("!globex two", {"one", "three"}),
        ("10.0.0.7 acme", {"one", "three"}),
        ("nothing of the kind", set()),
    ],
)
async def test_the_filter(file: Path, typed: str, reasons: set[str]) -> None:
    change(file, "acme", 1000, "one")
    change(file, "globex.eu", 500, "two")
    change(file, "acme", 500, "three", user="lee")
    async with shown(file, (120, 40)) as pilot:
        await pilot.press("slash")
        for sign in typed:
            await pilot.press(
                {"!": "exclamation_mark", " ": "space", ".": "full_stop"}.get(sign, sign)
            )
        assert pilot.app.screen.query_one("#history-filter", Input).value == typed
        found = {one for one in ("one", "two", "three") if any(one in row for row in rows(pilot))}
        assert found == reasons
        assert f"{len(reasons)} of 3 changes" in line(pilot, "status")
        await pilot.press("enter", "escape")
        assert len(rows(pilot)) == 3
        await pilot.press("escape")
        await until_shown(pilot, lambda: not isinstance(pilot.app.screen, HistoryScreen))


async def test_a_revision_is_restored_with_a_diff_and_a_confirm(file: Path) -> None:
    lower = change(file, "acme", 100, "lower")
    change(file, "acme", 5000, "raise")
    change(file, "globex.eu", 500, "another")
    async with shown(file) as pilot:
        before = file.read_bytes()
        await pilot.press("o")
        assert "already" in line(pilot, "notice")
        await pilot.press("j", "j")
        await until_shown(pilot, lambda: "why: lower" in details(pilot))
        await pilot.press("o")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        asked = dialog(pilot)
        assert f"the whole of rollout.toml back to revision {lower[:12]}" in asked
        assert "-acme = 50" in asked
        assert "+acme = 1" in asked
        assert "chat / acme 50% to 1%" in asked
        assert "the guard holds" in asked  # globex rises again, and there is no data
        await until_ready(pilot)
        await pilot.press("enter")
        assert file.read_bytes() == before, "enter alone confirmed"
        for sign in "agreed with all":
            await pilot.press("space" if sign == " " else sign)
        await pilot.press("enter")
        await until_shown(pilot, lambda: revision_of(file.read_bytes()) == lower)
        await until_shown(pilot, lambda: "restore" in rows(pilot)[0])
        assert "done: " in line(pilot, "notice")
        await pilot.press("g")
        await until_shown(pilot, lambda: "why: agreed with all" in details(pilot))
        await until_shown(pilot, lambda: [row[0] for row in rows(pilot)] == ["●", " ", " ", "●"])


async def test_a_restore_never_overwrites_somebody_who_edits_meanwhile(file: Path) -> None:
    change(file, "acme", 5000, "raise")
    change(file, "acme", 9000, "higher")
    async with shown(file) as pilot:
        await pilot.press("j")
        await until_shown(pilot, lambda: "why: raise" in details(pilot))
        await pilot.press("o")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        theirs = file.read_text().replace('"globex.eu" = 12.5', '"globex.eu" = 77')
        file.write_text(theirs)
        await pilot.press("y")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen))
        await until_shown(pilot, lambda: "check the new version" in line(pilot, "notice"))
        assert file.read_text() == theirs


async def test_a_broken_file_is_restored(file: Path) -> None:
    good = change(file, "acme", 100, "lower")
    async with shown(file) as pilot:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        file.write_text("this is no TOML")
        await until_shown(pilot, lambda: bool(app.session.file_trouble))
        await pilot.press("G", "o")
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y")
        await until_shown(pilot, lambda: revision_of(file.read_bytes()) == good)


async def test_read_only_restores_nothing_and_says_why(file: Path) -> None:
    change(file, "acme", 1000, "one")
    change(file, "acme", 500, "two")
    before = file.read_bytes()
    async with shown(file, read_only=True) as pilot:
        await pilot.press("j", "o")
        assert "read-only" in line(pilot, "notice")
        assert isinstance(pilot.app.screen, HistoryScreen)
        await pilot.press("y")
        assert "sent to the terminal's clipboard" in line(pilot, "notice")
    assert file.read_bytes() == before


async def test_the_whole_change_and_its_revision(file: Path) -> None:
    revision = change(file, "acme", 1000, "a reason " * 30)
    async with shown(file) as pilot:
        await pilot.press("y")
        assert pilot.app.clipboard == revision
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert "a reason a reason" in dialog(pilot)
        assert "+acme = 10" in dialog(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen))


async def test_text_from_outside_is_only_text(file: Path) -> None:
    change(file, "acme", 1000, HOSTILE, user="evil\x1b]0;x\x07")
    async with shown(file, (120, 40)) as pilot:
        await until_shown(pilot, lambda: "+acme = 10" in details(pilot))
        everything = details(pilot) + "".join(rows(pilot))
        assert "\x1b" not in everything
        assert "\u202e" not in everything
        assert "sk-…" in everything
        assert "abcdef" not in pilot.app.export_screenshot()


async def test_a_broken_history_says_so_and_comes_back(file: Path) -> None:
    change(file, "acme", 1000, "one")
    kept = history_path(file).read_bytes()
    async with shown(file) as pilot:
        for beside in file.parent.glob("h.sqlite3-*"):
            beside.unlink()
        history_path(file).write_bytes(b"no database at all, for sure" * 100)
        await pilot.press("f5")
        await until_shown(pilot, lambda: " ! " in line(pilot, "notice"))
        assert "h.sqlite3" in line(pilot, "notice")
        history_path(file).write_bytes(kept)
        await pilot.press("f5")
        await until_shown(pilot, lambda: "kim" in "".join(rows(pilot)))


async def test_times_are_in_utc_whatever_zone_a_row_has(file: Path) -> None:
    tokyo = datetime(2026, 10, 2, 1, 30, tzinfo=timezone(timedelta(hours=9)))
    many(file, 1, tokyo)
    async with shown(file, (120, 40)) as pilot:
        assert "2026-10-01 16:30:00" in rows(pilot)[0]


def many(file: Path, count: int, at: datetime | None = None) -> None:
    """Write rows into the history as another console would, but fast."""
    history, data = History(history_path(file)), file.read_bytes()
    begin = at or datetime(2026, 10, 1, tzinfo=UTC)
    new = NewChange(
        file, begin, Actor("kim", "gw-02"), "set", "chat", "acme", "1", "2", "r0", "", "a" * 64,
        revision_of(data), data, data,
    )  # fmt: skip
    history.record(new)
    with closing(sqlite3.connect(history_path(file))) as db, db:
        db.row_factory = sqlite3.Row
        first = dict(db.execute("SELECT * FROM changes").fetchone())
        names = [name for name in first if name != "id"]
        places = ", ".join("?" for _ in names)
        db.executemany(
            f"INSERT INTO changes ({', '.join(names)}) VALUES ({places})",
            (
                [{**first, "reason": f"r{i}", "org": f"org-{i}"}[name] for name in names]
                for i in range(1, count)
            ),
        )


async def test_ten_thousand_rows_are_drawn_as_they_are_seen(file: Path) -> None:
    many(file, 10_000)
    async with shown(file) as pilot:
        table = pilot.app.screen.query_one(LineTable)
        await until_shown(pilot, lambda: len(table.rows) == 10_000)
        assert PAGE < 10_000
        await pilot.press("G", "g")
        await pilot.press(*["j"] * 20)
        assert table.cursor == 20
        assert len(table._drawn) < 200, "rows that are not seen are drawn"
        await pilot.press("slash", *"org-9999")
        await until_shown(pilot, lambda: "1 of 10,000" in line(pilot, "status"))
        await until_shown(pilot, lambda: "org-9999" in rows(pilot)[0])


async def test_a_long_history_is_read_to_its_end_while_changes_are_made(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change begins a read, and a page takes longer than it is until the next change."""
    many(file, 5_000)
    read, pages = History.rows, list[int]()

    def slowly(history: History, path: Path, limit: int | None = 100, **more: Any) -> list[Change]:
        found = read(history, path, limit, **more)
        if limit == PAGE:
            pages.append(len(found))
            time.sleep(0.05)
        return found

    async with shown(file) as pilot:
        screen, table = pilot.app.screen, pilot.app.screen.query_one(LineTable)
        assert isinstance(screen, HistoryScreen)
        monkeypatch.setattr(History, "rows", slowly)
        screen.action_reload()
        while not screen._view.complete:
            assert len(pages) < 30, "it is read from the beginning again and again"
            screen.history_changed()
            before = len(pages)
            await until_shown(pilot, lambda: len(pages) > before)  # noqa: B023
        await until_shown(pilot, lambda: len(table.rows) == 5_000)


async def test_a_history_that_was_deleted_and_begun_anew_is_read_anew(file: Path) -> None:
    """As from a backup: its ids are lower than those that were read, and nothing seemed new."""
    many(file, 300)
    async with shown(file) as pilot:
        await until_shown(pilot, lambda: "300 changes" in line(pilot, "status"))
        screen = pilot.app.screen
        assert isinstance(screen, HistoryScreen)
        for one in file.parent.glob("h.sqlite3*"):
            one.unlink()
        switch = switch_of(file)
        switch.open()
        switch.apply(switch.planner.plan_rollback("chat", "acme", "5xx"), reason="5xx")
        await until_shown(pilot, lambda: "1 change " in line(pilot, "status"))
        assert "rollback chat / acme" in rows(pilot)[0]


async def test_a_rollback_is_marked_and_said(file: Path) -> None:
    switch = switch_of(file)
    switch.open()
    switch.apply(
        switch.planner.plan_rollback("chat", "acme", "5xx"),
        reason="5xx",
        verdict="rollback: 5xx 40%",
    )
    assert parse(file.read_bytes()).routes["chat"].org_rolled_back("acme")
    async with shown(file, (200, 60)) as pilot:
        assert "↩ " in rows(pilot)[0]
        assert "rollback chat / acme" in rows(pilot)[0]
        assert "rollback: 5xx 40%" in rows(pilot)[0]


async def test_the_report_of_a_rollback_is_written_from_the_screen(
    file: Path, tmp_path: Path
) -> None:
    now = float(int(time.time()))  # a report counts by the second
    written(file.parent / "access.jsonl", storm(begin=now - 90, rolled_back=now - 40, seconds=80))
    switch = switch_at(file, now - 40)
    switch.history = History(history_path(file))
    switch.apply(switch.planner.plan_rollback("chat"), reason="5xx")
    folder = tmp_path / "reports"
    async with shown(file) as pilot:
        for turn in ("new", "kept", "replaced"):
            await pilot.press("w")
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
            pilot.app.screen.query_one(Input).value = str(folder)
            await pilot.press("enter")
            if turn != "new":
                await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
                assert "Replace the earlier report?" in dialog(pilot)
                await until_ready(pilot)
                await pilot.press("y" if turn == "replaced" else "n")
            said = "nothing was written" if turn == "kept" else "written: incident-"
            await until_shown(pilot, lambda said=said: said in line(pilot, "notice"))  # type: ignore[misc]
            if turn == "new":
                (text,) = folder.glob("*.md")
                wrote = text.read_text()
                assert "rolled back 50 s after the first bad request" in wrote
                assert len(list(folder.iterdir())) == 3
                text.write_text(wrote + "\nmine")
            else:
                assert ("mine" in text.read_text()) is (turn == "kept")


async def test_without_a_rollback_the_report_says_so(file: Path) -> None:
    change(file, "acme", 1000, "one")
    async with shown(file) as pilot:
        await pilot.press("w")
        await until_shown(pilot, lambda: "no rollback is in the history" in line(pilot, "notice"))


async def test_read_only_writes_no_report(file: Path) -> None:
    change(file, "acme", 1000, "one")
    async with shown(file, read_only=True) as pilot:
        await pilot.press("w")
        await until_shown(pilot, lambda: "read-only" in line(pilot, "notice"))
