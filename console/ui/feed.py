"""The workers that look at the file, the log and the balance, again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from textual.message import Message

from console.operations.balance import BalanceSource
from console.operations.errors import OperationError
from console.operations.monitor import Monitor
from console.operations.switch import Switch
from console.rollout.errors import RolloutError
from console.tokenlab.errors import ApiError, Refused
from console.ui.messages import BalanceRead, FileChanged, FileTrouble, KeysRead, LogRead
from console.vault.errors import VaultError

Post = Callable[[Message], object]

FILE_EVERY_S = 0.25
LOG_EVERY_S = 1.0
KEYS_FIRST_S = 3.0
KEYS_EVERY_S = 600.0
BALANCE_EVERY_S = 10.0
BALANCE_AT_MOST_S = 300.0


async def follow_file(switch: Switch, lock: asyncio.Lock, post: Post) -> None:
    """Tell of each change of the file. ``lock`` keeps this apart from a change being made."""
    trouble = ""
    while True:
        await asyncio.sleep(FILE_EVERY_S)
        now = ""
        try:
            async with lock:
                found = await asyncio.to_thread(switch.refresh, settled=True)
        except RolloutError as error:
            now = str(error)
        else:
            if found is not None:
                post(FileChanged(*found))
        if now != trouble:
            trouble = now
            post(FileTrouble(now))


async def follow_log(monitor: Monitor, post: Post) -> None:
    """Tell of the lines that have come; a long log is caught up with piece by piece."""
    while True:
        records, trouble = await asyncio.to_thread(monitor.read)
        post(LogRead(records, trouble))
        # Each piece is handled before the next is read, so a burst cannot pile up.
        await asyncio.sleep(0.05 if len(records) >= monitor.piece else LOG_EVERY_S)


async def follow_keys(warn: Callable[[], str], post: Post) -> None:
    """Tell ahead of keys that expire or near their limit; what cannot be asked is not said here."""
    await asyncio.sleep(KEYS_FIRST_S)
    while True:
        # The balance, asked for more often with the same token, tells of what fails here.
        with suppress(ApiError, OperationError, VaultError):
            post(KeysRead(await asyncio.to_thread(warn)))
        await asyncio.sleep(KEYS_EVERY_S)


async def follow_balance(
    source: Callable[[], BalanceSource | str],
    post: Post,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell of the balance; after a failure wait twice as long each time, up to five minutes."""
    wait = BALANCE_EVERY_S
    while True:
        # A keyring may take its three seconds to say nothing.
        found = await asyncio.to_thread(source)
        if isinstance(found, str):
            post(BalanceRead(None, found, BALANCE_AT_MOST_S))
            await sleep(BALANCE_AT_MOST_S)
            continue
        try:
            balance = await found.fetch()
        except ApiError as error:
            told = error.retry_after_s if isinstance(error, Refused) else None
            wait = min(BALANCE_AT_MOST_S, max(told or 0.0, wait * 2))
            post(BalanceRead(None, str(error), wait))
        else:
            wait = BALANCE_EVERY_S
            post(BalanceRead(balance))
        await sleep(wait)
