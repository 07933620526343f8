"""Verdicts: the rollback tier of a route, and the hold tier of a route or org to be raised.

They are pure functions of the log's window, without state in the process: every process that reads
the same log has the same verdict.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from rollout_console.guard.evidence.e_process import evidence
from rollout_console.guard.evidence.org_counts import OrgsIn
from rollout_console.guard.evidence.wilson import clean_requests_needed, wilson_upper
from rollout_console.health.windows.bins import Bin
from rollout_gate.file.model import GuardSettings

Kind = Literal["ok", "hold", "rollback"]

FLOOR_REQUESTS = 10
FLOOR_ERRORS = 3
IN_A_ROW = 3
SLOW_SHARE = 0.05
STALE_AFTER_S = 30.0
QUIET_S = 60.0
"""Seconds without an error from which on a verdict about errors reports that quiet time."""
LIVE_FROM = 10
"""With fewer requests in the window, the previous side's error rate is not used."""
MARGIN = 0.01
"""One percentage point on top of the upper bound, as the design has it."""

SIGNALS = ("gateway", "contract", "rate_limit", "latency")
"""Signals judged by an e-process; ``auth`` and ``balance`` are judged by consecutive errors."""
WORDS = {"gateway": "5xx", "contract": "4xx", "rate_limit": "429", "latency": "slow"}


class Verdict(msgspec.Struct, frozen=True):
    """The guard's judgement, with its reason in words and the signal that it rests on.

    ``last_error_at`` is the time of that signal's last error (epoch seconds), None where the
    verdict does not rest on errors.
    """

    kind: Kind
    reason: str = ""
    signal: str = ""
    last_error_at: float | None = None

    @property
    def words(self) -> str:
        """The verdict in words: ``ok``, or its kind and reason."""
        return "ok" if self.kind == "ok" else f"{self.kind}: {self.reason}"


OK = Verdict("ok")


def rollback_tier(
    limits: GuardSettings, bins: Sequence[Bin], previous: Sequence[Bin], orgs: OrgsIn, now: float
) -> Verdict:
    """Return ``rollback`` with the signal that asks for it, else ``ok``.

    ``bins`` are those of the route's TokenLab side in the window, ``previous`` those of the other
    side, whose own error rate raises the limit. Where several orgs have requests, errors that are
    of a single org do not count. Consecutive auth or balance errors are a ``hold``, and a
    ``rollback`` only in mode ``enforce``.
    """
    requests = sum(one.requests for one in bins)
    asking: list[tuple[float, Verdict]] = []
    for signal in SIGNALS:
        counts = [one.errors(signal) for one in bins]
        if sum(bad for _, bad in counts) < FLOOR_ERRORS:
            continue
        limit = limit_of(limits, signal)
        p0 = max(limit, _allowed(previous, signal))
        found = evidence(counts, p0)
        if not found.tripped or requests < FLOOR_REQUESTS or found.errors < FLOOR_ERRORS:
            continue
        if orgs.several(bins[0].at) and not orgs.several_with(signal, bins[found.since].at):
            continue
        share = percent_words(100 * found.errors / found.requests)
        by = " (previous)" if p0 > limit else ""
        reason = f"{WORDS[signal]} {share}, {found.errors} of {found.requests}"
        last = _last_error_at(bins, signal)
        reason = f"{reason}, limit {100 * p0:.2g}%{by}{_quiet_for(last, now)}"
        asking.append((found.value, Verdict("rollback", reason, signal, last)))
    if asking:
        return max(asking, key=lambda pair: pair[0])[1]
    kind: Kind = "rollback" if limits.mode == "enforce" else "hold"
    for signal, word in (("auth", "401/403"), ("balance", "402")):
        row = _in_a_row(bins, signal)
        if row >= IN_A_ROW:
            last = _last_error_at(bins, signal)
            return Verdict(kind, f"{row}x {word}, all in a row", signal, last)
    return OK


def limit_of(limits: GuardSettings, signal: str) -> float:
    """Return the limit of a signal's error rate, as a fraction from 0 to 1."""
    if signal == "latency":
        return SLOW_SHARE
    percent = {
        "gateway": limits.max_5xx_percent,
        "contract": limits.max_4xx_percent,
        "rate_limit": limits.max_429_percent,
    }[signal]
    return percent / 100


