"""Verdicts: what is judged, in which words, and the hold tier of a route or org to be raised.

They are pure functions of the log's window, without state in the process: every process that reads
the same log has the same verdict. The rollback tier is in ``blame``.
"""

from collections.abc import Callable
from math import inf
from typing import Literal

import msgspec

from rollout_console.guard.evidence.two_sample import Difference
from rollout_console.guard.evidence.wilson import clean_requests_needed, wilson_upper
from rollout_gate.file.model import GuardMode, GuardSettings

Kind = Literal["ok", "hold", "rollback"]

SLOW_SHARE = 0.05
STALE_AFTER_S = 30.0
QUIET_S = 60.0
"""Seconds without an error from which on a verdict about errors reports that quiet time."""

SIGNALS = (
    "gateway", "contract", "rate_limit", "latency", "auth", "balance", "bad", "first_token",
    "repeated",
)  # fmt: skip
"""Signals judged by an e-process."""
JOB_SIGNALS = ("jobs", "asset")
"""Signals judged by the same e-process, over the async jobs of a route in place of its requests."""
COMPARED = ("filtered", "length")
"""Signals judged against the previous side: their shares have no limit of their own."""
JOBS_COMPARED = "refused"
"""The signal of async jobs that is judged in that way."""
HOLDING = frozenset(("repeated", *COMPARED, JOBS_COMPARED))
"""Signals that hold raises, and ask for a rollback only where their own mode is enforce."""
REPEATED_SHARE = 0.2
"""Share of second and later attempts from which on an application's retries are a trouble."""
REFUSALS = ("auth", "balance")
"""Signals of which consecutive errors are enough: no share of them is usual."""
WORDS = {
    "gateway": "5xx", "contract": "4xx", "rate_limit": "429", "latency": "slow",
    "auth": "401/403", "balance": "402", "bad": "bad answers", "first_token": "late first tokens",
    "repeated": "retries", "filtered": "filtered", "length": "cut by length",
    "jobs": "jobs failed", "asset": "slow assets", "refused": "refused",
}  # fmt: skip
CAUSES = {"auth": "TokenLab refuses the key", "balance": "TokenLab's balance is empty"}
BRIEF = {
    "auth": "auth", "balance": "402", "bad": "bad", "first_token": "late", "repeated": "retry",
    "jobs": "jobs", "asset": "assets",
}  # fmt: skip
"""The word for a signal in a narrow column, where the usual one is too long."""
ADVICE = {
    "auth": "roll back, or give it a working key: 2 in the console",
    "balance": "top up, or roll back",
}


class Verdict(msgspec.Struct, frozen=True):
    """The guard's judgement, with its reason in words and the signal that it rests on.

    ``last_error_at`` is the time of that signal's last error (epoch seconds), None where the
    verdict does not rest on errors. ``brief`` is the reason for a narrow column, ``advice`` what to
    do about it; both are empty where the reason says it all. ``waits`` is whether a hold only lacks
    evidence: no limit is exceeded, and no action is due.
    """

    kind: Kind
    reason: str = ""
    signal: str = ""
    last_error_at: float | None = None
    brief: str = ""
    advice: str = ""
    waits: bool = False

    @property
    def words(self) -> str:
        """The verdict in words: ``ok``, or its kind and reason."""
        return "ok" if self.kind == "ok" else f"{self.kind}: {self.reason}"

    @property
    def advised(self) -> str:
        """The verdict in words, and what to do about it."""
        return "ok" if self.kind == "ok" else f"{self.kind}: {self.fact}"

    @property
    def fact(self) -> str:
        """The reason, and what to do about it, without the kind."""
        return f"{self.reason}; {self.advice}" if self.advice else self.reason


OK = Verdict("ok")


def limit_of(limits: GuardSettings, signal: str) -> float:
    """Return the limit of a signal's error rate, as a fraction from 0 to 1."""
    if signal in ("latency", "first_token", "asset"):
        return SLOW_SHARE
    if signal == "repeated":
        return REPEATED_SHARE
    percent = {
        "gateway": limits.max_5xx_percent,
        "contract": limits.max_4xx_percent,
        "rate_limit": limits.max_429_percent,
        "auth": limits.max_4xx_percent,
        "balance": limits.max_4xx_percent,
        "bad": limits.max_bad_percent,
        "jobs": limits.max_failed_jobs_percent,
    }[signal]
    return percent / 100


def mode_of(limits: GuardSettings, signal: str) -> GuardMode:
    """Return the mode of a signal; one of HOLDING enforces only where it says so itself."""
    mode = limits.mode_of(signal)
    if signal in HOLDING and mode == "enforce" and signal not in limits.modes:
        return "hold"
    return mode


def quiet_for(last_error: float | None, now: float) -> str:
    """Return for how long there has been no error, with a comma before; empty under QUIET_S."""
    if last_error is None or now - last_error < QUIET_S:
        return ""
    return f", none for {time_words(now - last_error)}"


def plural_of(signal: str) -> str:
    """Return the word for the errors of a signal."""
    return {"latency": "slow answers", "jobs": "failed jobs"}.get(signal, WORDS[signal])


