"""Checks of credentials, balance and API keys: what stops traffic although the file is right."""

from decimal import Decimal
from pathlib import Path

from console.gate.load import Unreadable, read_file
from console.operations.check import Result
from console.operations.errors import OperationError
from console.operations.keys import KeyRoom
from console.rollout.errors import FileError
from console.rollout.parse import parse
from console.tokenlab.errors import ApiError


async def check_keys(room: KeyRoom, path: Path) -> list[Result]:
    """Return a result for each rule; a file that cannot be used is told of by the other checks."""
    found = []
    for credential in room.doctor():
        name = f"credential.{credential.purpose}"
        known = credential.secret is not None
        reason = f"from {credential.source}" if known else credential.problem
        found.append(Result(name, known, room.profile, reason, "see rollout-console keys doctor"))
    if not found[-1].ok:
        return found
    try:
        balance = await room.balance()
        keys = await room.keys()
    except (ApiError, OperationError) as error:
        return [*found, Result("api.answers", False, room.base_url, str(error), "try again later")]
    found.append(Result("api.answers", True, room.base_url, "the management API answers"))
    least = _least_balance(path)
    if least is not None:
        enough = balance.balance >= least
        reason = f"${balance.balance:,.2f}, at least ${least:,.2f} is wanted"
        found.append(Result("balance.enough", enough, room.profile, reason, "recharge"))
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


def _least_balance(path: Path) -> Decimal | None:
    try:
        return parse(read_file(path)[0]).guard.min_balance_usd
    except (Unreadable, FileError):
        return None
