"""Whether the previous provider is failing as well: the limit it raises, the warning at a rollback.

An outage on both sides is not to be blamed on TokenLab.
"""

from rollout_console.guard.evidence.verdict import percent_words
from rollout_console.guard.evidence.wilson import (
    clean_requests_needed,
    wilson_lower,
    wilson_upper,
)
from rollout_console.health.windows.summary import Summary
from rollout_gate.file.model import GuardSettings

LIVE_FROM = 10
"""With fewer requests in the window, the previous side's error rate is not used."""
MARGIN = 0.01
"""One percentage point on top of the upper bound, as the design has it."""


def allowed_rate(requests: int, errors: int, limit: float) -> float:
    """Return the error rate, 0 to 0.99, that the previous side's own counts allow TokenLab.

    It is the one-sided 95% upper Wilson bound of the previous side's rate plus MARGIN, where that
    rate is known: proven to be over ``limit`` (0 to 1, not included), or of so many requests that
    without an error the bound would be at the limit. Of fewer the bound is high by itself (12% for
    20 without an error), and it would hide what fails on TokenLab alone: then it is 0.
    """
    if requests < LIVE_FROM:
        return 0.0
    if not is_over(requests, errors, limit) and requests < clean_requests_needed(limit):
        return 0.0
    return min(wilson_upper(errors, requests) + MARGIN, 0.99)


def is_over(requests: int, errors: int, limit: float) -> bool:
    """Return whether an error rate is proven to be over a limit: by its lower bound."""
    return wilson_lower(errors, requests) > limit


def failing_words(summary: Summary, limits: GuardSettings) -> str:
    """Return how the previous provider is failing, by its figures of a window; empty if it is not.

    An error rate counts only where its lower Wilson bound is over the limit; p95 from 20 requests
    on.
    """
    requests = summary.judged
    for word, percent, limit in (
        ("5xx", summary.percent_5xx, limits.max_5xx_percent),
        ("4xx", summary.percent_4xx, limits.max_4xx_percent),
        ("429", summary.percent_429, limits.max_429_percent),
        ("bad answers", summary.percent_bad, limits.max_bad_percent),
    ):
        errors = round(percent * requests / 100)
        if is_over(requests, errors, limit / 100):
            figures = f"{word} {percent_words(percent)} of {requests}"
            return f"the previous provider is failing as well: {figures}"
    for word, value, limit_ms in (
        ("p95", summary.p95, limits.max_p95_ms),
        ("first token p95", summary.ttft_p95, limits.max_ttft_p95_ms),
    ):
        if value is not None and value > limit_ms and requests >= 20:
            return f"the previous provider is slow as well: {word} {value:.0f} ms of {requests}"
    return ""
