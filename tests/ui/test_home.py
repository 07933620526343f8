"""The home screen, driven by keys, on a real file and a real log."""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.command import CommandList
from textual.pilot import Pilot
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.leader_lock import LeaderLock
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp_record import Out, RampRecord
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.palette import Palette
from rollout_console.ui.settings import Settings, load_settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Line, _difference
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.model import DEFAULT_BASE_URL
from rollout_gate.file.parse import parse
from tests.support.unprivileged import NOBODY, folder_of_nobody
from tests.support.waiting import resize, until_ready, until_shown

Running = Pilot[None]


def app_of(file: Path, *, read_only: bool = False, settings: Settings | None = None) -> ConsoleApp:
    who = Actor("jo", "gw-01")
    switch = Switch(
        file, History(file.parent / "h.sqlite3"), who, access=WriteAccess(read_only=read_only)
    )
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, settings or Settings(), user=who.user, host=who.host)


@asynccontextmanager
async def running(app: ConsoleApp, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Running]:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield pilot


async def confirm(pilot: Running, key: str = "y") -> None:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await until_ready(pilot)
    await pilot.press(key)
    await until_shown(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))


def share(file: Path, org: str = "acme") -> tuple[int, bool]:
    route = parse(file.read_bytes()).routes["chat"]
    return route.org_points(org), route.org_rolled_back(org)


def notices(pilot: Running) -> str:
    return " ".join(pilot.app.screen.query_one(f"#notice-{i}", TextLine).text for i in (1, 2))


def screen_text(pilot: Running) -> str:
    table = pilot.app.query_one(RolloutTable)
    return "\n".join(table.render_line(y).text for y in range(table.size.height))


def log_lines(
    file: Path,
    count: int,
    status: int = 200,
    side: str = "tokenlab",
    *,
    route: str = "chat",
    orgs: Sequence[str] = ("acme",),
    failing: str = "",
) -> None:
    """Append lines of each org in turn; every second one of ``failing`` is a 503."""
    log = AccessLog(file.parent / "access.jsonl")
    for number in range(count):
        org = orgs[number % len(orgs)]
        fails = org == failing and number // len(orgs) % 2
        log.append(
            AccessLine(
                ts=timestamp(), route=route, org=org, side=side, model="m",
                status=503 if fails else status, latency_ms=120.0,
            )
        )  # fmt: skip
    log.close()


def alarm(pilot: Running) -> str:
    return pilot.app.home.query_one("#alarm", TextLine).text  # type: ignore[attr-defined,no-any-return]


async def test_changes_of_a_colleague_show_though_the_text_is_as_before(file: Path) -> None:
    async with running(app_of(file), size=(140, 40)) as pilot:
        changes = pilot.app.screen.query_one("#changes", Static)
        await until_shown(pilot, lambda: "none yet" in str(changes.content))
        colleague = Switch(file, History(file.parent / "h.sqlite3"), Actor("kim", "gw-02"))
        colleague.open()
        colleague.apply(colleague.planner.plan_set("chat", "acme", 1000), reason="lower")
        colleague.apply(colleague.planner.plan_set("chat", "acme", 2500), reason="and back")
        colleague.note("undelivered", "chat", None, "", "the pager is down", "drill")
        await until_shown(pilot, lambda: "the pager is down" in str(changes.content))
        assert str(changes.content).count("kim") == 3


