"""Check model names against TokenLab's catalogue, and find the one that a log's name means."""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import unfit
from rollout_console.scaffold.draft import RouteDraft, model_problem
from rollout_console.scaffold.request_log import undated
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.models import ModelInfo
from rollout_gate.file.model import MEDIA_FORMATS

_CLOSE = 0.6


class ModelNames:
    """Answers whether TokenLab has a model that serves a format; without a catalogue, any name is.

    ``unchecked`` says why no name is checked, empty where they are.
    """

    def __init__(self, room: Catalogue | None, unchecked: str = "") -> None:
        self._room = room
        self.unchecked = unchecked
        self._details: dict[str, ModelInfo | None] = {}

    @property
    def count(self) -> int:
        """The number of models in the catalogue."""
        return 0 if self._room is None else len(self._room.shelf.models)

    def problem(self, route_format: str, model: str) -> str:
        """Return why a model cannot be a route's, empty where it can, as far as is known."""
        if not model:
            needed = route_format in MEDIA_FORMATS
            return "names no model, and a media route needs one" if needed else ""
        if (said := model_problem(model)) or self._room is None:
            return said
        found = self._detail(model)
        if found is None:
            return f"is no model at TokenLab{self._near(route_format, model)}"
        said = unfit(found, route_format)
        return f"cannot be used: {said}" if said else ""

    def meant(self, route: RouteDraft) -> RouteDraft:
        """Return a route with TokenLab's model for the one that it names today.

        A snapshot's date is left out where only the undated name is in the catalogue; without a
        model there, the route has none, and says why.
        """
        for name in dict.fromkeys((route.model, undated(route.model))):
            if not name or not self.problem(route.format, name):
                return replace(route, model=name)
        why = f"{route.model} {self.problem(route.format, route.model)}"
        return replace(route, model="", why_no_model=why)

    def fitting(self, route_format: str, text: str = "") -> Sequence[ModelInfo]:
        """Return the models of the catalogue that may serve a format, with ``text`` in the id."""
        if self._room is None:
            return []
        models = [m for m in self._room.shelf.models if not unfit(m, route_format)]
        return sorted((m for m in models if text.lower() in m.id.lower()), key=lambda m: m.id)

    def _detail(self, model: str) -> ModelInfo | None:
        assert self._room is not None
        if model not in self._details:
            try:
                self._details[model] = asyncio.run(self._room.detail(model))
            except ApiError:
                self._details[model] = self._room.shelf.find(model)
        return self._details[model]

    def _near(self, route_format: str, model: str) -> str:
        from difflib import get_close_matches  # lazy import: only errors need it

        ids = [one.id for one in self.fitting(route_format)]
        close = get_close_matches(model, ids, 2, _CLOSE)
        return f"; did you mean {' or '.join(close)}?" if close else ""


def no_models(why: str) -> ModelNames:
    """Return a ModelNames that checks nothing, for the reason given."""
    return ModelNames(None, why)
