"""Lines of the home table that are left free by folded routes: they show the busiest orgs."""

from collections.abc import Collection, Iterable, Mapping

from rollout_console.guard.monitor import Monitor
from rollout_console.ui.screens.home.rows import RowKey

_MOST_RANKED = 1000
"""How many orgs are ranked: a figure of each of 10,000 is slow, and few lines would show few."""


_SETTLES_S = 10.0
"""How long lines may stay free until enough orgs have traffic: after that, few are ranked."""


class SpareLines:
    """Ranks the orgs by their traffic on TokenLab, once: a ranking that followed the figures would
    move rows under the cursor. It is made again where nobody looks: after another screen, and when
    the terminal gets another size.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._ranked: list[RowKey] = []
        self._is_ranked = False
        self._due_since: float | None = None
        self._is_wanted = True

    def rank_again(self) -> None:
        """Have the orgs ranked anew; until then the ranking is the one before."""
        self._is_ranked = False

    @property
    def is_due(self) -> bool:
        """Whether there is a ranking to make: lines are free, and the log is read to its end."""
        monitor = self._monitor
        is_read = bool(monitor.lines) and not monitor.behind and not monitor.reads_older
        return is_read and self._is_wanted and not self._is_ranked

    def busiest(
        self, folded: Collection[str], free: int, without: Collection[RowKey], now: float
    ) -> list[RowKey]:
        """Return as many of the busiest orgs of folded routes as there are free lines.

        ``without`` are those that are shown already; ``now`` is in epoch seconds.
        """
        self._is_wanted = free > 0
        if self.is_due:
            self._rank(folded, free, now)
        found = [one for one in self._ranked if one[0] in folded and one not in without]
        return found[: max(free, 0)]

    def _rank(self, folded: Collection[str], free: int, now: float) -> None:
        if self._due_since is None or self._due_since > now:
            self._due_since = now
        rates = dict(_with_traffic(self._monitor, self._monitor.seen_orgs(), now))
        is_enough = sum(route in folded for route, _, _ in rates) >= free
        if is_enough or self._ranked or now - self._due_since >= _SETTLES_S:
            self._is_ranked, self._due_since = True, None
            self._ranked = sorted(rates, key=lambda key: -rates[key])


def _with_traffic(
    monitor: Monitor, seen: Mapping[str, Iterable[str]], now: float
) -> Iterable[tuple[RowKey, float]]:
    orgs = [(route, org) for route, some in seen.items() for org in some]
    for route, org in orgs if len(orgs) <= _MOST_RANKED else ():
        rate = monitor.summary(route, org, "tokenlab", now).rate_per_s
        if rate > 0:
            yield (route, org, ""), rate
