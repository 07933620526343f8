"""The workers that look at the file, the log and the balance, again and again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message
from textual.screen import Screen

from rollout_console.changes.errors import StoreError
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import OperationError
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.balance import BalanceSource, BalanceSources
from rollout_console.guard.leader_lock import somebody_acts
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
)
from rollout_gate.file.errors import RolloutError

if TYPE_CHECKING:
    from rollout_console.ui.session import Session

Post = Callable[[Message], object]

AGAIN_S = 5.0
FILE_EVERY_S = 0.25
HISTORY_EVERY_S = 0.5
LOG_EVERY_S = 1.0
OLDER_AFTER_S = 0.1
PROBES_EVERY_S = 5.0
GUARD_EVERY_S = 3.0
MODELS_FIRST_S = 60.0
MODELS_EVERY_S = 600.0
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


async def follow_history(switch: Switch, post: Post) -> None:
    """Tell that rows may have come; of a change taken back at once, the file tells nothing."""
    while True:
        if await asyncio.to_thread(switch.history_changed):
            post(HistoryChanged())
        await asyncio.sleep(HISTORY_EVERY_S)


async def follow_log(monitor: Monitor, post: Post) -> None:
    """Tell of the lines that have come; a long log is caught up with piece by piece."""
    while True:
        records, trouble = await asyncio.to_thread(monitor.read)
        post(LogRead(records, trouble))
        # Each piece is handled before the next is read, so a burst cannot pile up.
        await asyncio.sleep(0.02 if monitor.behind else LOG_EVERY_S)


async def follow_older(monitor: Monitor, post: Post) -> None:
    """Tell of what is older of the log than where it was begun in, part by part."""
    while True:
        older = monitor.older(time.time())
        if older is None:
            await asyncio.sleep(OLDER_AFTER_S)
            continue
        try:
            while part := await asyncio.to_thread(older.next):
                post(OlderRead(older, part))
                await asyncio.sleep(0.01)
            post(OlderRead(older, None))
        finally:
            older.close()


async def follow_probes(log: Callable[[], Path], post: Post) -> None:
    """Tell of probes that were made, by whomever; an unchanged log is not read again."""
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
    """Tell of a model in use that is on its way out or gone; an API that is away says nothing."""
    await asyncio.sleep(MODELS_FIRST_S)
    while True:
        with suppress(ApiError):
            post(ModelsSeen(await asyncio.to_thread(ask)))
        await asyncio.sleep(MODELS_EVERY_S)


async def follow_guard(path: Path, post: Post) -> None:
    """Tell whether a guard acts on the file, and who is out of a ramp; only what is new."""
    known: tuple[bool, object] | None = None
    while True:
        now = await asyncio.to_thread(_guard_seen, path)
        if now != known:
            known = now
            post(GuardSeen(*now))
        await asyncio.sleep(GUARD_EVERY_S)


def _guard_seen(path: Path) -> tuple[bool, dict[str, dict[str, str]]]:
    out: dict[str, dict[str, str]] = {}
    with suppress(StoreError):  # the guard that keeps the record says what is wrong with it
        for route, ramp in RampRecord(path, WriteAccess(read_only=True)).read().items():
            out[route] = {org: one.why for org, one in ramp.out.items()}
    return somebody_acts(path), out


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


class Feeds:
    """The home screen's followers: each a worker of its own, started again where it died."""

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
        post = screen.post_message
        self._followers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "file": lambda: follow_file(switch, session.lock, post),
            "history": lambda: follow_history(switch, post),
            "log": lambda: follow_log(monitor, post),
            "older": lambda: follow_older(monitor, post),
            "balance": self._follow_balance,
            "models": lambda: follow_models(ask_for_models, post),
            "guard": lambda: follow_guard(switch.path, post),
            "keys": lambda: follow_keys(warn_of_keys, post),
            "probes": lambda: follow_probes(
                lambda: probe_log_path(switch.path, monitor.file), post
            ),
        }

    def start(self, *names: str) -> None:
        """Start these, or all; one that runs already begins anew."""
        for name in names or self._followers:
            follower = self._followers[name]()
            self._screen.run_worker(follower, group=name, exclusive=True, exit_on_error=False)

    def start_again(self, name: str) -> None:
        """Start one that died, after a while; another worker's name is passed over."""
        if name in self._followers:
            self._screen.set_timer(AGAIN_S, lambda: self.start(name))

    async def _follow_balance(self) -> None:
        try:
            await follow_balance(
                lambda: self._sources.source(self._monitor.file), self._screen.post_message
            )
        finally:
            await self._sources.aclose()
