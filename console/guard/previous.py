"""How the previous side does meanwhile: what it cannot do either is not blamed on TokenLab."""

from collections import Counter, deque

from console.guard.evidence import wilson_upper

LIVE_FROM = 10
"""With fewer requests in the window, the previous side says nothing."""
MARGIN = 0.01
"""One point on top of the bound, as the design has it."""

_MOST = 5_000


class PreviousSide:
    """The newest requests of a route's previous side, at most ``window_s`` seconds of them."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._kept: deque[tuple[float, str]] = deque()
        self._counts: Counter[str] = Counter()

    def add(self, status_class: str, slow: bool, at: float) -> None:
        """Take one request into account."""
        # Only an answer has a latency worth judging.
        found = "latency" if status_class == "ok" and slow else status_class
        self._kept.append((at, found))
        self._counts[found] += 1
        oldest = at - self._window_s
        while len(self._kept) > _MOST or self._kept[0][0] < oldest:
            self._counts[self._kept.popleft()[1]] -= 1

    def allows(self, gate: str) -> float:
        """Return the error rate (0 to below 1) that this side's own allows; 0 where it says none.

        It is the one-sided upper bound of what was seen, plus a margin.
        """
        bad = self._counts[gate]
        answered = self._counts["ok"] + self._counts["latency"]
        requests = answered if gate == "latency" else len(self._kept)
        if requests < LIVE_FROM:
            return 0.0
        return min(wilson_upper(bad, requests) + MARGIN, 0.99)
