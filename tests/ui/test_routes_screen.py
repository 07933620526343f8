"""The routes screen, driven by keys, against the simulator."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.events import Key
from textual.widgets import Input

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.vault import empty_vault
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.readiness.plan_file import PlanFile
from rollout_console.readiness.playbook import playbook_path
from rollout_console.sim.provider_metadata import MARK
from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.choice import ChoiceDialog
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.dialogs.pair import PairDialog
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.screens.routes.screen import RoutesScreen
from rollout_console.ui.settings import Settings
from rollout_gate.file.model import DEFAULT_BASE_URL
from rollout_gate.file.parse import parse
from tests.support.said import everything_said
from tests.support.waiting import resize, until_ready, until_shown
from tests.ui.test_home import log_lines
from tests.ui.test_models_screen import Running, dialog, line, table


@pytest.fixture
def own() -> Iterator[SimServer]:
    with SimServer(seed=6) as server:
        yield server


@asynccontextmanager
async def routes(
    file: Path, own: SimServer, size: tuple[int, int] = (100, 30), *, read_only: bool = False
) -> AsyncIterator[Running]:
    text = file.read_text().replace(DEFAULT_BASE_URL, own.base_url)
    for host in ("https://api.openai.com", "https://api.anthropic.com"):
        text = text.replace(host, own.previous_base_url)
    file.write_text(text)
    who = Actor("jo", "gw-01")
    switch = Switch(
        file, History(file.parent / "h.sqlite3"), who, access=WriteAccess(read_only=read_only)
    )
    monitor = Monitor(file, switch.open().file)
    given = Given(
        variables={"api_key": "sk-sim-demo", "management_token": "mt-sim-demo"},
        previous={"OPENAI_API_KEY": "canary-previous", "ANTHROPIC_API_KEY": "canary-previous"},
    )
    app = ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01", vault=empty_vault(given))
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await until_shown(pilot, lambda: isinstance(app.screen, RoutesScreen))
        await until_shown(pilot, lambda: len(table(pilot).rows) == 2)
        yield pilot
        assert "canary" not in app.export_screenshot()


async def confirm(pilot: Running, key: str = "y") -> None:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await until_ready(pilot)
    await pilot.press(key)


def notice(pilot: Running) -> str:
    return line(pilot, "routes-notice")


def phase(pilot: Running) -> str:
    found = pilot.app.screen.query("#phase Static")
    return str(found.first().render()) if found else ""


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_what_a_phase_waits_for(file: Path, own: SimServer, size: tuple[int, int]) -> None:
    async with routes(file, own, size) as pilot:
        await until_shown(pilot, lambda: "before rollout ends" in phase(pilot))
        assert "[ ] every org is at 100%" in phase(pilot)
        await pilot.press("j")
        await until_shown(pilot, lambda: "claude: before pilot ends" in phase(pilot))
        assert "[x] every offline check holds" in phase(pilot)


def row(pilot: Running, at: int) -> str:
    return "".join(text for text, _ in table(pilot)._line(at, table(pilot)._line_width).cells)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_what_blocks_the_next_step_is_beside_the_route(
    file: Path, own: SimServer, size: tuple[int, int]
) -> None:
    async with routes(file, own, size) as pilot:
        await until_shown(pilot, lambda: "no data" in row(pilot, 0))
        assert "missing: " in row(pilot, 1)
        await until_shown(pilot, lambda: "next step waits for: no data" in phase(pilot))
        wide = size[0] >= 200
        assert ("never" in row(pilot, 0)) is wide
        assert ("probe of tokenlab: never" in phase(pilot)) is not wide
        text = file.read_text()
        file.write_text(text.replace("rolled_back = false", "rolled_back = true", 1))
        await until_shown(pilot, lambda: pilot.app.session.monitor.file.rolled_back)  # type: ignore[attr-defined]
        await pilot.press("f5")
        await until_shown(pilot, lambda: "rolled back: o at home resumes" in row(pilot, 0))


async def test_it_is_never_ready_for_a_raise_that_is_refused(file: Path, own: SimServer) -> None:
    async with routes(file, own) as pilot:
        await until_shown(pilot, lambda: "no data" in row(pilot, 0))
        session = pilot.app.session  # type: ignore[attr-defined]
        session.models = {"chat": ModelTrouble("TokenLab has no such model", holds=True)}
        await pilot.press("f5")
        await until_shown(pilot, lambda: "TokenLab has no such model" in row(pilot, 0))
        good = file.read_bytes()
        file.write_text("[broken")
        await until_shown(pilot, lambda: bool(session.file_trouble))
        await pilot.press("f5")
        await until_shown(pilot, lambda: "the rollout file cannot be used" in row(pilot, 0))
        file.write_bytes(good)


async def test_of_many_orgs_it_says_how_many_were_judged(file: Path, own: SimServer) -> None:
    more = "".join(f"org-{number} = 0\n" for number in range(200))
    file.write_text(file.read_text().replace("acme = 25\n", f"acme = 25\n{more}", 1))
    async with routes(file, own, (200, 60)) as pilot:
        await until_shown(pilot, lambda: "of the first 50 of 202 orgs: " in row(pilot, 0))


@pytest.mark.parametrize("size", [(40, 12), (20, 5), (1, 1)])
async def test_a_small_terminal_stands(file: Path, own: SimServer, size: tuple[int, int]) -> None:
    async with routes(file, own, (120, 40)) as pilot:
        await resize(pilot, *size)
        await pilot.press("j", "k", "f5")
        await resize(pilot, 80, 24)
        await until_shown(pilot, lambda: "missing: " in row(pilot, 1))


async def test_checks_say_what_fails(file: Path, own: SimServer) -> None:
    async with routes(file, own) as pilot:
        await pilot.press("c")
        await until_shown(pilot, lambda: "none failed" in notice(pilot))
        own.state.faults.add({"status": 503, "side": "previous"})
        await pilot.press("c")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert "previous.answers" in dialog(pilot)
        assert "do: a rollback must lead somewhere" in dialog(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: "2 failed" in notice(pilot))


@pytest.mark.slow
async def test_a_probe_is_confirmed_with_its_cost_first(file: Path, own: SimServer) -> None:
    own.state.faults.add({"kind": "metadata"})
    async with routes(file, own) as pilot:
        await pilot.press("p")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert "2 requests on TokenLab, at most $0.000" in dialog(pilot)
        await confirm(pilot, "enter")
        assert not [r for r in own.state.requests if r.path.startswith("/v1/chat")]
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, RoutesScreen))
        await pilot.press("p")
        await confirm(pilot)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        rows = [row for row in dialog(pilot).splitlines() if row.startswith(("ok", "FAIL"))]
        assert [row.split()[2:4] for row in rows] == [
            ["tokenlab", "whole"], ["previous", "whole"],
            ["tokenlab", "streamed"], ["previous", "streamed"],
        ]  # fmt: skip
        assert all(row.startswith("ok") for row in rows)
        assert MARK not in pilot.app.export_screenshot()
        await pilot.press("escape")
        await until_shown(pilot, lambda: "4 probes, none failed" in notice(pilot))
        assert own.state.credential_leaks == 0
        # The home screen says so of the selected row.
        await pilot.press("1")
        await until_shown(
            pilot, lambda: "probe ok" in pilot.app.export_screenshot().replace("&#160;", " ")
        )


async def test_a_second_press_while_the_first_asks_pays_once(file: Path, own: SimServer) -> None:
    own.state.faults.add({"kind": "slow", "latency_ms": 400, "path": "/v1/models"})
    async with routes(file, own) as pilot:
        with everything_said() as said:
            for _ in range(3):  # at once, as a slow link delivers them
                pilot.app.post_message(Key("p", "p"))
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert said.in_line("routes-notice", "still running")
        await confirm(pilot)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        await pilot.press("escape")
        await pilot.pause(0.5)
        assert isinstance(pilot.app.screen, RoutesScreen), "a second confirm stood below"
        assert len(own.state.usage) == 2
        await pilot.press("p")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))


async def test_a_key_that_leaves_the_screen_does_so_once_the_action_is_over(
    file: Path, own: SimServer
) -> None:
    """Swallowed, it would have the next key act on this screen in place of the one it is for."""
    own.state.faults.add({"kind": "slow", "latency_ms": 800, "path": "/v1/models"})
    async with routes(file, own) as pilot:
        for key in "c1r":  # at once, as a slow link delivers them
            pilot.app.post_message(Key(key, key))
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await pilot.pause()
        assert isinstance(pilot.app.screen, HomeScreen), "r was for a screen that was not seen"
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))


@pytest.mark.slow
async def test_leaving_the_screen_stops_what_still_costs(
    file: Path, own: SimServer, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"say {i}"}) + "\n" for i in range(20)))
    own.state.faults.add({"kind": "slow", "latency_ms": 200, "path": "/v1/chat"})
    async with routes(file, own) as pilot:
        await pilot.press("s")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        pilot.app.screen.query_one("#field-prompts", Input).value = str(path)
        list(pilot.app.screen.query(Input))[-1].focus()
        await pilot.press("enter")
        await confirm(pilot)
        await until_shown(pilot, lambda: len(own.state.usage) >= 2)
        await pilot.press("1")
        await pilot.pause(0.6)
        spent = len(own.state.usage)
        await pilot.pause(1.0)
        assert len(own.state.usage) == spent < 20
        assert pilot.app.screen is pilot.app.screen_stack[0], "something opened over home"
        assert PlanFile(file, WriteAccess()).read().route("chat").sample is None


async def test_a_sample_from_prompts_to_tally(file: Path, own: SimServer, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"say {i}"}) + "\n" for i in range(3)))
    async with routes(file, own) as pilot:
        await pilot.press("s")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        pilot.app.screen.query_one("#field-sample", Input).value = "500"
        pilot.app.screen.query_one("#field-prompts", Input).value = str(path)
        list(pilot.app.screen.query(Input))[-1].focus()
        await pilot.press("enter")
        await until_shown(pilot, lambda: "from 1 to 200" in dialog(pilot))
        pilot.app.screen.query_one("#field-sample", Input).value = "3"
        await pilot.press("enter")
        await confirm(pilot)
        for key in ("b", "s", "w"):
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, PairDialog))
            assert "TokenLab: " in dialog(pilot)
            assert "previous: " in dialog(pilot)
            await until_ready(pilot)
            await pilot.press(key)
            await pilot.pause(0.1)
        await until_shown(
            pilot, lambda: "1 better, 1 same, 1 worse, 0 failed: kept" in notice(pilot)
        )
        sample = PlanFile(file, WriteAccess()).read().route("chat").sample
        assert sample is not None
        assert (sample.better, sample.same, sample.worse) == (1, 1, 1)
        assert "say 1" not in PlanFile(file, WriteAccess()).path.read_text()


async def test_a_bad_prompt_file_is_one_sentence(file: Path, own: SimServer) -> None:
    async with routes(file, own) as pilot:
        await pilot.press("s")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        pilot.app.screen.query_one("#field-prompts", Input).value = "/no/such/file"
        list(pilot.app.screen.query(Input))[-1].focus()
        await pilot.press("enter")
        await until_shown(pilot, lambda: "cannot be read" in notice(pilot))


async def test_ticks_owner_and_playbook(file: Path, own: SimServer) -> None:
    async with routes(file, own) as pilot:
        await pilot.press("j", "x")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        await pilot.press(*"fine", "enter")
        await until_shown(pilot, lambda: "jo@gw-01" in phase(pilot))
        assert (
            PlanFile(file, WriteAccess()).read().route("claude").ticks["pilot.cost"].note == "fine"
        )
        await pilot.press("x")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        await pilot.press("enter")
        await until_shown(
            pilot, lambda: not PlanFile(file, WriteAccess()).read().route("claude").ticks
        )
        await pilot.press("o")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        pilot.app.screen.query_one("#field-owner", Input).value = "ann"
        pilot.app.screen.query_one("#field-contacts", Input).value = "#gw, ann@x"
        list(pilot.app.screen.query(Input))[-1].focus()
        await pilot.press("enter")
        await until_shown(pilot, lambda: "owner: ann" in phase(pilot))
        await pilot.press("w")
        await until_shown(pilot, lambda: "playbook was written" in notice(pilot))
        assert "- Contacts: #gw, ann@x" in playbook_path(file).read_text()


@pytest.mark.slow
async def test_moving_on_asks_for_a_reason_where_something_is_missing(
    file: Path, own: SimServer
) -> None:
    async with routes(file, own) as pilot:
        await pilot.press("j", "n")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert "claude: phase pilot to shadow" in dialog(pilot)
        assert "not ready: 3 of what ends pilot is missing" in dialog(pilot)
        assert "[ ] usage records show the cost" in dialog(pilot)
        await until_ready(pilot)
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, ConfirmDialog), "an empty reason is none"
        await pilot.press(*"accepted", "enter")
        await until_shown(pilot, lambda: "done: claude" in notice(pilot))
        assert parse(file.read_bytes()).routes["claude"].phase == "shadow"
        await pilot.press("N")
        await confirm(pilot)
        history = History(file.parent / "h.sqlite3")
        await until_shown(pilot, lambda: len(history.rows(file, 9)) > 1)
        assert parse(file.read_bytes()).routes["claude"].phase == "pilot"
        await pilot.pause(1.0)
        rows = history.rows(file, 9)
        assert [row.action for row in rows] == ["phase", "phase"], "ours was taken for a stranger's"
        assert rows[1].reason == "accepted"
        assert "is missing" in rows[1].verdict


async def test_somebody_elses_edit_meanwhile_is_not_overwritten(file: Path, own: SimServer) -> None:
    async with routes(file, own) as pilot:
        await pilot.press("j", "N")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        theirs = file.read_bytes().replace(b"acme = 1\n", b"acme = 2\n")
        file.write_bytes(theirs)
        await confirm(pilot)
        await until_shown(pilot, lambda: "another writer" in notice(pilot))
        assert file.read_bytes() == theirs


async def test_read_only_changes_and_sends_nothing(file: Path, own: SimServer) -> None:
    async with routes(file, own, read_only=True) as pilot:
        before = file.read_bytes()
        for key in ("p", "s", "x", "n", "N", "o", "w"):
            await pilot.press(key)
            await until_shown(pilot, lambda: "read-only" in notice(pilot))
            await pilot.press("escape")
        assert file.read_bytes() == before
        assert not PlanFile(file, WriteAccess()).path.exists()
        assert not own.state.usage


async def test_a_broken_plan_is_said_and_the_screen_stays(file: Path, own: SimServer) -> None:
    async with routes(file, own) as pilot:
        PlanFile(file, WriteAccess()).path.write_text("[broken")
        await pilot.press("f5")
        await until_shown(pilot, lambda: "rollout.plan.toml cannot be used" in notice(pilot))
        PlanFile(file, WriteAccess()).path.unlink()
        await pilot.press("escape", "f5")
        await until_shown(pilot, lambda: "before rollout ends" in phase(pilot))


@pytest.mark.slow
async def test_the_verdict_has_the_same_figures_in_the_list_and_in_its_check(
    file: Path, own: SimServer
) -> None:
    """The checks are read every few seconds, and the verdict is another one each second."""
    log_lines(file, 40, 503, orgs=("acme", "globex.eu"))
    async with routes(file, own, (80, 24)) as pilot:
        for errors in (40, 44, 48):
            said = f"{errors} of {errors}, limit 2%"
            await until_shown(pilot, lambda: "next step waits for: ROLL BACK: 5xx" in phase(pilot))
            await until_shown(pilot, lambda: phase(pilot).count(said) == 2)  # noqa: B023
            assert row(pilot, 0).rstrip().endswith(f" s, {errors} of {errors}"), "whole clauses"
            log_lines(file, 4, 503, orgs=("acme", "globex.eu"))
