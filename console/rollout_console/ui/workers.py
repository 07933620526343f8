"""Polling workers: the rollout file, the history, the log, the balance and other sources."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message
from textual.screen import Screen
from textual.worker import WorkType

from rollout_console.changes.errors import NoFile, StoreError
from rollout_console.changes.replaceable import why_not_replaceable
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import OperationError
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.balance import BalanceSource, BalanceSources
from rollout_console.guard.leader_lock import guard_acts
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp_record import RampRecord
from rollout_console.health.log.probe_log import last_probes, probe_log_path
from rollout_console.tokenlab.errors import ApiError, Refused
from rollout_console.ui.messages import (
    BalanceRead,
    FileChanged,
    FileTrouble,
    GuardSeen,
    HistoryChanged,
    KeysRead,
    LogRead,
    ModelsSeen,
    OlderRead,
    ProbesRead,
    SettingsChanged,
    WriteTrouble,
)
from rollout_console.ui.settings import load_settings, settings_stamp
from rollout_gate.file.errors import RolloutError

if TYPE_CHECKING:
    from rollout_console.guard.budget_counter import BudgetCounter
    from rollout_console.ui.session import Session

Post = Callable[[Message], object]

AGAIN_S = 5.0
FILE_EVERY_S = 0.25
WRITE_ACCESS_EVERY_S = 5.0
HISTORY_EVERY_S = 0.5
LOG_EVERY_S = 1.0
PROBES_EVERY_S = 5.0
GUARD_EVERY_S = 3.0
MODELS_FIRST_S = 60.0
MODELS_EVERY_S = 600.0
SETTINGS_EVERY_S = 1.0
KEYS_FIRST_S = 3.0
KEYS_EVERY_S = 600.0
SPENDING_EVERY_S = 10.0
BALANCE_FIRST_S = 0.5
"""Seconds after the first frame: finding a credential loads the keyring and the HTTP client."""
BALANCE_EVERY_S = 10.0
BALANCE_AT_MOST_S = 300.0


async def follow_file(switch: Switch, lock: asyncio.Lock, post: Post) -> None:
    """Poll the file and post each change and error; ``lock`` excludes a change being made."""
    trouble = ""
    while True:
        await asyncio.sleep(FILE_EVERY_S)
        now, is_missing = "", False
        try:
            async with lock:
                found = await asyncio.to_thread(switch.refresh, settled=True)
        except RolloutError as error:
            now = str(error)
            is_missing = await asyncio.to_thread(_is_missing, switch, error)
        else:
            if found is not None:
                post(FileChanged(*found))
        if now != trouble:
            trouble = now
            post(FileTrouble(now, is_missing=is_missing))


async def follow_write_access(switch: Switch, post: Post) -> None:
    """Ask, at once and now and then, whether the file can be replaced; post each other answer.

    An operator is to know before the incident. Of a file in etcd the copy here decides nothing.
    """
    known = ""
    while not switch.access.read_only and switch.shared is None:
        found = await asyncio.to_thread(why_not_replaceable, switch.path)
        if found != known:
            known = found
            post(WriteTrouble(found))
        await asyncio.sleep(WRITE_ACCESS_EVERY_S)


async def follow_history(switch: Switch, post: Post) -> None:
    """Poll the history and post that it may have new rows.

    A change undone between two polls of the file leaves no other trace.
    """
    while True:
        if await asyncio.to_thread(switch.history_changed):
            post(HistoryChanged())
        await asyncio.sleep(HISTORY_EVERY_S)


async def follow_log(monitor: Monitor, post: Post, has_read: asyncio.Event) -> None:
    """Read new records of the access log and post them; a long log is read in bounded chunks.

    ``has_read`` is set after each read.
    """
    while True:
        records, trouble = await asyncio.to_thread(monitor.read)
        post(LogRead(records, trouble))
        has_read.set()
        # Backpressure: each chunk is handled before the next is read, so a burst does not queue up.
        await asyncio.sleep(0.02 if monitor.behind else LOG_EVERY_S)


async def follow_older(monitor: Monitor, post: Post, has_read: asyncio.Event) -> None:
    """Backfill: post, part by part, the log's data that is older than the first record read.

    A read finds out whether there is any, so each that ``has_read`` tells is waited for.
    """
    while True:
        await has_read.wait()
        has_read.clear()
        older = monitor.older(time.time())
        if older is None:
            continue
        try:
            while part := await asyncio.to_thread(older.next):
                post(OlderRead(older, part))
                await asyncio.sleep(0.01)
            post(OlderRead(older, None))
        finally:
            older.close()


async def follow_probes(log: Callable[[], Path], post: Post) -> None:
    """Poll the probe log and post the newest results, whichever process made the probes.

    The log is parsed again only where its path, size or inode has changed.
    """
    known: tuple[Path, int, int] | None = None
    while True:
        path = log()
        with suppress(OSError):
            status = await asyncio.to_thread(path.stat)
            now = (path, status.st_size, status.st_ino)
            if now != known:
                known = now
                post(ProbesRead(await asyncio.to_thread(last_probes, path)))
        await asyncio.sleep(PROBES_EVERY_S)


async def follow_models(ask: Callable[[], Mapping[str, ModelTrouble]], post: Post) -> None:
    """Poll the catalogue and post models in use that are deprecated or gone; ignore ApiError."""
    await asyncio.sleep(MODELS_FIRST_S)
    while True:
        with suppress(ApiError):
            post(ModelsSeen(await asyncio.to_thread(ask)))
        await asyncio.sleep(MODELS_EVERY_S)


async def follow_guard(switch: Switch, post: Post) -> None:
    """Poll whether a guard acts on the file, and which orgs are out of a ramp; post changes."""
    known: tuple[bool, object] | None = None
    while True:
        now = await asyncio.to_thread(_guard_seen, switch)
        if now != known:
            known = now
            post(GuardSeen(*now))
        await asyncio.sleep(GUARD_EVERY_S)


def _guard_seen(switch: Switch) -> tuple[bool, dict[str, dict[str, str]]]:
    out: dict[str, dict[str, str]] = {}
    with suppress(StoreError):  # the guard, which owns the record, reports its errors
        for route, ramp in RampRecord(switch.path, WriteAccess(read_only=True)).read().items():
            out[route] = {org: one.why for org, one in ramp.out.items()}
    return guard_acts(switch), out


async def follow_settings(post: Post) -> None:
    """Poll the operator's settings file, and post them anew where its stat differs."""
    known = await asyncio.to_thread(settings_stamp)
    while True:
        await asyncio.sleep(SETTINGS_EVERY_S)
        now = await asyncio.to_thread(settings_stamp)
        if now != known:
            known = now
            post(SettingsChanged(await asyncio.to_thread(load_settings)))


