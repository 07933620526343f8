"""The models screen, driven by keys, against the simulator."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from rollout_console.changes.switch import Switch
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import ModelFilter, Shelf
from rollout_console.sim.provider_metadata import MARK
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.models import SCENES, ModelInfo, Price
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.choice import ChoiceDialog
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.keymap import MODEL_KEYS, SCENE_KEYS
from rollout_console.ui.screens.models.cells import ModelCells
from rollout_console.ui.screens.models.screen import ModelsScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable
from rollout_gate.file.parse import parse
from tests.support.said import everything_said
from tests.support.waiting import until_ready, until_shown

Running = Pilot[None]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[SimServer]:
    with SimServer(seed=5) as server:
        yield server


def app_of(file: Path, url: str, *, read_only: bool = False) -> ConsoleApp:
    file.write_text(file.read_text().replace("https://api.tokenlab.sh", url))
    switch = Switch(
        file,
        History(file.parent / "h.sqlite3"),
        Actor("jo", "gw-01"),
        access=WriteAccess(read_only=read_only),
    )
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")


@asynccontextmanager
async def models(app: ConsoleApp, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Running]:
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await until_shown(pilot, lambda: isinstance(app.screen, ModelsScreen))
        await until_shown(pilot, lambda: bool(ids(pilot)) or "!" in line(pilot, "models-notice"))
        yield pilot


def table(pilot: Running) -> LineTable[Any]:
    return pilot.app.screen.query_one(LineTable)


def ids(pilot: Running) -> list[str]:
    if not isinstance(pilot.app.screen, ModelsScreen):
        return []
    return [model.id for model in table(pilot).rows]


def scored_for(pilot: Running, scene: str) -> bool:
    found = table(pilot).rows
    return bool(found) and all(scene in model.evidence for model in found)


def line(pilot: Running, name: str) -> str:
    found = pilot.app.screen.query(f"#{name}").results(TextLine)
    return next((one.text for one in found), "")


def shown(pilot: Running) -> list[str]:
    svg = pilot.app.export_screenshot()
    return [re.sub(r"<[^>]+>|&#160;", " ", row) for row in re.findall(r"<text.*?</text>", svg)]


def dialog(pilot: Running) -> str:
    return "\n".join(str(one.render()) for one in pilot.app.screen.query(Static))


async def test_it_lists_and_a_chip_ranks(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url)) as pilot:
        assert len(ids(pilot)) >= 150
        assert "of 1" in line(pilot, "models-status")
        for key, scene in SCENE_KEYS:
            await pilot.press(key)
            await until_shown(pilot, partial(scored_for, pilot, scene))
            ranks = [m.evidence[scene].rank for m in table(pilot).rows]
            scored = [rank for rank in ranks if rank is not None]
            assert ranks[: len(scored)] == sorted(scored)
            assert table(pilot).cursor == 0
        await pilot.press(SCENE_KEYS[-1][0])
        assert len(ids(pilot)) >= 150
        assert {scene for _, scene in SCENE_KEYS} == set(SCENES)


async def test_the_first_catalogue_is_said_to_be_read(file: Path, own: SimServer) -> None:
    own.state.faults.add({"kind": "slow", "latency_ms": 900, "path": "/v1/models"})
    app = app_of(file, own.base_url)
    with everything_said() as said:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("3")
            await until_shown(pilot, lambda: len(ids(pilot)) >= 150)
            await until_shown(pilot, lambda: "reading" not in line(pilot, "models-status"))
    assert said.in_line("models-status", "reading the catalogue…")
    assert not said.in_line("models-status", "no catalogue"), "that is not known yet"


async def test_search_filters_and_orders(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url)) as pilot:
        await pilot.press("slash", *"5.4", "enter")
        assert ids(pilot) == ["gpt-5.4", "gpt-5.4-mini"]
        await pilot.press("escape")
        assert len(ids(pilot)) >= 150
        await pilot.press("c")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        await pilot.press("j", "enter")
        await until_shown(pilot, lambda: bool(ids(pilot)))
        assert {model.category for model in table(pilot).rows} == {"3d"}
        await pilot.press("escape", "f", "f")
        assert {model.stage for model in table(pilot).rows} == {"preview"}
        await pilot.press("escape", "o")
        prices = [model.price.sort_key for model in table(pilot).rows]
        assert prices == sorted(prices)
        await pilot.press("dollar_sign")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query("#field-price")))
        await pilot.press(*"free", "enter")
        assert "not an amount" in dialog(pilot)
        pilot.app.screen.query_one("#field-price", Input).value = "0.05"
        await pilot.press("enter")
        await until_shown(pilot, lambda: 0 < len(ids(pilot)) < 50)
        assert "at most $0.05" in line(pilot, "models-notice")


async def test_the_whole_contract_and_two_side_by_side(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url)) as pilot:
        await pilot.press("slash", *"claude-sonnet", "enter", "enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        text = dialog(pilot)
        for word in ("anthropic_messages", "200,000 tokens", "$3 in, $15 out", "active", "alias"):
            assert word in text
        await pilot.press("escape", "equals_sign")
        assert "= on another shows both" in line(pilot, "models-notice")
        await pilot.press("escape", "slash", *"gpt-5.4-mini", "enter", "equals_sign")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        text = dialog(pilot)
        assert "claude-sonnet-4-6 and gpt-5.4-mini" in text
        assert "≠ price" in text
        assert "  category" in text


async def test_the_pane_at_120_follows_the_cursor(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url), (120, 40)) as pilot:
        await pilot.press("slash", *"5.4", "enter")
        pane = pilot.app.screen.query_one("#contract Static", Static)
        await until_shown(pilot, lambda: "openai_responses" in str(pane.render()))
        await pilot.press("j")
        await until_shown(pilot, lambda: "$0.25 in" in str(pane.render()))


async def test_a_model_goes_on_a_route_after_a_confirm(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url)) as pilot:
        await pilot.press("slash", *"5.4-mini", "enter", "u")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert "chat: model gpt-5.4 to gpt-5.4-mini" in dialog(pilot)
        assert '+model = "gpt-5.4-mini"' in dialog(pilot)
        await until_ready(pilot)
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen))
        assert parse(file.read_bytes()).routes["chat"].model == "gpt-5.4", "enter confirmed"
        await pilot.press("u")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y")
        await until_shown(pilot, lambda: "done: chat" in line(pilot, "models-notice"))
        assert parse(file.read_bytes()).routes["chat"].model == "gpt-5.4-mini"
        # Another screen's undo takes it back.
        await pilot.press("1", "u")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y")
        await until_shown(pilot, lambda: parse(file.read_bytes()).routes["chat"].model == "gpt-5.4")


async def test_a_model_that_does_not_take_the_format_is_refused(file: Path, own: SimServer) -> None:
    before = file.read_bytes().replace(b"https://api.tokenlab.sh", own.base_url.encode())
    async with models(app_of(file, own.base_url)) as pilot:
        await pilot.press("slash", *"5.4-mini", "enter", "u")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        await pilot.press("j", "enter")
        await until_shown(pilot, lambda: "does not accept" in line(pilot, "models-notice"))
    assert file.read_bytes() == before


async def test_read_only_changes_nothing(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url, read_only=True)) as pilot:
        await pilot.press("u")
        await until_shown(pilot, lambda: "read-only" in line(pilot, "models-notice"))
        assert isinstance(pilot.app.screen, ModelsScreen)


async def test_read_only_leaves_the_last_look_where_it_is(file: Path, own: SimServer) -> None:
    room = Catalogue(own.base_url, state_folder())
    await room.refresh()
    own.state.catalogue.pop("gpt-5.4-mini")
    async with models(app_of(file, own.base_url, read_only=True)) as pilot:
        await pilot.press("f5")
        await until_shown(pilot, lambda: "1 changed since" in line(pilot, "models-notice"))
        seen = next(key for key in MODEL_KEYS if key.id == "models.seen")
        screen = pilot.app.screen
        assert isinstance(screen, ModelsScreen)
        assert "read-only" in screen.why_not(seen), "the key is dimmed"
        await pilot.press("S")
        await until_shown(pilot, lambda: "read-only" in line(pilot, "models-notice"))
    assert Catalogue(own.base_url, state_folder()).changes == {"gpt-5.4-mini": "gone"}


@pytest.mark.parametrize("scene", ["", "video"])
def test_nothing_of_the_catalogue_steers_the_terminal(scene: str) -> None:
    evil = "\x1b]0;evil\x07\u202e"
    price = Price(unit=evil, per_request=Decimal(1))
    model = ModelInfo(evil, evil, evil, (evil,), (evil,), price=price, stage=evil)
    for width in (80, 160):
        drawn = "".join(text for text, _ in ModelCells(width, scene).row(model, evil, False))
        assert not set(evil) & set(drawn) - set("]0;evil")


async def test_changes_since_the_last_look(file: Path, own: SimServer) -> None:
    room = Catalogue(own.base_url, state_folder())
    await room.refresh()
    gone = own.state.catalogue.pop("gpt-5.4-mini")
    own.state.catalogue["brand-new"] = own.state.catalogue["gpt-5.4"].__class__(
        **{f: getattr(gone, f) for f in gone.__slots__} | {"id": "brand-new"}
    )
    async with models(app_of(file, own.base_url)) as pilot:
        await pilot.press("f5")
        await until_shown(pilot, lambda: "2 changed since" in line(pilot, "models-notice"))
        await pilot.press("asterisk")
        await until_shown(pilot, lambda: sorted(ids(pilot)) == ["brand-new", "gpt-5.4-mini"])
        await pilot.press("S")
        await until_shown(pilot, lambda: "seen" in line(pilot, "models-notice"))
        assert len(ids(pilot)) >= 150
        assert room.gone == []


async def test_what_another_screen_learns_does_not_bring_old_news_back(
    file: Path, own: SimServer
) -> None:
    room = Catalogue(own.base_url, state_folder())
    await room.refresh()
    own.state.catalogue.pop("gpt-5.4-mini")
    app = app_of(file, own.base_url)
    async with models(app) as pilot:
        await pilot.press("4", "3", "f5")
        await until_shown(pilot, lambda: "1 changed since" in line(pilot, "models-notice"))
        await pilot.press("S")
        # Until the action is over, which it says last, keys are taken for its dialog's.
        await until_shown(pilot, lambda: "seen: changes are" in line(pilot, "models-notice"))
        # A check on the routes screen reads details, and keeps them in the same catalogue.
        await pilot.press("4", "c")
        failed = re.compile("[0-9] failed")
        await until_shown(
            pilot,
            lambda: (
                failed.search(line(pilot, "routes-notice")) or isinstance(app.screen, TextDialog)
            ),
        )
    assert Catalogue(own.base_url, state_folder()).changes == {}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_from_the_cache_when_the_api_is_away(
    file: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    with SimServer(seed=5) as server:
        url = server.base_url
        await Catalogue(url, state_folder()).refresh()
    cached = next(state_folder().glob("models-*.json"))
    kept = msgspec.json.decode(cached.read_bytes())
    kept["at"] = "2026-01-01T00:00:00Z"
    cached.write_bytes(msgspec.json.encode(kept))
    async with models(app_of(file, url), size) as pilot:
        await until_shown(pilot, lambda: "cannot be reached" in line(pilot, "models-notice"))
        assert len(ids(pilot)) >= 150
        assert re.search(r"read \d+d .* ago", line(pilot, "models-status"))
        await pilot.press("slash", *"5.4", "enter", "enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))


async def test_no_cache_and_no_api_is_one_sentence(file: Path) -> None:
    async with models(app_of(file, "http://127.0.0.1:9")) as pilot:
        assert "cannot be reached" in line(pilot, "models-notice")
        assert "no catalogue yet" in line(pilot, "models-status")
        await pilot.press("u")
        await until_shown(pilot, lambda: "no model is selected" in line(pilot, "models-notice"))


async def test_routing_metadata_never_shows(file: Path, own: SimServer) -> None:
    own.state.faults.add({"kind": "metadata"})
    async with models(app_of(file, own.base_url), (120, 40)) as pilot:
        await pilot.press("v")
        await pilot.pause(1)
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert MARK not in pilot.app.export_screenshot()
    for kept in state_folder().rglob("*"):
        assert not kept.is_file() or MARK.encode() not in kept.read_bytes()


async def test_filtering_ten_thousand_never_touches_them_all_again(
    file: Path, own: SimServer
) -> None:
    """What a key press costs is one pass over folded texts; no row out of sight is drawn."""
    room = Catalogue(own.base_url, state_folder())
    await room.refresh()
    base = room.shelf.models
    many = [
        msgspec.structs.replace(base[i % len(base)], id=f"m{i}-{base[i % len(base)].id}")
        for i in range(10_000)
    ]
    app = app_of(file, own.base_url)
    async with models(app) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ModelsScreen)
        screen._room._shelf = Shelf(many)
        drawn = 0
        draw = table(pilot)._draw_row

        def counted(model: ModelInfo, width: int) -> Cells:
            nonlocal drawn
            drawn += 1
            return draw(model, width)

        table(pilot)._draw_row = counted
        await pilot.press("slash", *"gpt")
        wanted = len(Shelf(many).select(ModelFilter(text="gpt"), "rank"))
        await until_shown(pilot, lambda: len(ids(pilot)) == wanted > 100)
        assert 0 < drawn < 400


async def test_escape_closes_an_empty_search_and_stays(file: Path, own: SimServer) -> None:
    async with models(app_of(file, own.base_url)) as pilot:
        await pilot.press("slash")
        await until_shown(pilot, lambda: pilot.app.screen.has_class("-searching"))
        await pilot.press("escape")
        await until_shown(pilot, lambda: not pilot.app.screen.has_class("-searching"))
        assert isinstance(pilot.app.screen, ModelsScreen)
