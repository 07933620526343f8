"""Checks of credentials, balance and API keys, which can stop traffic of a valid file."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal

from rollout_console.common.errors import OperationError
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.key_values import starts
from rollout_console.readiness.checks.result import Result, result_of
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.types import ApiKey
from rollout_gate.file.model import Budget


async def check_keys(
    room: ApiKeys, least: Decimal | None, budgets: Iterable[Budget] = ()
) -> list[Result]:
    """Return a result for each rule; ``least`` is the required balance in US dollars, if any.

    Of ``budgets``, the API keys that they name are looked for.
    """
    found = []
    for credential in room.doctor():
        name = f"credential.{credential.purpose}"
        known = credential.secret is not None
        reason = f"from {credential.source}" if known else credential.problem
        found.append(Result(name, known, room.profile, reason, "see rollout-console keys doctor"))
    if not found[-1].ok:
        return found
    try:
        balance, keys = await asyncio.gather(room.balance(), room.keys())
    except (ApiError, OperationError) as error:
        return [*found, Result("api.answers", False, room.base_url, str(error), "try again later")]
    found.append(Result("api.answers", True, room.base_url, "the management API answers"))
    if least is not None:
        enough = balance.balance >= least
        reason = f"${balance.balance:,.2f}, at least ${least:,.2f} is wanted"
        found.append(Result("balance.enough", enough, room.profile, reason, "recharge"))
    found += _key_in_use(room, keys)
    found += _of_budgets(budgets, keys)
    warnings = room.warnings(keys)
    found += [
        Result(
            "key.lasts", warning.level == "note", warning.key.name, warning.sentence,
            "rotate it, or raise its limit, with rollout-console keys",
        )
        for warning in warnings
    ]  # fmt: skip
    if not warnings:
        found.append(Result("key.lasts", True, room.profile, "no key ends soon"))
    return found


def _of_budgets(budgets: Iterable[Budget], keys: Iterable[ApiKey]) -> Iterable[Result]:
    """Check that TokenLab has the keys that budgets name: of another nothing is ever counted."""
    known = {name for key in keys for name in (key.id, key.name)}
    for budget in budgets:
        if budget.key:
            missing = budget.key not in known
            yield result_of(
                "budget.key", f"budgets.{budget.name}.key",
                f"TokenLab has no API key {budget.key!r}: nothing counts as its" if missing else "",
                "TokenLab has that API key", "write a name or an id of rollout-console keys list",
            )  # fmt: skip


def _key_in_use(room: ApiKeys, keys: Iterable[ApiKey]) -> Iterable[Result]:
    """Check the key that this profile sends, matched to the API's list by the key's prefix.

    Yields nothing without a single match.
    """
    secret = room.vault.resolve(room.profile, "api_key").secret
    if secret is None:
        return
    mine = [key for key in keys if starts(secret.reveal(), key.prefix)]
    if len(mine) != 1:
        return
    ended = mine[0].expires_at is not None and mine[0].expires_at <= room.now()
    problem = "it has expired" if ended else ""
    problem = problem if mine[0].status == "active" else f"it is {mine[0].status}"
    share = mine[0].used_share
    if not problem and share is not None and share >= 1:
        problem = "its own spending limit is used up"
    yield result_of("key.in_order", mine[0].name, problem, "the API key in use is active",
               "rotate it, or raise its limit, with rollout-console keys")  # fmt: skip