def _last_error_at(bins: Sequence[Bin], signal: str) -> float:
    """Return the start of the last bin with an error of a signal; there must be one."""
    return next(one.at for one in reversed(bins) if one.errors(signal)[1])


def _quiet_for(last_error: float | None, now: float) -> str:
    """Return for how long there has been no error, empty under QUIET_S."""
    if last_error is None or now - last_error < QUIET_S:
        return ""
    return f", none for {_time(now - last_error)}"


def _allowed(previous: Sequence[Bin], signal: str) -> float:
    """Return the error rate that the previous side's own rate allows; 0 with too few requests.

    It is the one-sided upper Wilson bound of the observed rate plus MARGIN, at most 0.99.
    """
    counts = [one.errors(signal) for one in previous]
    requests = sum(count for count, _ in counts)
    if requests < LIVE_FROM:
        return 0.0
    return min(wilson_upper(sum(bad for _, bad in counts), requests) + MARGIN, 0.99)


def _in_a_row(bins: Sequence[Bin], signal: str) -> int:
    """Count the consecutive errors at the end of the window, by bins in which all failed."""
    row = 0
    for one in reversed(bins):
        requests, refused = one.errors(signal)
        if refused < requests:
            return row
        row += refused
    return row


def percent_words(share: float) -> str:
    """Format a percent, with a decimal below 10%: from there on a tenth is not significant."""
    return f"{share:.1f}%" if share < 9.95 else f"{share:.0f}%"


class Counts(msgspec.Struct, frozen=True):
    """Request count of a time span, and the errors of each class among them."""

    requests: int
    contract: int = 0
    gateway: int = 0
    limited: int = 0


def hold_tier(
    limits: GuardSettings,
    *,
    recent: Counts,
    seen: Counts,
    p95_ms: float | None,
    age_s: float | None,
    bake_left_s: float = 0.0,
    now: float = 0.0,
    last_error_at: Callable[[str], float | None] = lambda _: None,
) -> Verdict:
    """Return ``ok`` where the counts are evidence of health, else ``hold`` and why.

    Rates are judged on ``recent``, the window; the sample size (upper Wilson bound) on ``seen``,
    which reaches back over the bake time but not to before the last raise. ``age_s`` is the age
    of the newest request, None where there was none; ``bake_left_s`` the rest of the bake time;
    ``last_error_at`` returns when a signal had its last error in the window (epoch seconds).
    """
    if age_s is None:
        return Verdict("hold", "no data", "data")
    if age_s > STALE_AFTER_S:
        return Verdict("hold", f"no data {_time(age_s)}", "data")
    if seen.requests == 0:
        return Verdict("hold", "no data since the step" if bake_left_s else "no data", "data")
    if p95_ms is not None and p95_ms > limits.max_p95_ms:
        return Verdict("hold", f"p95 {p95_ms:.0f} ms", "latency")
    signals = (
        ("gateway", recent.gateway, seen.gateway, limits.max_5xx_percent),
        ("contract", recent.contract, seen.contract, limits.max_4xx_percent),
        ("rate_limit", recent.limited, seen.limited, limits.max_429_percent),
    )
    for signal, errors, _, percent in signals:
        if recent.requests and 100 * errors / recent.requests > percent:
            share, last = percent_words(100 * errors / recent.requests), last_error_at(signal)
            return Verdict("hold", f"{WORDS[signal]} {share}{_quiet_for(last, now)}", signal, last)
    for signal, _, errors, percent in signals:
        if wilson_upper(errors, seen.requests) > percent / 100:
            needed = clean_requests_needed(percent / 100)
            if errors == 0:
                return Verdict("hold", f"{seen.requests} of {needed} ok", signal)
            rate = 100 * errors / seen.requests
            counts = f"{errors} of {seen.requests}"
            if rate > percent:
                words = f"{WORDS[signal]} {percent_words(rate)}, {counts}"
            else:
                words = f"{WORDS[signal]} {counts}, too few to tell"
            return Verdict("hold", words, signal)
    if bake_left_s > 0:
        return Verdict("hold", f"bakes for {_time(bake_left_s)}", "bake")
    return OK


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 6000 else f"{seconds / 3600:.0f} h"
