"""Summary of a time window: counts by status class, error percents, latency percentiles.

A request is counted under its code, a small integer for its class and the bucket of its latency.
"""

from collections.abc import Mapping

import msgspec

from rollout_console.health.log.record import StatusClass, classify
from rollout_console.health.windows.quantiles import bucket_of, quantile

_CLASSES = tuple(StatusClass)
_INDEX = {cls: i for i, cls in enumerate(_CLASSES)}
_OK, _GATEWAY = _INDEX[StatusClass.OK], _INDEX[StatusClass.GATEWAY]
_LIMIT = _INDEX[StatusClass.RATE_LIMIT]
_BUCKETS = 512
"""A code is the index of a class times this, plus the bucket of a latency, which is below it."""
_MOST_KNOWN = 100_000


class _Buckets(dict[float, int]):
    def __missing__(self, latency_ms: float) -> int:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        bucket = self[latency_ms] = bucket_of(latency_ms)
        return bucket


_CODES_OF = {
    cls: [i * _BUCKETS + bucket for bucket in range(_BUCKETS)] for cls, i in _INDEX.items()
}

CODES = [_CODES_OF[classify(status)] for status in range(1000)]
"""Codes by status and latency bucket: preallocated, so that equal codes are one int object."""
BUCKET = _Buckets()
"""Memoized bucket by latency in ms; the cache is cleared when it reaches _MOST_KNOWN."""


class Summary(msgspec.Struct, frozen=True):
    """Figures of a window: percents of all requests (0 to 100), latency percentiles in ms.

    ``percent_4xx`` is every 4xx but 429, which has a limit of its own. Percentiles, and ``last_at``
    (epoch seconds), are None without a request.
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


def by_class(counts: Mapping[int, int]) -> dict[StatusClass, int]:
    """Return counts by code as counts by class."""
    classes = [0] * len(_CLASSES)
    for code, count in counts.items():
        classes[code // _BUCKETS] += count
    return dict(zip(_CLASSES, classes, strict=True))


def slow_of(counts: Mapping[int, int], limit: int) -> int:
    """Return how many OK requests among counts by code are in a latency bucket above ``limit``."""
    first = _OK * _BUCKETS
    return sum(n for code, n in counts.items() if first + limit < code < first + _BUCKETS)


def summarize(counts: Mapping[int, int], window_s: float, last_at: float | None) -> Summary:
    """Summarize the counts by code of a window of ``window_s`` seconds."""
    classes = [0] * len(_CLASSES)
    buckets: dict[int, int] = {}
    for code, count in counts.items():
        index, bucket = divmod(code, _BUCKETS)
        classes[index] += count
        buckets[bucket] = buckets.get(bucket, 0) + count
    total = sum(classes)
    share = 100 / total if total else 0.0
    limited, gateway = classes[_LIMIT], classes[_GATEWAY]
    return Summary(
        requests=total,
        rate_per_s=total / window_s,
        by_class=dict(zip(_CLASSES, classes, strict=True)),
        percent_4xx=(total - classes[_OK] - gateway - limited) * share,
        percent_5xx=gateway * share,
        percent_429=limited * share,
        p50=quantile(buckets, 0.5),
        p95=quantile(buckets, 0.95),
        p99=quantile(buckets, 0.99),
        last_at=last_at or None,
    )


def metric_of(counts: Mapping[int, int], metric: str, window_s: float) -> float | None:
    """Return one metric (4xx, 5xx, 429, rate, p50, p95, p99); None without a request."""
    if not counts:
        return None
    found = summarize(counts, window_s, None)
    values: dict[str, float | None] = {
        "4xx": found.percent_4xx,
        "5xx": found.percent_5xx,
        "429": found.percent_429,
        "rate": found.rate_per_s,
        "p50": found.p50,
        "p95": found.p95,
        "p99": found.p99,
    }
    return values[metric]
