"""Counts by org of a route's requests on TokenLab, read from the windows."""

from collections.abc import Iterable, Iterator
from itertools import islice

from rollout_console.health.windows.bins import Limits, bin_of, buckets_of
from rollout_console.health.windows.series import fitting
from rollout_console.health.windows.windows import Windows


class OrgsIn:
    """The orgs of one route; a search through them stops at the second match."""

    def __init__(
        self, windows: Windows, route: str, names: Iterable[str], limits: Limits, now: float
    ) -> None:
        self._windows = windows
        self._route = route
        self._names = names
        self._limit = buckets_of(limits)
        self._now = now

    def several(self, since: float) -> bool:
        """Return whether two or more orgs have requests since a time (epoch seconds)."""
        return len(list(islice(self._seen(since), 2))) > 1

    def several_with(self, signal: str, since: float) -> bool:
        """Return whether two or more orgs have errors of a signal since a time."""
        found = (org for org in self._seen(since) if self._errors(org, signal, since))
        return len(list(islice(found, 2))) > 1

    def _seen(self, since: float) -> Iterator[str]:
        tracks = self._windows.kept.tracks
        for org in self._names:
            track = tracks.get((self._route, org, "tokenlab"))
            if track is not None and track.last_at >= since:
                yield org

    def _errors(self, org: str, signal: str, since: float) -> int:
        # 5 s more: the first bin may begin inside one of the org's five-second slots.
        span_s = self._now - since + 5
        counts = self._windows.counts(self._now, span_s, self._route, org)
        found = bin_of(0, counts, self._limit)
        return 0 if found is None else found.errors(signal)[1]


def last_error_at(
    windows: Windows, route: str, org: str | None, signal: str, window_s: float, now: float
) -> float | None:
    """Return the start of the newest slot with an error of a signal (epoch seconds), or None.

    All 4xx but 429 count as ``contract`` here, as they do in the hold tier.
    """
    signals = ("contract", "auth", "balance") if signal == "contract" else (signal,)
    reaches_s = windows.kept.reaches_s(org, now)
    parts = fitting(windows.kept.tracks.get((route, org, "tokenlab")), window_s, reaches_s)
    if parts is None:
        return None
    width = parts.width_s
    for slot in range(int(now // width), int((now - window_s) // width), -1):
        found = bin_of(slot * width, parts.counts(slot, slot + 1), (0, 0))
        if found is not None and any(found.errors(one)[1] for one in signals):
            return found.at
    return None
