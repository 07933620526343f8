"""The billing of keys as it was read last, and which of it is to be read again."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from functools import partial

from rollout_console.common.errors import OperationError
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.types import ApiKey
from rollout_console.ui.off_loop import off_loop
from rollout_console.ui.screens.keys.spending import Spending, start_of


class Costs:
    """Keeps the billing of each key that was asked for."""

    def __init__(self, room: ApiKeys) -> None:
        self._room = room
        self._known: dict[str, Spending] = {}

    def of(self, key: ApiKey) -> Spending | None:
        """Return a key's billing; None where it was not read yet."""
        return self._known.get(key.id)

    def clear(self) -> None:
        """Forget everything: another organisation is looked at."""
        self._known.clear()

    async def read(self, keys: Iterable[ApiKey]) -> AsyncIterator[ApiKey]:
        """Read the billing of the keys, one after the other, and yield each that has a new one.

        A key that has used no more than when it was asked has no other billing. After an error no
        other key is asked: it would be answered the same.
        """
        trouble = ""
        for key in keys:
            known = self._known.get(key.id)
            if known is not None and known.billing is not None and known.used == key.used:
                continue
            billing = None
            try:
                if not trouble:
                    start = start_of(datetime.now(UTC))
                    billing = await off_loop(
                        partial(self._room.billing, key, start=start), is_read=True
                    )
            except (ApiError, OperationError, VaultError) as error:
                trouble = str(error)
            self._known[key.id] = Spending(key.used, billing, trouble)
            yield key
