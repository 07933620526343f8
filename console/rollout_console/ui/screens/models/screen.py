"""The models screen: TokenLab's catalogue, the evidence for its models, a model for a route."""

import asyncio
from functools import partial
from time import time
from typing import ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from rollout_console.common.durations import seconds_text
from rollout_console.common.safe_text import visible
from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import contract_lines
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.models import SCENES, ModelInfo
from rollout_console.ui.keymap import CONTEXTS, MODEL_KEYS, SCENE_KEYS, Key
from rollout_console.ui.off_loop import off_loop
from rollout_console.ui.reading import Reading
from rollout_console.ui.screens.base import ChangingScreen
from rollout_console.ui.screens.home.status import CHANGES_NOTHING, StatusFacts
from rollout_console.ui.screens.models.actions import ModelFlows
from rollout_console.ui.screens.models.cells import ModelCells
from rollout_console.ui.screens.models.state import ModelView
from rollout_console.ui.session import Session
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable

EVERY_S = 300.0
"""Seconds between reloads of the catalogue while the screen is open."""
_FRESH_S = 60.0
_OLD_S = 3600.0
_SETTLED_S = 0.3


class ModelsScreen(ChangingScreen):
    """Lists models from the cached catalogue at once, and reloads it from the API."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in MODEL_KEYS]
    CONTEXT = "models"
    KEYS = MODEL_KEYS
    NOTICE = "#models-notice"

    DEFAULT_CSS = """
    ModelsScreen { layout: vertical; background: $background; }
    ModelsScreen #models-status { background: $panel; }
    ModelsScreen Horizontal { height: 1fr; }
    ModelsScreen LineTable { width: 1fr; }
    ModelsScreen #contract { display: none; width: 40; border-left: solid $panel; padding: 0 1; }
    ModelsScreen.-broad #contract { display: block; }
    ModelsScreen.-vast #contract { width: 70; }
    ModelsScreen #models-search { display: none; height: 1; border: none; padding: 0 1; }
    ModelsScreen.-searching #models-search { display: block; }
    """

    def __init__(self, room: Catalogue, session: Session, facts: StatusFacts) -> None:
        super().__init__(session)
        self._room = room
        self._switch = session.switch
        self._facts = facts
        self._view = ModelView(room)
        self._compared: ModelInfo | None = None
        self._cells = ModelCells(80, "")
        self._cells_of = (0, "")
        self._reading = Reading("the catalogue", EVERY_S)
        self._detail_of = ""

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="models-status")
        yield self.alarm_line()
        yield TextLine(id="models-scenes")
        with Horizontal():
            yield LineTable[ModelInfo](self._draw_row, self._draw_header, lambda model: model.id)
            with VerticalScroll(id="contract", can_focus=False):
                yield Static("", markup=False)
        yield TextLine(id="models-notice")
        yield Input(placeholder="search: parts of an id, provider or tag", id="models-search")
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Show the cached catalogue at once, and reload it where it is older than _FRESH_S."""
        self._flows = ModelFlows(self.app, self._room, self)
        self._changing = self._session.flow(self.app, self)
        self._fit()
        self._table.focus()
        self.show()
        age = self._room.age_s()
        if age is not None and age <= _FRESH_S:
            self._reading.end(time())
        self._each_second()
        self.set_interval(1.0, self._each_second)

    def _each_second(self) -> None:
        """Read again when it is time to, and say how old the catalogue is."""
        if self._reading.is_due(time()):
            self.action_reload()
        self.draw_lines()

    def on_resize(self) -> None:
        """Adapt the layout: the columns depend on the width."""
        self._fit()

    def _fit(self) -> None:
        self.set_class(self.app.size.width >= 116, "-broad")
        self.set_class(self.app.size.width >= 160, "-vast")

    @property
    def _table(self) -> LineTable[ModelInfo]:
        return cast("LineTable[ModelInfo]", self.query_one(LineTable))

    # -- asking ----------------------------------------------------------------------------------

    def action_reload(self) -> None:
        """Reload from the API the catalogue, and the evidence of the selected scene."""
        self._reading.begin(time())
        self._read()

    @work(group="models-read", exclusive=True, exit_on_error=False)
    async def _read(self) -> None:
        scene = self._view.wanted.scene

        async def read() -> None:
            await self._room.refresh()
            if scene:
                await self._room.recommend(scene)

        try:
            await off_loop(read, is_read=True)
        except ApiError as error:
            self._trouble = str(error)
            self._reading.end(time(), error)
        else:
            self._trouble = ""
            self._reading.end(time())
        self.show()

    @work(group="models-scene", exclusive=True, exit_on_error=False)
    async def _read_scene(self, scene: str) -> None:
        try:
            await off_loop(lambda: self._room.recommend(scene), is_read=True)
        except ApiError as error:
            self._trouble = str(error)
        untouched = self._table.cursor == 0
        self.show()
        if untouched:
            self._table.move_end(last=False)

    @work(group="models-detail", exclusive=True, exit_on_error=False)
    async def _read_detail(self, model: ModelInfo) -> None:
        """Debounce the request of a detail: send it once the cursor has rested for _SETTLED_S."""
        await asyncio.sleep(_SETTLED_S)
        self._detail_of = model.id
        self._draw_contract()
        try:
            await off_loop(lambda: self._room.detail(model.id))
        except ApiError as error:
            self._trouble = str(error)
        self._detail_of = ""
        self.show()

    # -- drawing ---------------------------------------------------------------------------------

    def show(self) -> None:
        """Redraw the models that pass the filters, and the lines around them."""
        self._table.set_rows(self._view.rows())
        self.draw_lines()
        self._draw_contract()
        self.query_one(KeyBar).update_keys()

    def _draw_header(self, width: int) -> Cells:
        return self._cells_for(width - 1).header()

    def _draw_row(self, model: ModelInfo, width: int) -> Cells:
        compared = self._compared is not None and self._compared.id == model.id
        return self._cells_for(width).row(model, self._room.changes.get(model.id, ""), compared)

    def _cells_for(self, width: int) -> ModelCells:
        if self._cells_of != (width, self._view.wanted.scene):
            self._cells_of = (width, self._view.wanted.scene)
            self._cells = ModelCells(*self._cells_of)
        return self._cells

    def draw_lines(self) -> None:
        """Redraw status, scene chips and notice."""
        room, facts = self._room, self._facts
        age = room.age_s()
        none = "no catalogue yet" if self._reading.failed else ""
        said = none if age is None else f"read {seconds_text(round(age))} ago"
        words = self._reading.words(time())
        old = age is None or age > _OLD_S or bool(self._trouble)
        read = said, "$warning bold" if old else "$success"
        self.query_one("#models-status", TextLine).say(
            (" models", "bold"), (" ▸ ", "$accent"),
            (f"{len(self._table.rows)} of {len(room.shelf.models)}", "bold"),
            facts.writes,
            (f"  by {self._view.sort}", ""),
            *((f"  {one}", style) for one, style in (read, (words, "$warning")) if one),
            (f"  {visible(room.base_url)}", "$foreground 70%"),
        )  # fmt: skip
        chips: list[tuple[str, str]] = []
        for key, scene in SCENE_KEYS:
            chosen = scene == self._view.wanted.scene
            shown = facts.keymap.get(f"models.scene.{scene}", key)
            chips.append((f" {shown}", "$accent bold reverse" if chosen else "$accent bold"))
            chips.append((f" {scene}" + (" " if chosen else ""), "reverse" if chosen else ""))
        self.query_one("#models-scenes", TextLine).say(*chips)
        self.show_notice((self._view.words(), "$foreground 70%"))

    def _draw_contract(self) -> None:
        if not self.has_class("-broad"):
            return
        model = self._table.selected
        pieces: list[tuple[str, str]] = []
        if model is not None:
            change = self._room.changes.get(model.id)
            if change:
                pieces.append((f"since the last look: {visible(change)}\n\n", "$warning"))
            for name, words in contract_lines(model):
                pieces += [
                    (f"{visible(name):<12} ", "$foreground 60%"),
                    (f"{visible(words)}\n", ""),
                ]
            if self._detail_of == model.id:
                pieces.append(("\nreading its whole contract…", "$foreground 60%"))
        self.query_one("#contract Static", Static).update(Content.assemble(*pieces))

    @on(LineTable.Moved)
    def _row_changed(self) -> None:
        self._draw_contract()
        self.query_one(KeyBar).update_keys()
        model = self._table.selected
        if model is not None and model.formats is None and self.has_class("-broad"):
            self._read_detail(model)

    # -- what can be done now --------------------------------------------------------------------

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        if reason := self._facts.why_read_only(key, CHANGES_NOTHING):
            return reason
        selected = self._table.selected if self.is_mounted else None
        if key.id in ("models.contract", "models.use", "models.compare", "models.copy"):
            if selected is None:
                return "no model is selected"
            if key.id == "models.use" and self._room.changes.get(selected.id) == "gone":
                return f"{selected.id} is gone"
        return ""

    def _may(self, name: str) -> ModelInfo | None:
        return self._table.selected if self.may(f"models.{name}") else None

    # -- actions ---------------------------------------------------------------------------------

    def action_scene(self, scene: str) -> None:
        """Toggle the filter on models that are recommended for a scene."""
        scene = self._view.toggle_scene(scene)
        self.show()
        self._table.move_end(last=False)
        if scene in SCENES:
            self._read_scene(scene)

    def action_row(self, by: int) -> None:
        """Move the cursor."""
        self._table.move(by)

    def action_page(self, by: int) -> None:
        """Move half a page."""
        self._table.move_page(by)

    def action_end(self, last: bool) -> None:
        """Go to the first or the last model."""
        self._table.move_end(last)

    def action_sort(self) -> None:
        """Order by rank, price, context or id."""
        self._view.next_sort()
        self.show()

    def action_stage(self) -> None:
        """Show the next stage of the lifecycle alone."""
        self._view.next_stage()
        self.show()

    def action_changed(self) -> None:
        """Toggle the filter on models that have changed since they were marked as seen."""
        self._view.change(changed=not self._view.wanted.changed)
        self.show()

    def action_seen(self) -> None:
        """Mark the changes as seen: the current catalogue is the baseline of later ones."""
        if not self.may("models.seen"):
            return

        async def mark() -> None:
            await asyncio.to_thread(self._room.mark_seen)
            self._view.change(changed=False)
            self.show()
            self.say("seen: changes are marked against the catalogue as it is now")

        self.start(mark)

    def action_choose(self, name: str) -> None:
        """Ask for the one category, provider or tag to show."""
        shelf = self._room.shelf
        known = {"category": shelf.categories, "provider": shelf.providers, "tag": shelf.tags}[name]

        async def ask() -> None:
            chosen = await self._flows.choose(name, known, getattr(self._view.wanted, name))
            if chosen is not None:
                self._view.change(**{name: chosen})
                self.show()

        self.start(ask)

    def action_price(self) -> None:
        """Ask for a maximum price."""

        async def ask() -> None:
            self._view.wanted = await self._flows.price(self._view.wanted)
            self.show()

        self.start(ask)

    def action_contract(self) -> None:
        """Show everything that is known of the model."""
        model = self._may("contract")
        if model is not None:
            self.start(partial(self._flows.contract, model))

    def action_compare(self) -> None:
        """Mark this model for comparison, compare it with the marked one, or unmark it."""
        model = self._may("compare")
        if model is None:
            return
        one, self._compared = self._compared, None
        if one is None or one.id == model.id:
            self._compared = model if one is None else None
            self.say(f"{model.id}: = on another shows both" if one is None else "not compared")
        else:
            self.start(partial(self._flows.compare, one, model))
        self._table.set_rows(list(self._table.rows))

    def action_use(self) -> None:
        """Put the model on a route, after a diff and a confirm."""
        model = self._may("use")
        if model is not None:
            self.start(partial(self._flows.use, model, self._session.monitor.file, self._put))

    async def _put(self, route: str, model: str) -> None:
        await self._changing.run(partial(self._switch.planner.plan_model, route, model))

    def action_copy(self) -> None:
        """Copy the model's id."""
        model = self._may("copy")
        if model is not None:
            self.app.copy_to_clipboard(visible(model.id))
            self.say(f"{model.id}: sent to the terminal's clipboard")

    def action_search(self) -> None:
        """Open the search line."""
        self.add_class("-searching")
        self.set_focus(self.query_one("#models-search", Input))  # synchronously, as at home

    @on(Input.Changed, "#models-search")
    def _search_typed(self, event: Input.Changed) -> None:
        self._view.change(text=event.value)
        self.show()

    @on(Input.Submitted, "#models-search")
    def _search_done(self) -> None:
        self._table.focus()

    def go_back(self) -> bool:
        """Clear search, filters and notice; return whether there was any of them."""
        searching = self.has_class("-searching")
        self.remove_class("-searching")
        self.query_one("#models-search", Input).value = ""
        self._table.focus()
        something = self._view.reset() or searching or bool(self._told or self._trouble)
        self._told, self._trouble = "", ""
        self.show()
        return something