def compared_verdict(signal: str, of: str, found: Difference) -> Verdict:
    """Return the hold for a share that is higher on TokenLab than on the previous side."""
    ours, theirs = (percent_words(100 * share) for share in (found.tokenlab, found.previous))
    return Verdict("hold", f"{WORDS[signal]} {ours} of {of}, previous {theirs}", signal)


def percent_words(share: float) -> str:
    """Format a percent, with a decimal below 10%: from there on a tenth is not significant."""
    return f"{share:.1f}%" if share < 9.95 else f"{share:.0f}%"


class Counts(msgspec.Struct, frozen=True):
    """Request count of a time span, and the errors of each class among them.

    ``span_s`` is the length of that time in seconds, 0 where it is not known.
    """

    requests: int
    contract: int = 0
    gateway: int = 0
    limited: int = 0
    bad: int = 0
    span_s: float = 0.0


def hold_tier(
    limits: GuardSettings,
    *,
    recent: Counts,
    seen: Counts,
    p95_ms: float | None,
    ttft_p95_ms: float | None = None,
    age_s: float | None,
    bake_left_s: float = 0.0,
    now: float = 0.0,
    last_error_at: Callable[[str], float | None] = lambda _: None,
    first_ago_s: Callable[[], float] = lambda: inf,
) -> Verdict:
    """Return ``ok`` where the counts are evidence of health, else ``hold`` and why.

    Rates are judged on ``recent``, the window; the sample size (upper Wilson bound) on ``seen``,
    which reaches back over the bake time but not to before the last raise. ``age_s`` is the age
    of the newest request, None where there was none; ``bake_left_s`` the rest of the bake time;
    ``last_error_at`` returns when a signal had its last error in the window (epoch seconds), and
    ``first_ago_s`` how many seconds ago the first request of ``seen`` was.
    """
    if age_s is None:
        return Verdict("hold", "no data", "data", waits=True)
    if age_s > STALE_AFTER_S:
        words = f"no data {time_words(age_s)}"
        return Verdict("hold", words, "data", brief="no data", waits=True)
    if seen.requests == 0:
        words = "no data since the step" if bake_left_s else "no data"
        return Verdict("hold", words, "data", brief="just stepped", waits=True)

    if slow := _slow(limits, p95_ms, ttft_p95_ms):
        return slow
    signals = _judged(limits, recent, seen)
    for signal, errors, _, percent in signals:
        if recent.requests and 100 * errors / recent.requests > percent:
            share, last = percent_words(100 * errors / recent.requests), last_error_at(signal)
            return Verdict("hold", f"{WORDS[signal]} {share}{quiet_for(last, now)}", signal, last)
    for signal, _, errors, percent in signals:
        if wilson_upper(errors, seen.requests) > percent / 100:
            needed = clean_requests_needed(percent / 100)
            if errors == 0:
                words, brief = f"{seen.requests} of {needed} ok", f"{seen.requests}/{needed}"
                return Verdict("hold", words, signal, brief=brief, waits=True)
            rate = 100 * errors / seen.requests
            counts = f"{errors} of {seen.requests}"
            if rate <= percent:
                words = f"{WORDS[signal]} {counts}, too few to tell"
                return Verdict("hold", words, signal, waits=True)
            # Not the window's share, which is under the limit: it is of longer.
            span_s = min(seen.span_s, first_ago_s()) if seen.span_s else 0.0
            over = f" in {time_words(span_s)}" if span_s else ""
            words = f"{WORDS[signal]} {percent_words(rate)}{over}, {counts}"
            brief = f"{BRIEF.get(signal, WORDS[signal])} {errors}/{seen.requests}"
            return Verdict("hold", words, signal, brief=brief)
    if bake_left_s > 0:
        left = time_words(bake_left_s)
        return Verdict("hold", f"bakes for {left}", "bake", brief=f"bakes {left}", waits=True)
    return OK


def _slow(limits: GuardSettings, p95_ms: float | None, ttft_p95_ms: float | None) -> Verdict | None:
    for signal, word, value, limit in (
        ("latency", "p95", p95_ms, limits.max_p95_ms),
        ("first_token", "first token p95", ttft_p95_ms, limits.max_ttft_p95_ms),
    ):
        if value is not None and value > limit and _holds(limits, signal):
            return Verdict("hold", f"{word} {value:.0f} ms", signal)
    return None


def _judged(
    limits: GuardSettings, recent: Counts, seen: Counts
) -> list[tuple[str, int, int, float]]:
    """Return the signals that may hold, with their errors in both spans and their limits."""
    every = (
        ("gateway", recent.gateway, seen.gateway, limits.max_5xx_percent),
        ("contract", recent.contract, seen.contract, limits.max_4xx_percent),
        ("rate_limit", recent.limited, seen.limited, limits.max_429_percent),
        ("bad", recent.bad, seen.bad, limits.max_bad_percent),
    )
    return [one for one in every if _holds(limits, one[0])]


def _holds(limits: GuardSettings, signal: str) -> bool:
    """Return whether a signal is in the hold tier: all are, but one that is only observed."""
    return limits.mode == "observe" or limits.mode_of(signal) != "observe"


def time_words(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, without decimals."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 6000 else f"{seconds / 3600:.0f} h"
