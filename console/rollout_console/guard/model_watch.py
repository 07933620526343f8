"""Model deprecation watch: routes whose model is deprecated, retired or gone from the catalogue."""

from datetime import datetime

from rollout_console.guard.alerts import ModelTrouble
from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import ending
from rollout_gate.file.model import RolloutFile

EVERY_S = 600.0
SOON_DAYS = 30
"""Days before its sunset from which a model is reported."""


def model_troubles(room: Catalogue, file: RolloutFile, now: datetime) -> dict[str, ModelTrouble]:
    """Return, by route, the problem with its model, from the catalogue as last fetched.

    It is empty without a catalogue. Routes without traffic on TokenLab are left out.
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
