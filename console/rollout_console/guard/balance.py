"""The account balance: fetching it, its burn rate and runway."""

from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING

from rollout_console.credentials.vault.vault import Vault
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.types import Balance
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import Secret

if TYPE_CHECKING:
    from rollout_console.tokenlab.client import ManagementClient

_MOST_SAMPLES = 2_000
_LEAST_SPAN_S = 20.0
OLD_AFTER_S = 60.0
"""Seconds after which a balance is stale and counts as unknown."""


class BalanceSource:
    """Fetches the balance with one HTTP client, which stays open until ``aclose``."""

    def __init__(self, client: "ManagementClient") -> None:
        self._client = client

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()

    async def fetch(self) -> Balance:
        """Return the balance; raises ApiError."""
        return await self._client.balance()


class BalanceSources:
    """Caches one BalanceSource for the base URL and credential that the file names now."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._source: BalanceSource | None = None
        self._made_of: tuple[str, Secret] | None = None
        self._replaced: list[BalanceSource] = []

    def source(self, file: RolloutFile) -> BalanceSource | str:
        """Return a source, or why there is none in one sentence.

        The credential lookup (a keyring) may block for seconds.
        """
        credential = self.vault.resolve(file.profile, "management_token")
        if credential.secret is None:
            return credential.problem
        made_of = (file.base_url, credential.secret)
        source = self._source  # once: aclose, in another thread, may empty the cache meanwhile
        if source is None or self._made_of != made_of:
            # Lazy import: loading httpx would delay the first screen.
            from rollout_console.tokenlab.client import ManagementClient

            try:
                client = ManagementClient(file.base_url, credential.secret)
            except ApiError as error:
                return str(error)
            if source is not None:
                self._replaced.append(source)
            source = self._source = BalanceSource(client)
            self._made_of = made_of
        return source

    async def aclose(self) -> None:
        """Close the connections of what was returned; the next source has connections of its own.

        It is out of the cache before it is closed, as whoever asks meanwhile would get a client
        that cannot send.
        """
        closing = [*self._replaced, *([self._source] if self._source is not None else [])]
        self._replaced, self._source, self._made_of = [], None, None
        for source in closing:
            await source.aclose()


class BalanceWatch:
    """Keeps samples of the balance in a ring buffer, and derives burn rate and runway from them.

    Times are epoch seconds. ``trouble`` is the error of the last request, empty if it succeeded.
    While ``pending`` the first response is outstanding, and the balance counts as unknown.
    """

    def __init__(self, *, pending: bool = False) -> None:
        self._samples: deque[tuple[float, Balance]] = deque(maxlen=_MOST_SAMPLES)
        self.trouble = ""
        self._was_asked = False
        self.pending = pending

    def add(self, at: float, balance: Balance) -> None:
        """Add one sample; a balance of another organisation discards the earlier ones."""
        if self._samples and self._samples[-1][1].organization_id != balance.organization_id:
            self._samples.clear()
        self._samples.append((at, balance))
        self.trouble, self._was_asked, self.pending = "", True, False

    def failed(self, trouble: str, *, asked: bool) -> None:
        """Record a failed request; ``asked`` is false where there was no credential to send."""
        self.trouble, self.pending = trouble, False
        self._was_asked = self._was_asked or asked

    def hold(self, least: Decimal, now: float) -> str:
        """Return why the balance holds a raise (``least`` in US dollars), empty where it does not.

        An unknown or stale balance holds as well (fail closed), unless there never was a credential
        to ask with.
        """
        if not (self._was_asked or self.pending):
            return ""
        latest = self.latest
        old_s = 0.0 if latest is None else abs(now - latest[0])  # also by a clock set back
        if latest is None or old_s > OLD_AFTER_S:
            age = "" if latest is None else f" for {old_s:.0f} s"
            return f"balance not known{age}: {self.trouble or 'no answer yet'}"
        amount = latest[1].balance
        return f"balance ${amount:,.2f} is under ${least:,.2f}" if amount < least else ""

    @property
    def lacks_credential(self) -> bool:
        """Whether there never was a credential to ask with."""
        return bool(self.trouble) and not self._was_asked

    @property
    def latest(self) -> tuple[float, Balance] | None:
        """The newest sample with its time, None before the first."""
        return self._samples[-1] if self._samples else None

    def burn_per_s(self) -> Decimal | None:
        """Return the burn rate in US dollars per second over all samples kept.

        It is None before they span _LEAST_SPAN_S seconds.
        """
        if len(self._samples) < 2:
            return None
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        if end - start < _LEAST_SPAN_S:
            return None
        # From money spent, not from the balance: a recharge must not look like a lower burn rate.
        return max(Decimal(0), last.total_used - first.total_used) / Decimal(str(end - start))

    @property
    def span_s(self) -> float:
        """Over how many seconds the burn rate is."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else 0.0

    def runway_s(self) -> float | None:
        """Return the runway: seconds that the balance lasts at this burn rate; None if unknown."""
        burn = self.burn_per_s()
        if not burn or not self._samples:
            return None
        return float(max(Decimal(0), self._samples[-1][1].balance) / burn)

    def series(self, now: float, window_s: float, points: int) -> list[float | None]:
        """Return a time series of the balance, in ``points`` equal intervals of the window.

        An interval has its newest sample, None without one.
        """
        found: list[float | None] = [None] * points
        for at, balance in self._samples:
            index = int((at - (now - window_s)) / window_s * points)
            if 0 <= index < points:
                found[index] = float(balance.balance)
        return found


async def ask_balance(
    sources: BalanceSources, file: RolloutFile, watch: BalanceWatch, now: float
) -> None:
    """Fetch the balance once into ``watch``, API errors included; may block for seconds."""
    source = sources.source(file)
    if isinstance(source, str):
        watch.failed(source, asked=False)
        return
    try:
        watch.add(now, await source.fetch())
    except ApiError as error:
        watch.failed(str(error), asked=True)
    finally:
        await sources.aclose()