async def test_somebody_elses_edit_appears_and_stays(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        text = file.read_text().replace('"globex.eu" = 12.5', '"globex.eu" = 77')
        file.write_text(text)
        await until_shown(pilot, lambda: " 77 " in screen_text(pilot))
        await until_shown(pilot, lambda: "changed by somebody else" in notices(pilot))
        assert file.read_text() == text


async def test_a_broken_file_is_said_and_the_console_stays(file: Path) -> None:
    good = file.read_bytes()
    async with running(app_of(file)) as pilot:
        file.write_bytes(b"[routes.chat\n")
        await until_shown(pilot, lambda: "line 1" in notices(pilot))
        assert "acme" in screen_text(pilot)
        file.write_bytes(good)
        await until_shown(pilot, lambda: "line 1" not in notices(pilot))
        file.unlink()
        await until_shown(pilot, lambda: "does not exist" in notices(pilot))
        assert "! FILE MISSING" in pilot.app.screen.query_one("#status", TextLine).text
        file.write_bytes(good)
        await until_shown(pilot, lambda: "does not exist" not in notices(pilot))


async def test_a_broken_file_stays_said_and_no_change_is_offered_on_it(file: Path) -> None:
    good = file.read_bytes()
    async with running(app_of(file), size=(120, 40)) as pilot:
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: "rolled back: " in notices(pilot))
        good = file.read_bytes()
        file.write_bytes(good.replace(b'globex.eu" = 12.5', b'globex.eu" = 130'))
        await until_shown(pilot, lambda: "130" in notices(pilot))
        assert str(file.parent) not in notices(pilot), "the line and column are what is read"
        await pilot.press("escape", "escape")
        await pilot.pause(0.3)
        assert "130" in notices(pilot), "no change can be made while that lasts"
        assert "FILE BROKEN" in pilot.app.screen.query_one("#status", TextLine).text
        await pilot.press("j", "plus")
        await until_shown(pilot, lambda: "correct it first" in notices(pilot))
        assert not isinstance(pilot.app.screen, ConfirmDialog)
        file.write_bytes(good)
        await until_shown(
            pilot, lambda: "BROKEN" not in pilot.app.screen.query_one("#status", TextLine).text
        )


async def test_an_undo_says_what_the_next_one_takes_back(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        for _ in range(2):
            await pilot.press("r")
            await confirm(pilot)
            await until_shown(pilot, lambda: share(file)[1])
            await until_shown(pilot, lambda: "acme rolled back" in notices(pilot))
            await pilot.press("u")
            await confirm(pilot)
            await until_shown(pilot, lambda: not share(file)[1])
            await until_shown(pilot, lambda: "back in force" in notices(pilot))
            assert "u takes back the change before" in notices(pilot)


async def test_nothing_to_resume_on_a_route_names_its_orgs_that_are(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("k", "o")  # initech is rolled back in the sample
        await until_shown(pilot, lambda: "route chat is not rolled back" in notices(pilot))
        assert "rolled back within it: chat / initech" in notices(pilot)


async def test_a_raise_of_one_org_resumes_no_whole_route(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: parse(file.read_bytes()).routes["chat"].rolled_back)
        table = pilot.app.query_one(RolloutTable)
        await until_shown(pilot, lambda: getattr(table.selected, "latched_by", "") == "route")
        await pilot.press("plus")
        await until_shown(pilot, lambda: "o resumes route chat" in notices(pilot))
        assert not isinstance(pilot.app.screen, ConfirmDialog)
        await pilot.press("o")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))


