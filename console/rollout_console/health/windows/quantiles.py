"""Quantile sketch of latencies, with bounded relative error and memory.

Bucket bounds grow by a constant factor, so that a quantile is within 2% of a value that was added:
the scheme of DDSketch (Masson, Rim and Lee, 2019).
"""

from collections.abc import Mapping
from math import ceil, log

RELATIVE_ERROR = 0.02

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = log(_GAMMA)
_LEAST_MS, _MOST_MS = 0.1, 1e7


def bucket_of(value_ms: float) -> int:
    """Return the bucket of a latency in ms; values are clamped to 0.1 ms to 10,000 s."""
    if not value_ms > _LEAST_MS:
        return 0
    return ceil(log(min(value_ms, _MOST_MS) / _LEAST_MS) / _LOG_GAMMA)


def value_of(bucket: int) -> float:
    """Return the latency in ms that represents a bucket, within 2% of all its values."""
    return _LEAST_MS if bucket == 0 else _LEAST_MS * 2 * _GAMMA**bucket / (_GAMMA + 1)


def quantile(counts: Mapping[int, int], q: float) -> float | None:
    """Return the ``q`` quantile (0 to 1) of bucket counts; None where there are none."""
    total = sum(counts.values())
    if total <= 0:
        return None
    rank, seen = q * (total - 1), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen > rank:
            return value_of(bucket)
    return value_of(max(counts))
