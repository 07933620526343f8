"""Summary of a time window: counts by status class, error percents, latency percentiles.

A request is counted under its code, a small integer for its class and the bucket of its latency.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.codes import (
    AUTH,
    BAD,
    BALANCE,
    BUCKETS,
    CACHED,
    CLASS_OF_KIND,
    CODE_KINDS,
    CONTRACT,
    FILTERED,
    FIRST_TOKEN,
    GATEWAY,
    KINDS,
    LATENCY,
    LEFT,
    LENGTH,
    RATE_LIMIT,
    REPEATED,
    SPEED,
    TRUNCATED,
    UNTIMED,
)
from rollout_console.health.windows.quantiles import quantile, value_of

_CLASSES = tuple(StatusClass)
_INDEX = {cls: i for i, cls in enumerate(_CLASSES)}
_CLASS_INDEX = [_INDEX[cls] for cls in CLASS_OF_KIND]
_UNTIMED = frozenset((CACHED, LEFT))
_REFUSED = (CONTRACT, AUTH, BALANCE)


class Summary(msgspec.Struct, frozen=True):
    """Figures of a window: percents (0 to 100) of the requests that were not abandoned.

    ``percent_4xx`` is every 4xx but 429, which has a limit of its own; ``percent_bad`` is of
    answers that were cut or empty. Latency percentiles, the ``longest`` and ``ttft_p95``, the time
    to the first token of streams, are in ms, ``tokens_per_s`` is the median of streams; they, and
    ``last_at`` (epoch seconds), are None without a request. ``repeated`` counts second and later
    attempts, ``bad`` the cut and empty answers.
    """

    requests: int
    rate_per_s: float
    by_class: dict[StatusClass, int]
    percent_4xx: float
    percent_5xx: float
    percent_429: float
    p50: float | None
    p95: float | None
    p99: float | None
    last_at: float | None
    percent_bad: float = 0.0
    ttft_p95: float | None = None
    tokens_per_s: float | None = None
    percent_filtered: float = 0.0
    percent_length: float = 0.0
    repeated: int = 0
    bad: int = 0
    longest: float | None = None

    @property
    def percent_errors(self) -> float:
        """Every request that failed, of any class, and every bad answer, in percent."""
        answered = self.by_class[StatusClass.OK] + self.by_class[StatusClass.ABANDONED]
        return 100 * (self.requests - answered) / self.judged if self.judged else 0.0

    @property
    def judged(self) -> int:
        """The requests that were not abandoned by the application."""
        return self.requests - self.by_class[StatusClass.ABANDONED]


def by_kind(counts: Mapping[int, int]) -> list[int]:
    """Return counts by code as counts by kind, measurements included."""
    kinds = [0] * CODE_KINDS
    for code, count in counts.items():
        kinds[code // BUCKETS] += count
    return kinds


def classes_of(kinds: Sequence[int]) -> dict[StatusClass, int]:
    """Return counts by kind as counts by class."""
    classes = [0] * len(_INDEX)
    for kind, index in enumerate(_CLASS_INDEX):
        classes[index] += kinds[kind]
    return dict(zip(_CLASSES, classes, strict=True))


def by_class(counts: Mapping[int, int]) -> dict[StatusClass, int]:
    """Return counts by code as counts by class."""
    return classes_of(by_kind(counts))


def bad_of(kinds: Sequence[int]) -> int:
    """Return the cut and the empty answers of counts by kind."""
    return kinds[TRUNCATED] + kinds[BAD]


def summarize(counts: Mapping[int, int], window_s: float, last_at: float | None) -> Summary:
    """Summarize the counts by code of a window of ``window_s`` seconds."""
    kinds = [0] * CODE_KINDS
    buckets: dict[int, int] = {}
    first: dict[int, int] = {}
    speeds: dict[int, int] = {}
    for code, count in counts.items():
        kind, bucket = divmod(code, BUCKETS)
        kinds[kind] += count
        if kind < KINDS:
            if kind not in _UNTIMED and bucket != UNTIMED:
                buckets[bucket] = buckets.get(bucket, 0) + count
        elif kind == FIRST_TOKEN:
            first[bucket] = first.get(bucket, 0) + count
        elif kind == SPEED:
            speeds[bucket] = speeds.get(bucket, 0) + count
        elif kind == LATENCY:
            buckets[bucket] = buckets.get(bucket, 0) + count
    classes = classes_of(kinds)
    total = sum(classes.values())
    judged = total - kinds[LEFT]
    share = 100 / judged if judged else 0.0
    return Summary(
        requests=total,
        rate_per_s=total / window_s,
        by_class=classes,
        percent_4xx=sum(kinds[kind] for kind in _REFUSED) * share,
        percent_5xx=(kinds[GATEWAY] + kinds[TRUNCATED]) * share,
        percent_429=kinds[RATE_LIMIT] * share,
        p50=quantile(buckets, 0.5),
        p95=quantile(buckets, 0.95),
        p99=quantile(buckets, 0.99),
        last_at=last_at or None,
        percent_bad=bad_of(kinds) * share,
        ttft_p95=quantile(first, 0.95),
        tokens_per_s=quantile(speeds, 0.5),
        percent_filtered=kinds[FILTERED] * share,
        percent_length=kinds[LENGTH] * share,
        repeated=kinds[REPEATED],
        bad=bad_of(kinds),
        longest=value_of(max(buckets)) if buckets else None,
    )


METRICS: Mapping[str, Callable[[Summary], float | None]] = {
    "4xx": lambda found: found.percent_4xx,
    "errors": lambda found: found.percent_errors,
    "5xx": lambda found: found.percent_5xx,
    "429": lambda found: found.percent_429,
    "bad": lambda found: found.percent_bad,
    "rate": lambda found: found.rate_per_s,
    "p50": lambda found: found.p50,
    "p95": lambda found: found.p95,
    "p99": lambda found: found.p99,
    "ttft": lambda found: found.ttft_p95,
    "tokens": lambda found: found.tokens_per_s,
    "repeated": lambda found: 100 * found.repeated / found.requests if found.requests else None,
}
"""What a chart can show: percents, requests and tokens a second, ms (``ttft`` is a p95)."""
