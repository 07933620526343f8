"""One-sided Wilson score bounds of an error rate (E. B. Wilson, 1927)."""

from math import ceil, sqrt

Z_95 = 1.6448536269514722
"""The 95% quantile of the standard normal distribution (one-sided)."""


def wilson_upper(errors: int, requests: int, z: float = Z_95) -> float:
    """Return the upper confidence bound, 0 to 1, of the error rate; 1 without any request."""
    return 1.0 if requests <= 0 else max(_bound(errors, requests, z, 1), errors / requests)


def wilson_lower(errors: int, requests: int, z: float = Z_95) -> float:
    """Return the lower confidence bound, 0 to 1, of the error rate; 0 without any request."""
    return 0.0 if requests <= 0 else min(_bound(errors, requests, z, -1), errors / requests)


def clean_requests_needed(limit: float, z: float = Z_95) -> int:
    """Return how many requests without an error bring the upper bound to ``limit`` (0 to 1)."""
    return ceil(z * z * (1 - limit) / limit)


def _bound(errors: int, requests: int, z: float, sign: int) -> float:
    rate, square = errors / requests, z * z
    middle = rate + square / (2 * requests)
    spread = z * sqrt(rate * (1 - rate) / requests + square / (4 * requests * requests))
    return min(1.0, max(0.0, (middle + sign * spread) / (1 + square / requests)))
