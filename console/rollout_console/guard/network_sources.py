"""What the guard asks the network for, in a thread of its own: a rollback never waits for it."""

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
"""What the API has not said in this time in all, however slowly it sends, is not known."""

BALANCE_EVERY_S = 20.0
"""Well under the age from which a balance says nothing of now."""


class GuardSources:
    """Keeps the balance and the catalogue fresh; ``file`` says which rollout file is in force."""

    def __init__(self, vault: Vault, room: Catalogue, file: Callable[[], RolloutFile]) -> None:
        self._vault = vault
        self._room = room
        self._file = file
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="guard-sources", daemon=True)
        self.balance = BalanceWatch(pending=True)

    def models(self) -> Mapping[str, ModelTrouble]:
        """Return, by route, what is wrong with its model."""
        return model_troubles(self._room, self._file(), datetime.now(UTC))

    def ask(self, *, models: bool = True) -> None:
        """Ask once, and wait for the answers, at most ANSWER_S seconds."""
        asyncio.run(self._ask(models))

    def start(self) -> None:
        """Ask again and again from a thread, until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; an answer that is still under way is not waited for."""
        self._stop.set()

    def _work(self) -> None:
        models_at = 0.0
        while True:
            due = time.monotonic() >= models_at
            if due:
                models_at = time.monotonic() + MODELS_EVERY_S
            try:
                self.ask(models=due)
            except Exception as error:  # noqa: BLE001 - without this thread nothing is known again
                self.balance.failed(f"asking for it failed: {type(error).__name__}", asked=True)
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
        # The last good catalogue still says what it said.
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await self._room.refresh()