async def test_a_filter_that_nothing_matches_says_so(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("slash", *"zzz", "enter")
        await until_shown(pilot, lambda: "no route or org matches 'zzz'" in notices(pilot))
        await pilot.press("escape")
        await until_shown(pilot, lambda: "no route or org" not in notices(pilot))
        assert "acme" in screen_text(pilot)


async def test_a_row_that_is_rolled_back_has_no_verdict_of_before(file: Path) -> None:
    log_lines(file, 30, status=500)
    file.write_text(
        file.read_text().replace("acme = 25", "acme = { percent = 25, rolled_back = true }", 1)
    )
    async with running(app_of(file), size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: "quiet for" in screen_text(pilot))


async def test_a_broken_file_is_rolled_back_on_its_last_good_version(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        file.write_bytes(b"[routes.chat\n")
        await until_shown(pilot, lambda: "line 1" in notices(pilot))
        await pilot.press("R")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        shown = " ".join(str(s.render()) for s in pilot.app.screen.query(Static))
        assert "last good version" in shown
        assert "line 1" in shown
        await confirm(pilot)
        await until_shown(pilot, lambda: "kept as rollout.toml.broken-" in notices(pilot))
        assert parse(file.read_bytes()).routes["chat"].rolled_back
        assert "line 1" not in notices(pilot)


async def test_read_only_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    async with running(app_of(file, read_only=True)) as pilot:
        for key in ("r", "R", "exclamation_mark", "plus", "minus", "e", "u", "o"):
            await pilot.press(key)
            await pilot.pause()
            assert not isinstance(pilot.app.screen, ConfirmDialog)
        assert "read-only" in notices(pilot)
    assert file.read_bytes() == before
    assert not (file.parent / "h.sqlite3").exists()


async def test_the_filter_and_its_inverse(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("slash", *"glob", "enter")
        await pilot.pause()
        assert "acme" not in screen_text(pilot)
        assert "globex.eu" in screen_text(pilot)
        await pilot.press("escape", "slash", *"!glob", "enter")
        await pilot.pause()
        assert "acme" in screen_text(pilot)
        assert "globex.eu" not in screen_text(pilot)


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (120, 40), (200, 60)])
async def test_every_size_stands(file: Path, size: tuple[int, int]) -> None:
    async with running(app_of(file), size) as pilot:
        log_lines(file, 5)
        await pilot.press("j", "G", "g", "c", "question_mark")
        await pilot.pause(0.1)
        await pilot.press("escape")
        await resize(pilot, 20, 5)
        await resize(pilot, *size)
        await pilot.press("z")
        if "acme" not in screen_text(pilot):  # they were unfolded
            await pilot.press("z")
        await pilot.press("g", "j")
        assert "acme" in screen_text(pilot) or size[1] <= 5


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (60, 20), (80, 24)])
async def test_what_is_rolled_back_is_said_in_every_size(file: Path, size: tuple[int, int]) -> None:
    file.write_text(file.read_text().replace("rolled_back = false", "rolled_back = true", 1))
    async with running(app_of(file), size) as pilot:
        status = pilot.app.screen.query_one("#status", TextLine)
        await until_shown(pilot, lambda: "ALL ROLLED" in status.text[: size[0]])
        await pilot.press("z")
        rows = screen_text(pilot).split("\n")[1:]
        rows = [text for text in rows if "claud" in text or "chat" in text or "acme" in text]
        assert rows
        assert all("↩" in row for row in rows)


async def test_hostile_names_are_shown_as_text(file: Path) -> None:
    text = file.read_text().replace("acme = 25", '"[b]x[/b]\\u001b[31m\\u202e" = 25', 1)
    file.write_text(text)
    async with running(app_of(file)) as pilot:
        shown = screen_text(pilot)
        assert "[b]x[/b]" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert "\x1b" not in pilot.app.export_screenshot()


@pytest.mark.slow
async def test_random_keys_never_change_the_file_without_a_confirm(file: Path) -> None:
    before = file.read_bytes()
    keys = [*"reuojkGga1cnRNsz ", "exclamation_mark", "plus", "minus", "slash", "enter", "escape"]
    keys += ["tab", "question_mark", "colon"]
    rng = random.Random(12)
    async with running(app_of(file)) as pilot:
        for _ in range(250):
            key = rng.choice(keys)
            if (
                pilot.app.screen.id == "--command-palette"
                or type(pilot.app.screen).__name__ == "CommandPalette"
            ):
                key = "escape"
            await pilot.press(key)
        assert pilot.app.is_running
    assert file.read_bytes() == before


async def test_a_keymap_is_obeyed_and_its_faults_are_said(file: Path) -> None:
    folder = file.parent.parent / "config" / "rollout-console"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        'theme = "none"\n[keymap]\nrollback = "x"\nlower = "ctrl+s"\nnope = "y"\nundo = "q"\n'
    )
    settings = load_settings()
    assert settings.keymap == {"rollback": "x"}
    assert len(settings.troubles) == 3
    async with running(app_of(file, settings=settings)) as pilot:
        await pilot.press("r")
        await pilot.pause(0.1)
        assert not isinstance(pilot.app.screen, ConfirmDialog)
        await pilot.press("x")
        await confirm(pilot, "n")


async def test_a_large_file_draws_what_is_seen_alone(file: Path) -> None:
    orgs = "".join(f"org-{i} = 5\n" for i in range(10_000))
    route = '\n[routes.big]\nformat = "image"\n[routes.big.orgs]\n'
    file.write_text(file.read_text() + route + orgs)
    async with running(app_of(file)) as pilot:
        table = pilot.app.query_one(RolloutTable)
        assert "big (10000)" in screen_text(pilot), "folded: it would hide the other routes"
        await pilot.press("z", "G")
        await until_shown(pilot, lambda: "org-9999" in screen_text(pilot))
        assert len(table._drawn) < 200


