"""Dialog flows of the models screen: choose a filter, show a contract, set a route's model."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec.structs import replace
from textual.app import App

from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import ModelFilter, contract_lines, unfit
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.models import ModelInfo
from rollout_console.ui.dialogs.choice import ChoiceDialog
from rollout_console.ui.dialogs.form import Field, FormDialog
from rollout_console.ui.dialogs.money import parse_usd, usd_problem
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.off_loop import off_loop
from rollout_console.ui.screens.models.cells import side_by_side
from rollout_gate.file.model import RolloutFile, Route

_MOST_WIDE = 120


class Listener(Protocol):
    """The screen that starts the flows."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message; ``bad`` marks a problem."""

    def show(self) -> None:
        """Redraw the screen."""


class ModelFlows:
    """One method for each key that opens a dialog."""

    def __init__(self, app: App[None], room: Catalogue, listener: Listener) -> None:
        self._app = app
        self._room = room
        self._listener = listener

    async def choose(self, title: str, known: Sequence[str], now: str) -> str | None:
        """Ask for one of ``known``, or any (an empty text); return None if cancelled."""
        choices = ["any", *known]
        place = choices.index(now) if now in choices else 0
        chosen = await self._app.push_screen_wait(ChoiceDialog(title, choices, place))
        return None if chosen is None else ("" if chosen == 0 else choices[chosen])

    async def price(self, wanted: ModelFilter) -> ModelFilter:
        """Ask for a maximum price in US dollars; return the filter, as it was if cancelled."""
        now = "" if wanted.most_usd is None else f"{wanted.most_usd:f}"
        hint = "per 1M input tokens, or per request; empty for any"
        field = Field("price", "at most $", now, hint,
                      check=lambda text: usd_problem(text) if text.strip() else "")  # fmt: skip
        form = FormDialog("Price", (field,))
        values = await self._app.push_screen_wait(form)
        if values is None:
            return wanted
        return replace(wanted, most_usd=parse_usd(values["price"]))

    async def known(self, model: ModelInfo) -> ModelInfo:
        """Return a model with its full contract from the API, or as it is if that fails."""
        if model.formats is not None:
            return model
        self._listener.say(f"reading the contract of {model.id}…")
        try:
            found = await off_loop(lambda: self._room.detail(model.id))
        except ApiError as error:
            self._listener.say(f"its contract is not known: {error}", bad=True)
            return model
        self._listener.say("")
        self._listener.show()
        return found or model

    async def contract(self, model: ModelInfo) -> None:
        """Show everything that is known of a model."""
        found = await self.known(model)
        lines = [f"{name:<13} {words}" for name, words in contract_lines(found)]
        change = self._room.changes.get(model.id)
        if change:
            lines = [f"since the last look: {change}", "", *lines]
        await self._app.push_screen_wait(TextDialog(model.id, lines))

    async def compare(self, one: ModelInfo, other: ModelInfo) -> None:
        """Show two models side by side."""
        both = [await self.known(model) for model in (one, other)]
        width = min(self._app.size.width, _MOST_WIDE)
        lines = side_by_side(both[0], both[1], width - 4)
        title = f"{one.id} and {other.id}"
        await self._app.push_screen_wait(TextDialog(title, lines, width=width))

    async def use(
        self, model: ModelInfo, file: RolloutFile, change: Callable[[str, str], Any]
    ) -> None:
        """Ask for a route and set its model; ``change`` plans, confirms and applies that."""
        found = await self.known(model)
        routes = list(file.routes.values())
        fits = [_why_not_on(found, route) for route in routes]
        choices = [_choice(route, reason) for route, reason in zip(routes, fits, strict=True)]
        fitting = [i for i, reason in enumerate(fits) if not reason]
        dialog = ChoiceDialog(f"{found.id}: on which route?", choices, fitting[0] if fitting else 0)
        chosen = await self._app.push_screen_wait(dialog)
        if chosen is None:
            return
        if fits[chosen]:
            self._listener.say(f"{routes[chosen].name}: {fits[chosen]}", bad=True)
            return
        await change(routes[chosen].name, found.id)


def _why_not_on(model: ModelInfo, route: Route) -> str:
    return f"{model.id} is retired" if model.stage == "retired" else unfit(model, route.format)


def _choice(route: Route, reason: str) -> str:
    return f"{route.name}: {route.model or 'no model'} now" + (f" ({reason})" if reason else "")
