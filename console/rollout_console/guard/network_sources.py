"""The guard's network polling, in a worker thread: a rollback never waits for the network."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.balance import BalanceSources, BalanceWatch, ask_balance
from rollout_console.guard.model_watch import EVERY_S as MODELS_EVERY_S
from rollout_console.guard.model_watch import model_troubles
from rollout_console.models.catalogue import Catalogue
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.model import RolloutFile

ANSWER_S = 10.0
"""Total deadline of a response in seconds, however slowly it trickles in."""

BALANCE_EVERY_S = 20.0
"""Poll interval in seconds, well under OLD_AFTER_S, at which a balance is stale."""


class GuardSources:
    """Polls the balance and the model catalogue; ``file`` returns the rollout file in force.

    ``count`` is called in between, where the spending is to be counted; what it raises is ignored.
    """

    def __init__(
        self,
        vault: Vault,
        room: Catalogue,
        file: Callable[[], RolloutFile],
        count: Callable[[], None] = lambda: None,
    ) -> None:
        self._vault = vault
        self._room = room
        self._file = file
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="guard-sources", daemon=True)
        self.balance = BalanceWatch(pending=True)

    def models(self) -> Mapping[str, ModelTrouble]:
        """Return, by route, the problem with its model."""
        return model_troubles(self._room, self._file(), datetime.now(UTC))

    def ask(self, *, models: bool = True) -> None:
        """Poll once, and block for the responses, at most ANSWER_S seconds.

        The deadline does not interrupt the credential lookup, which blocks.
        """
        asyncio.run(self._ask(models))

    def start(self) -> None:
        """Start the polling thread, which runs until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Signal the thread to stop; a request in progress is not waited for."""
        self._stop.set()

    def _work(self) -> None:
        models_at = 0.0
        while True:
            due = time.monotonic() >= models_at
            if due:
                models_at = time.monotonic() + MODELS_EVERY_S
            try:
                self.ask(models=due)
            except Exception as error:  # noqa: BLE001 - polling must not stop with one failure
                self.balance.failed(f"asking for it failed: {type(error).__name__}", asked=True)
            with suppress(Exception):  # as above
                self._count()
            if self._stop.wait(BALANCE_EVERY_S):
                return

    async def _ask(self, models: bool) -> None:
        asked = (self._ask_balance(), self._ask_models()) if models else (self._ask_balance(),)
        await asyncio.gather(*asked)

    async def _ask_balance(self) -> None:
        sources = BalanceSources(self._vault)
        try:
            async with asyncio.timeout(ANSWER_S):
                await ask_balance(sources, self._file(), self.balance, time.time())
        except TimeoutError:
            self.balance.failed(f"no answer within {ANSWER_S:.0f} s", asked=True)

    async def _ask_models(self) -> None:
        # On failure the last good catalogue stays in use.
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await self._room.refresh()