@pytest.mark.parametrize(
    ("one", "other", "cells"),
    [
        ("acme  1.0", "acme  2.0", (6, 7)),
        ("日本  1.0", "日本  2.0", (6, 7)),
        ("acme  ok", "acme  hold", (0, 10)),
        ("same", "same", (0, 4)),
    ],
)
def test_only_the_cells_that_differ_are_drawn_again(
    one: str, other: str, cells: tuple[int, int]
) -> None:
    assert _difference(Line(((one, ""),)), Line(((other, "x"),))) == cells


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_lines_that_cannot_be_used_are_said_until_they_are_over(
    file: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = file.parent / "access.jsonl"
    log.write_text('{"ts":1764076800000,"route":"chat","org":"acme","status":503}\n' * 200)
    app = app_of(file)
    async with running(app, size) as pilot:
        await until_shown(
            pilot, lambda: "200 lines of the access log cannot be used" in notices(pilot)
        )
        assert "the first: ts is no RFC 3339 time" in notices(pilot)
        assert "200 lines unusable" in pilot.app.screen.query_one("#status", TextLine).text
        await pilot.press("5")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query("#live-figures")))
        names = ("#live-figures", "#live-event")
        lines = [pilot.app.screen.query_one(name, TextLine) for name in names]
        said = "cannot be used; the first: ts"
        await until_shown(pilot, lambda: all(said in line.text for line in lines))
        monkeypatch.setattr("rollout_console.guard.line_quality.UNUSABLE_S", 0.0)
        await pilot.press("1")
        await until_shown(pilot, lambda: "cannot be used" not in notices(pilot))
        assert "no data yet" in pilot.app.screen.query_one("#status", TextLine).text


async def test_no_line_lets_control_characters_through(file: Path) -> None:
    text = file.read_text().replace("acme = 25", r'"a\u001b]52;c;QQ==\u0007\u202e" = 25', 1)
    file.write_text(text)
    async with running(app_of(file)) as pilot:
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: "rolled back" in notices(pilot))
        assert "\u001b" not in notices(pilot)
        assert "\u202e" not in notices(pilot)
        assert "a·]52;c;QQ==··" in notices(pilot)


async def test_whether_a_guard_runs_is_in_the_header(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.workers.GUARD_EVERY_S", 0.1)
    file.write_text(file.read_text().replace('mode = "hold"', 'mode = "enforce"'))
    async with running(app_of(file), (100, 30)) as pilot:
        status = pilot.app.screen.query_one("#status", TextLine)
        await until_shown(pilot, lambda: "guard: enforce, no guard running" in status.text)
        lock = LeaderLock(file)
        assert lock.hold()
        await until_shown(pilot, lambda: "guard: enforce ●" in status.text)
        lock.release()
        await until_shown(pilot, lambda: "no guard running" in status.text)


async def test_an_org_goes_back_into_its_ramp(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.ui.workers.GUARD_EVERY_S", 0.1)
    record = RampRecord(file, WriteAccess())
    why = "changed outside the guard from 25% to 10%"
    record.take_out("chat", {"acme": Out(datetime.now(UTC), why)})
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: bool(pilot.app.home._out))  # type: ignore[attr-defined]
        await pilot.press("b")
        await confirm(pilot)
        await until_shown(pilot, lambda: not record.read()["chat"].out)
        await until_shown(pilot, lambda: bool(History(file.parent / "h.sqlite3").rows(file, 9)))
        (row,) = History(file.parent / "h.sqlite3").rows(file, 9)
        assert (row.action, row.route, row.org) == ("put_back", "chat", "acme")
        assert row.reason == "changed outside the guard from 25% to 10%"
        await pilot.press("j", "b")
        await until_shown(pilot, lambda: "has not taken it out" in notices(pilot))


async def test_a_model_that_is_gone_is_an_alert_and_holds_a_raise(
    file: Path, monkeypatch: pytest.MonkeyPatch, sim: SimServer
) -> None:
    monkeypatch.setattr("rollout_console.ui.workers.MODELS_FIRST_S", 0.1)
    text = file.read_text().replace(DEFAULT_BASE_URL, sim.base_url)
    file.write_text(text.replace('model = "gpt-5.4"', 'model = "gpt-gone"'))
    app = app_of(file)
    async with running(app) as pilot:
        said = "TokenLab has no model gpt-gone any more"
        await until_shown(
            pilot, lambda: any(said in alert.sentence for alert in app.session.alerts.open)
        )
        await pilot.press("plus")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        held = pilot.app.screen.query(".held").results(Static)
        assert any(said in str(one.render()) for one in held)


async def test_a_proof_ends_when_its_latch_is_taken_out_of_the_file(file: Path) -> None:
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: "rolled back: " in notices(pilot))
        file.write_bytes(before)
        await until_shown(pilot, lambda: "was changed by somebody else" in notices(pilot))
        assert "chat rolled back: " not in notices(pilot)
        assert "chat resumed" in notices(pilot)


