"""Online checks: the catalogue has each route's model, and the previous side is reachable."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from rollout_console.common.folders import folder_of
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import ending, unfit
from rollout_console.readiness.checks.credentials import check_keys
from rollout_console.readiness.checks.prometheus import check_answers
from rollout_console.readiness.checks.result import Result, result_of
from rollout_console.tokenlab.errors import ApiError, Refused
from rollout_console.tokenlab.models import ModelInfo
from rollout_gate.file.errors import FileError
from rollout_gate.file.model import MEDIA_FORMATS, RolloutFile, Route
from rollout_gate.file.parse import parse
from rollout_gate.file.read import Unreadable, read_file
from rollout_gate.secret import Secret

PLAN_DAYS = 90
"""Assumed duration of a rollout in days: a model must not sunset within it."""


async def check_online(
    room: ApiKeys, models: Catalogue, path: Path, plan_days: int = PLAN_DAYS
) -> list[Result]:
    """Check credentials, keys, models and previous sides; the last two need a valid file."""
    try:
        file = parse(read_file(path)[0])
    except (Unreadable, FileError):
        return await check_keys(room, None)
    key = room.vault.resolve(room.profile, "api_key").secret
    found, routes, figures = await asyncio.gather(
        check_keys(room, file.guard.min_balance_usd, file.budgets.values()),
        check_routes(file, models, key, room.now(), plan_days),
        check_answers(file, folder_of(path).absolute()),
    )
    return found + routes + figures


async def check_routes(
    file: RolloutFile, room: Catalogue, key: Secret | None, now: datetime, plan_days: int
) -> list[Result]:
    """Check every route's model against the catalogue, and the reachability of its previous side.

    ``plan_days`` is the duration of the rollout in days, see PLAN_DAYS.
    """
    found, sides = await asyncio.gather(
        _models(file, room, key, now, plan_days),
        asyncio.gather(*map(_previous, file.routes.values())),
    )
    return [*found, *sides]


async def _models(
    file: RolloutFile, room: Catalogue, key: Secret | None, now: datetime, plan_days: int
) -> list[Result]:
    names = sorted({route.model for route in file.routes.values() if route.model})
    asked = asyncio.gather(*map(room.detail, names))
    try:
        found_models, (allowed, refusal) = await asyncio.gather(asked, _allowed(room, key))
        details = dict(zip(names, found_models, strict=True))
    except ApiError as error:
        reason = f"no model can be checked: {error}"
        return [Result("catalogue.answers", False, room.base_url, reason, "try again later")]
    found = [Result("catalogue.answers", True, room.base_url, "the catalogue can be read")]
    if key is not None:
        found.append(
            result_of("key.accepted", room.base_url, refusal, "TokenLab takes the API key",
                 "see rollout-console keys doctor, and keys verify")
        )  # fmt: skip
    for route in file.routes.values():
        if route.model:
            found += _one_model(route, details[route.model], allowed, now, plan_days)
    return found


async def _allowed(room: Catalogue, key: Secret | None) -> tuple[set[str] | None, str]:
    if key is None:
        return None, ""
    try:
        return await room.allowed(key), ""
    except Refused as error:
        return None, str(error)
    except ApiError:
        # An unreachable API is reported by catalogue.answers already.
        return None, ""


def _one_model(
    route: Route, model: ModelInfo | None, allowed: set[str] | None, now: datetime, plan_days: int
) -> Iterable[Result]:
    where = f"routes.{route.name}.model"
    choose = "choose another with rollout-console models"
    if model is None:
        yield Result("model.exists", False, where, f"TokenLab has no model {route.model}", choose)
        return
    yield Result("model.exists", True, where, f"TokenLab has {model.id}")
    instead = f"move to {model.replacement}" if model.replacement else choose
    yield result_of("model.active", where, ending(model, now, plan_days), f"{model.stage}", instead)
    yield result_of("model.format", where, _unfit(route, model), f"it takes {route.format}", choose)
    if allowed is not None:
        listed = bool(allowed.intersection(model.names))
        yield result_of(
            "key.model_allowed", where,
            "" if listed else f"the API key may not use {model.id}", "the API key may use it",
            "add it to the key's models with rollout-console keys models, or on the keys screen",
        )  # fmt: skip


def _unfit(route: Route, model: ModelInfo) -> str:
    if route.format not in MEDIA_FORMATS and model.formats is None:
        return f"TokenLab does not say which formats {model.id} takes"
    return unfit(model, route.format)


async def _previous(route: Route) -> Result:
    from rollout_console.tokenlab.reach import answers

    where = f"routes.{route.name}.previous_base_url"
    fix = "a rollback must lead somewhere: bring it back before traffic moves"
    if not route.previous_base_url:
        return Result("previous.answers", False, where, "there is no previous side", fix)
    alive, said = await answers(route.format, route.previous_base_url)
    said = f"the previous side {said}"
    return result_of("previous.answers", where, "" if alive else said, said, fix)
