"""Root-cause attribution of a route's errors to one host (the log's writer) or one API key alias.

The e-process that judges a route judges each value of a label, with a threshold that grows with
their number (a union bound over the streams). That alone names nobody: where TokenLab fails for
everybody, or an org that every host serves, each of them is over the limit. So a value is named
where rates of their own for one or a few explain the errors far better than one rate for all, and
where its error rate is several times that of the others, which are in order without it, or have
fewer errors than it has. It changes no verdict: a host has no share in the file that could be
rolled back alone.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log

import msgspec

from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.e_process import (
    THRESHOLD,
    Evidence,
    errors_needed,
    evidence,
    log_ratio,
)
from rollout_console.guard.evidence.previous import is_over
from rollout_console.guard.evidence.verdict import percent_words, plural_of, quiet_for
from rollout_console.health.windows.bins import Bin
from rollout_console.health.windows.labels import MOST_VALUES
from rollout_gate.secret import redacted

FLOOR_REQUESTS = 10
"""Requests of the others, below which there is nothing to compare with."""
FLOOR_ERRORS = 3
NAMED_BY = 6.9
"""How much better (log likelihood ratio, 1,000 to 1) each value with a rate of its own must explain
the errors: than one rate for all, and than the values named before it."""
NAMED_FROM = 0.5
"""Share of the errors from which on values are named for them, though the others are not in order.

Where they are, a lower share suffices: one of many values is sick with few requests, and what is
usual of all the others may be more errors than it has.
"""
TIMES = 3.0
"""How many times the error rate of the others that of each named value is at least."""
MOST_NAMED = 3
MOST = 0.5
"""Share of a label's values up to which they can be named: of more, the route is what is sick."""

WORDS = {"host": ("host", "hosts"), "key_alias": ("key alias", "key aliases")}
"""A label in words: of one, and of several."""


class Labelled(msgspec.Struct, frozen=True):
    """The requests of a route's window by the values of one label.

    ``bins`` are those of each value with an error, ``seen`` is how many values have requests, or
    -1 where they are too many to be judged. ``previous_of`` are a value's counts on the previous
    side. Lines without the label are part of the route, and of no value.
    """

    bins: Mapping[str, Sequence[Bin]]
    seen: int
    previous_of: Callable[[str], Bin | None] = lambda _: None


class Culprit(msgspec.Struct, frozen=True):
    """A label's value that a route's errors of one signal are blamed on, alone or with a few.

    ``errors`` of ``requests`` are its own since the errors began, ``share`` is its part of the
    route's (0 to 1), ``of`` how many values have requests; ``others`` are the errors and requests
    of all else on the route. ``fails_on_previous`` is set where it fails on that side as well.
    """

    label: str
    name: str
    signal: str
    errors: int
    requests: int
    share: float
    of: int
    others: tuple[int, int]
    last_error_at: float
    value: float = 0.0
    fails_on_previous: bool = False

    @property
    def shown(self) -> str:
        """The name, safe to be shown; a credential in its place is redacted."""
        return redacted(visible(self.name))

    def reason(self, now: float) -> str:
        """Return the finding in words, with the figures that it rests on."""
        bad, requests = self.others
        elsewhere = f"{self.errors} of {self.requests} there, {bad} of {requests} elsewhere"
        return f"{_words([self])}: {elsewhere}{quiet_for(self.last_error_at, now)}"


Found = Mapping[str, Mapping[str, Sequence[Culprit]]]
"""Culprits by signal, then label."""
NONE: Found = {}


def culprits_of(
    labelled: Mapping[str, Labelled],
    whole: Sequence[Bin],
    signal: str,
    p0: float,
    limit: float,
) -> dict[str, list[Culprit]]:
    """Return whose errors of a signal the route has, by label; ``whole`` are the route's bins.

    ``p0`` is the error rate that the previous side allows, at least ``limit``.
    """
    found: dict[str, list[Culprit]] = {}
    if sum(one.errors(signal)[1] for one in whole) < FLOOR_ERRORS:
        return found
    for label, one in labelled.items():
        if one.seen > 0 and (named := _named(label, one, whole, signal, p0, limit)):
            found[label] = named
    return found


