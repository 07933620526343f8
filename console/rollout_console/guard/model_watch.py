"""The catalogue, watched: a route's model that is on its way out, or gone."""

from datetime import datetime

from rollout_console.guard.alerts import ModelTrouble
from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import ending
from rollout_gate.file.model import RolloutFile

EVERY_S = 600.0
SOON_DAYS = 30
"""How long before its end a model is told of."""


def model_troubles(room: Catalogue, file: RolloutFile, now: datetime) -> dict[str, ModelTrouble]:
    """Return, by route, what is wrong with its model as the catalogue was last read.

    Without a catalogue nothing is said of any.
    """
    if not room.shelf.models:
        return {}
    found: dict[str, ModelTrouble] = {}
    for route in file.routes.values():
        if not route.model or not route.most_points:
            continue
        model = room.shelf.find(route.model)
        if model is None:
            said = f"TokenLab has no model {route.model} any more"
            found[route.name] = ModelTrouble(said, holds=True)
        elif said := ending(model, now, SOON_DAYS):
            found[route.name] = ModelTrouble(said, model.stage == "retired")
    return found
