"""Whether the previous provider is failing as well: the warning at a rollback to it."""

from rollout_console.guard.evidence.verdict import percent_words
from rollout_console.guard.evidence.wilson import wilson_lower
from rollout_console.health.windows.summary import Summary
from rollout_gate.file.model import GuardSettings


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
        if wilson_lower(errors, requests) > limit / 100:
            figures = f"{word} {percent_words(percent)} of {requests}"
            return f"the previous provider is failing as well: {figures}"
    for word, value, limit_ms in (
        ("p95", summary.p95, limits.max_p95_ms),
        ("first token p95", summary.ttft_p95, limits.max_ttft_p95_ms),
    ):
        if value is not None and value > limit_ms and requests >= 20:
            return f"the previous provider is slow as well: {word} {value:.0f} ms of {requests}"
    return ""