async def follow_keys(warn: Callable[[], str], post: Post) -> None:
    """Poll for keys that soon expire or reach their limit, and post a warning; ignore errors."""
    await asyncio.sleep(KEYS_FIRST_S)
    while True:
        # follow_balance polls more often with the same token, and reports the same errors.
        with suppress(ApiError, OperationError, VaultError):
            post(KeysRead(await asyncio.to_thread(warn)))
        await asyncio.sleep(KEYS_EVERY_S)


def _is_missing(switch: Switch, error: RolloutError) -> bool:
    """Return whether there is no rollout file, in its folder or in etcd."""
    if switch.shared is not None:
        return isinstance(error, NoFile)
    return not os.path.lexists(switch.path)


async def follow_balance(
    source: Callable[[], BalanceSource | str],
    post: Post,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Poll the balance and post it; back off exponentially on failure, up to five minutes.

    A longer wait that the API asks for is obeyed, within the same maximum. Without a credential
    the next attempt is after five minutes.
    """
    wait = BALANCE_EVERY_S
    while True:
        # In a thread: a keyring lookup may block until its timeout of three seconds.
        found = await asyncio.to_thread(source)
        if isinstance(found, str):
            post(BalanceRead(None, found, BALANCE_AT_MOST_S, asked=False))
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


async def follow_spending(counter: "BudgetCounter", monitor: Monitor) -> None:
    """Have what budgets are of counted by a process of its own, where the file has any.

    The monitor reads what that process keeps.
    """
    try:
        while True:
            await asyncio.sleep(SPENDING_EVERY_S)
            known = monitor.budgets.spending
            await asyncio.to_thread(counter.turn, monitor.file, known, time.time())
    finally:
        counter.close()


class Feeds:
    """The home screen's polling workers, one for each source; a crashed one is restarted."""

    def __init__(
        self,
        screen: Screen[None],
        session: "Session",
        sources: BalanceSources,
        warn_of_keys: Callable[[], str],
        ask_for_models: Callable[[], Mapping[str, ModelTrouble]],
    ) -> None:
        self._screen = screen
        self._sources = sources
        switch, monitor = session.switch, session.monitor
        self._monitor = monitor
        self._switch = switch
        post, has_read = screen.post_message, asyncio.Event()
        self._followers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "file": partial(follow_file, switch, session.lock, post),
            "writes": partial(follow_write_access, switch, post),
            "history": partial(follow_history, switch, post),
            "log": partial(follow_log, monitor, post, has_read),
            "older": partial(follow_older, monitor, post, has_read),
            "balance": self._follow_balance,
            "models": partial(follow_models, ask_for_models, post),
            "guard": partial(follow_guard, switch, post),
            "settings": partial(follow_settings, post),
            "keys": partial(follow_keys, warn_of_keys, post),
            "spending": self._follow_spending,
            "probes": partial(
                follow_probes, lambda: probe_log_path(switch.path, monitor.file), post
            ),
        }

    def start(self, *names: str) -> None:
        """Start the named workers, or all; one that is running is restarted."""
        for name in names or self._followers:
            # The coroutine function, not a coroutine: an app that ends before its worker begins
            # would leave one that was never awaited.
            follower: WorkType[None] = self._followers[name]
            self._screen.run_worker(follower, group=name, exclusive=True, exit_on_error=False)

    def start_again(self, name: str) -> None:
        """Restart a crashed worker after AGAIN_S seconds; other workers' names are ignored."""
        if name in self._followers:
            self._screen.set_timer(AGAIN_S, lambda: self.start(name))

    async def _follow_spending(self) -> None:
        await asyncio.sleep(SPENDING_EVERY_S)
        from rollout_console.guard.budget_counter import BudgetCounter

        counter = BudgetCounter(
            self._switch.path, self._sources.vault, self._switch.access, self._switch.location
        )
        await follow_spending(counter, self._monitor)

    async def _follow_balance(self) -> None:
        await asyncio.sleep(BALANCE_FIRST_S)
        try:
            await follow_balance(
                lambda: self._sources.source(self._monitor.file), self._screen.post_message
            )
        finally:
            await self._sources.aclose()