@pytest.mark.parametrize(("table", "label"), [("keys", "alias batch"), ("flags", "flag batch")])
async def test_shares_by_alias_and_flag_are_rows_and_are_set(
    file: Path, table: str, label: str
) -> None:
    header = f"[routes.chat.{table}]"
    text = file.read_text()
    (whole,) = (line for line in text.splitlines() if line.startswith(header))
    file.write_text(text.replace(whole, f"{whole}\nbatch = 50"))

    def points() -> int:
        route = parse(file.read_bytes()).routes["chat"]
        return (route.keys if table == "keys" else route.flags)["batch"]

    async with running(app_of(file), size=(120, 40)) as pilot:
        assert f" {label} " in screen_text(pilot)
        found = pilot.app.query_one(RolloutTable)
        found.move_to(next(i for i, row in enumerate(found.rows) if row.label == label))
        before = file.read_bytes()
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: points() == 0)
        await until_shown(pilot, lambda: f"{label} 50% to 0%" in notices(pilot))
        await pilot.press("r")
        await until_shown(pilot, lambda: f"{label} is at 0% already" in notices(pilot))
        file.write_bytes(before)
        await until_shown(pilot, lambda: getattr(found.selected, "points", 0) == 5000)
        await pilot.press("e", *"12.5", "enter")
        await confirm(pilot)
        await until_shown(pilot, lambda: points() == 1250)
        await until_shown(pilot, lambda: f"{label} 50% to 12.5%" in notices(pilot))
        assert " 12.5 " in screen_text(pilot)
        await pilot.press("minus")
        await confirm(pilot)
        await until_shown(pilot, lambda: points() < 1250)
        lowered = points()
        await until_shown(pilot, lambda: getattr(found.selected, "points", 0) == lowered)
        await pilot.press("plus")  # a raise by alias or flag reaches more than one org
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y")
        await pilot.pause(0.2)
        assert points() == lowered
        await pilot.press("escape")
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: parse(file.read_bytes()).routes["chat"].rolled_back)
        await until_shown(pilot, lambda: "↩ rolled back" in screen_text(pilot))


async def test_a_palette_that_is_left_while_it_searches_ends_nothing(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("colon")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, Palette))
        palette = pilot.app.screen
        await palette.query_one(CommandList).remove()
        palette._list_visible = not palette._list_visible  # type: ignore[attr-defined]
        await pilot.pause(0.1)
        assert pilot.app._exception is None
        await pilot.press("escape")
        await until_shown(pilot, lambda: pilot.app.screen is pilot.app.home)  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_a_file_that_cannot_be_replaced_is_said_before_a_rollback_is_tried(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.workers.WRITE_ACCESS_EVERY_S", 0.1)
    with folder_of_nobody() as folder:
        there = folder / "rollout.toml"
        there.write_bytes(file.read_bytes())
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)
        try:
            async with running(app_of(there), (100, 24)) as pilot:

                def status(name: str = "status") -> str:
                    return pilot.app.screen.query_one(f"#{name}", TextLine).text

                await until_shown(pilot, lambda: "  cannot write  " in status())
                assert "  rw" not in status()
                said = "rollout.toml cannot be written, a rollback neither: permission denied in"
                assert said in notices(pilot)
                await pilot.press("4")
                await until_shown(pilot, lambda: bool(pilot.app.screen.query("#routes-status")))
                await until_shown(pilot, lambda: "  cannot write  " in status("routes-status"))
                await pilot.press("1", "r")
                await confirm(pilot, "escape")  # it may be tried all the same
                folder.chmod(0o755)
                await until_shown(pilot, lambda: "  rw  " in status())
                assert "cannot be written" not in notices(pilot)
        finally:
            if is_root:
                os.seteuid(0)