def _named(
    label: str, labelled: Labelled, whole: Sequence[Bin], signal: str, p0: float, limit: float
) -> list[Culprit]:
    sick = _sick(labelled, signal, p0)
    if not sick:
        return []
    # The newest of their change points: what has recovered since is not named with them.
    strongest = sorted(sick, key=lambda value: (-sick[value].value, value))[:MOST_NAMED]
    since = max(labelled.bins[value][sick[value].since].at for value in strongest)
    counts = {value: _counts(labelled.bins[value], signal, since) for value in sick}
    every_bad, every_good = _counts(whole, signal, since)
    ratios = {value: log_ratio(*counts[value], p0) for value in sick}
    order = sorted(sick, key=lambda value: (-ratios[value], value))
    common = max(log_ratio(every_bad, every_good, p0), 0.0)
    before, named = 0.0, list[str]()
    bad = good = 0
    gain = -common
    for count, value in enumerate(order[: min(MOST_NAMED, max(int(MOST * labelled.seen), 1))], 1):
        gain += ratios[value] - log(labelled.seen + 1)
        bad, good = bad + counts[value][0], good + counts[value][1]
        left_bad, left_good = max(every_bad - bad, 0), max(every_good - good, 0)
        if left_bad + left_good < FLOOR_REQUESTS or not bad:
            break
        better = gain + max(log_ratio(left_bad, left_good, p0), 0.0)
        of_left = left_bad / (left_bad + left_good)
        own = counts[value][0] / max(sum(counts[value]), 1)
        if better < before + NAMED_BY or own < TIMES * of_left:
            break
        before = better
        are_in_order = left_bad <= p0 * (left_bad + left_good)
        if are_in_order or bad >= NAMED_FROM * every_bad:
            named, others = order[:count], (left_bad, left_bad + left_good)
    return [
        Culprit(
            label, value, signal, counts[value][0], sum(counts[value]),
            min(counts[value][0] / every_bad, 1.0), labelled.seen, others,
            next(one.at for one in reversed(labelled.bins[value]) if one.errors(signal)[1]),
            sick[value].value,
            _fails_on_previous(labelled.previous_of(value), signal, limit),
        )
        for value in named
    ]  # fmt: skip


def _sick(labelled: Labelled, signal: str, p0: float) -> dict[str, Evidence]:
    """Return the values whose own e-process reaches the threshold."""
    threshold = THRESHOLD * labelled.seen
    needed = max(FLOOR_ERRORS, errors_needed(p0, threshold))
    found = {}
    for value, bins in labelled.bins.items():
        counts = [one.errors(signal) for one in bins]
        if sum(bad for _, bad in counts) >= needed:
            one = evidence(counts, p0, threshold)
            if one.tripped and one.errors >= FLOOR_ERRORS:
                found[value] = one
    return found


def _counts(bins: Sequence[Bin], signal: str, since: float) -> tuple[int, int]:
    """Return the errors since a time, and the other requests."""
    counts = [one.errors(signal) for one in bins if one.at >= since]
    bad = sum(errors for _, errors in counts)
    return bad, sum(requests for requests, _ in counts) - bad


def _fails_on_previous(previous: Bin | None, signal: str, limit: float) -> bool:
    requests, errors = (0, 0) if previous is None else previous.errors(signal)
    return is_over(requests, errors, limit)


def culprit_words(found: Mapping[str, Sequence[Culprit]]) -> str:
    """Name the culprits of one signal, as the verdict that rests on it does; empty for none."""
    return "".join(f"; {_words(some)}" for some in found.values() if some)


def unnamed_words(label: str) -> str:
    """Return that a label has too many values for one to be named, as a verdict says it."""
    return f"; more than {MOST_VALUES:,} {WORDS[label][1]}: none is named"


def _words(some: Sequence[Culprit]) -> str:
    first = some[0]
    word, words = WORDS[first.label]
    names = some[-1].shown
    if len(some) > 1:
        names = f"{', '.join(one.shown for one in some[:-1])} and {names}"
    share = percent_words(100 * min(sum(c.share for c in some), 1.0))
    of = f"{len(some)} of {first.of} {word if first.of == 1 else words}"
    who = word if len(some) == 1 else words
    return f"{share} of {plural_of(first.signal)} come from {who} {names} ({of})"
