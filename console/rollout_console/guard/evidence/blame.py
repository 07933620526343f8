"""The rollback tier, and whom it blames: the route, or single orgs of it.

The e-process that judges a route judges each of its orgs as well, with a threshold that grows with
the number of orgs (a union bound over the streams). An org that is condemned leaves the route's
evidence. Whether errors are the route's or some orgs' own is a comparison of two explanations of
the same requests: one error rate for all, or rates of their own for few.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import log
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.culprits import (
    NONE,
    Culprit,
    Found,
    Labelled,
    culprit_words,
    culprits_of,
    unnamed_words,
)
from rollout_console.guard.evidence.e_process import (
    THRESHOLD,
    errors_needed,
    log_ratio,
    strongest_since,
)
from rollout_console.guard.evidence.previous import Previous, weighed
from rollout_console.guard.evidence.verdict import (
    ADVICE,
    BRIEF,
    CAUSES,
    HOLDING,
    OK,
    REFUSALS,
    SIGNALS,
    WORDS,
    Verdict,
    limit_of,
    mode_of,
    percent_words,
    plural_of,
    quiet_for,
    time_words,
)
from rollout_console.health.windows.bins import Bin
from rollout_gate.file.model import GUARD_MODES, GuardSettings

FLOOR_REQUESTS = 10
FLOOR_ERRORS = 3
IN_A_ROW = 3
REFUSED_BY_BOTH = "a rollback does not help: look at what both sides share, as a proxy or a key"
COMMON_BY = 3.4
"""How much better (log likelihood ratio, 30 to 1) one rate for all must explain the errors than
rates of their own for few orgs, for the route to be condemned."""
MANY = 4
"""How many times the errors that condemn one org several orgs must have that none is condemned for,
until they are the route's."""
MOST = 0.5
"""Share of the orgs with traffic above which, if so many are condemned, the route is."""
NAMED_FROM = 0.5
"""Share of a signal's errors from which on an org is named as their cause."""
MODEL_FROM = 0.8
"""Share of a signal's errors from which on a model is named, where the others are in order."""

Groups = Callable[[float], Mapping[str, Bin]]
"""Counts by name (of a model, ...) since a time, epoch seconds."""
_NO_ORGS: Mapping[str, Verdict] = MappingProxyType({})


class Tier(NamedTuple):
    """The rollback tier: the route's verdict without the orgs that are condemned, and theirs.

    ``culprits`` are the hosts and key aliases that have its errors; ``unnamed`` are the labels
    with more values than are judged. ``refused`` are the route (None) or the orgs that both sides
    refuse at the same time: an alarm, and no rollback, which would not help.
    """

    route: Verdict = OK
    orgs: Mapping[str, Verdict] = _NO_ORGS
    culprits: Sequence[Culprit] = ()
    unnamed: Sequence[str] = ()
    refused: Mapping[str | None, Verdict] = MappingProxyType({})

    def without_observed(self, limits: GuardSettings) -> "Tier":
        """Return what the tier asks for without the signals that are only observed."""

        def counts(verdict: Verdict) -> bool:
            return verdict is OK or mode_of(limits, verdict.signal) != "observe"

        orgs = {org: verdict for org, verdict in self.orgs.items() if counts(verdict)}
        route = self.route if counts(self.route) else OK
        return self._replace(route=route, orgs=orgs)


class Traffic(msgspec.Struct, frozen=True):
    """The requests of a route's window, as the rollback tier reads them.

    ``bins`` are those of the route on TokenLab, oldest first; ``orgs`` has the bins of each org
    with an error, ``width_s`` seconds wide, from ``begin`` on (a multiple of that); ``seen`` is
    how many orgs have requests at all. ``previous`` are the counts of the other side,
    ``previous_of`` those of one org there; ``previous_bins`` returns the same by time, None for all
    orgs, and nothing where the sides are not compared by time. ``groups`` has further ways to
    divide the requests, by the word for one: ``model``. ``labels`` are the requests by host and key
    alias, and ``whole`` the route's bins as wide as those, with all orgs in them. ``is_rest`` is
    set where orgs were left out. ``signals`` are those to judge. ``told_at`` returns when the last
    error of a signal and an org was known, -inf without one, where that is later than the bin that
    it is in.
    """

    bins: Sequence[Bin]
    orgs: Mapping[str, Sequence[Bin]]
    seen: int
    width_s: int
    begin: float
    previous: Bin | None = None
    previous_of: Callable[[str], Bin | None] = lambda _: None
    groups: Mapping[str, Groups] = msgspec.field(default_factory=dict)
    labels: Mapping[str, Labelled] = msgspec.field(default_factory=dict)
    whole: Sequence[Bin] = ()
    is_rest: bool = False
    signals: Sequence[str] = SIGNALS
    told_at: Callable[[str, str], float] | None = None
    previous_bins: Callable[[str | None], Sequence[Bin]] = lambda _: ()
    least_s: int = 1
    """The width in seconds that no bin is narrower than: of a source that counts in steps."""

    def last_error_at(self, signal: str, org: str | None = None) -> float:
        """Return the time of the last error of a signal, of one org or all; there must be one."""
        if self.told_at is not None:
            return max(self.told_at(signal, one) for one in (self.orgs if org is None else (org,)))
        return last_error_at(self.bins if org is None else self.orgs[org], signal)

    def other_side(self, org: str | None = None) -> Previous:
        """Return the previous side of the route, or of one org."""
        every = self.previous if org is None else self.previous_of(org)
        return Previous(every, lambda: self.previous_bins(org), if_over=org is not None)

    def without(self, names: Collection[str]) -> "Traffic":
        """Return the traffic without the requests of some orgs that have an error."""
        return replace(
            self,
            bins=less(self.bins, [self.orgs[name] for name in names], self.begin, self.width_s),
            orgs={name: bins for name, bins in self.orgs.items() if name not in names},
            seen=self.seen - len(names),
            is_rest=True,
        )


def judge(limits: GuardSettings, traffic: Traffic, now: float) -> Tier:
    """Return which orgs of a route ask for a rollback, and whether the route itself does.

    The route does where its evidence trips and its errors are common: better explained by one rate
    for all than by rates of their own for few orgs; or most orgs with traffic are condemned. No org
    is blamed then. Otherwise what is left without the condemned orgs is judged once more in the
    same way. A route with traffic of a single org is judged by it. Hosts and key aliases that have
    the errors are named, and change neither verdict.
    """
    found = _culprits(limits, traffic)
    tier = _blamed(limits, traffic, now, found)
    named = [some for by_label in found.values() for some in by_label.values()]
    condemned = [total(traffic.orgs[org])[1:] for org in tier.orgs]
    culprits = []
    for label, labelled in traffic.labels.items():
        of_label = [some for some in named if some[0].label == label]
        if of_label:
            # An alias with the requests of a condemned org, all of them, is that org.
            strongest = max(of_label, key=lambda some: some[0].value)
            culprits += [
                one for one in strongest if total(labelled.bins[one.name])[1:] not in condemned
            ]
    unnamed = [label for label, labelled in traffic.labels.items() if labelled.seen < 0]
    refused = {} if tier.route.kind == "rollback" else _refused_by_both(traffic)
    return tier._replace(culprits=culprits, unnamed=unnamed, refused=refused)


def _refused_by_both(traffic: Traffic) -> dict[str | None, Verdict]:
    """Return a verdict on the route, or else on each org, that both sides refuse in a row."""
    found: dict[str | None, Verdict] = {}
    for signal in REFUSALS if REFUSALS[0] in traffic.signals else ():
        places: list[tuple[str | None, Sequence[Bin]]] = [(None, traffic.bins)]
        places += traffic.orgs.items()
        for org, bins in places:
            row = _in_a_row(bins, signal)
            if row >= IN_A_ROW and (theirs := _also_refused(traffic, bins, signal, org)):
                reason = f"{WORDS[signal]} {row} times in a row, {theirs} on the previous side"
                brief = f"{row}x {BRIEF[signal]}"
                found[org] = Verdict("hold", reason, signal, None, brief, REFUSED_BY_BOTH)
                if org is None:
                    return found
    return found


def _also_refused(traffic: Traffic, bins: Sequence[Bin], signal: str, org: str | None) -> str:
    """Return how many requests the previous side has refused since a row began; else empty.

    It is empty where that side has answered: as many as make a row, or no fewer than it refused. Of
    an org its own requests count, or where it has none there those of all: a proxy, or a key that
    both sides have, refuses either side.
    """
    begin = _row_begins_at(bins, signal) - traffic.least_s + 1
    requests, refused = traffic.other_side(org).since(begin, signal)
    if not requests and org is not None:
        requests, refused = traffic.other_side().since(begin, signal)
    answered = requests - refused
    return f"{refused} of {requests}" if refused > answered < IN_A_ROW else ""


def _culprits(limits: GuardSettings, traffic: Traffic) -> Found:
    """Return the hosts and key aliases that have the route's errors, by signal and label."""
    found = {}
    for signal in traffic.signals:
        if not traffic.labels or (mode_of(limits, signal) != "enforce" and signal in HOLDING):
            continue
        limit = limit_of(limits, signal)
        p0 = max(limit, traffic.other_side().allowed(signal, limit))
        if named := culprits_of(traffic.labels, traffic.whole, signal, p0, limit):
            found[signal] = named
    return found or NONE


def _blamed(limits: GuardSettings, traffic: Traffic, now: float, found: Found) -> Tier:
    """Return the tier without its culprits, which a verdict names that rests on their signal."""
    common = _route_verdict(limits, traffic, now, culprits=found)
    if common.kind == "rollback" or traffic.seen < 2:
        return Tier(common)
    sick: dict[str, tuple[tuple[int, float], Verdict]] = {}
    by_signal: dict[str, int] = dict.fromkeys(traffic.signals, 0)
    totals = {org: total(bins) for org, bins in traffic.orgs.items()}
    for signal in traffic.signals:
        if mode_of(limits, signal) != "enforce" and signal in HOLDING:
            continue  # a holding signal condemns no org
        for org, value, verdict in _sick_orgs(limits, traffic, totals, signal, now):
            by_signal[signal] += 1
            # What is only observed must not hide a signal that holds, or that rolls back.
            rank = GUARD_MODES.index(mode_of(limits, signal)), value
            if org not in sick or rank > sick[org][0]:
                sick[org] = rank, verdict
    if not sick:
        return Tier(_route_verdict(limits, traffic, now, unattributed=True, culprits=found))
    mostly = [one for one, count in by_signal.items() if count > MOST * traffic.seen]
    if mostly:
        common = _route_verdict(limits, traffic, now, mostly, culprits=found)
    if common.kind == "rollback":
        return Tier(common)
    left = traffic.without(sick)
    rest = _route_verdict(limits, left, now, unattributed=True, culprits=found)
    return Tier(rest, {org: verdict for org, (_, verdict) in sorted(sick.items())})


def _sick_orgs(
    limits: GuardSettings,
    traffic: Traffic,
    totals: Mapping[str, Bin],
    signal: str,
    now: float,
) -> Iterator[tuple[str, float, Verdict]]:
    """Yield each org that a signal condemns, with its evidence."""
    limit = limit_of(limits, signal)
    of_route, threshold = traffic.other_side(), THRESHOLD * traffic.seen
    needed = max(FLOOR_ERRORS, errors_needed(limit, threshold))
    for org, every in totals.items():
        errors, bins = every.errors(signal)[1], traffic.orgs[org]
        if errors >= needed and every.requests >= FLOOR_REQUESTS:
            # An org whose requests fail there as well is not to be blamed on TokenLab.
            sides = of_route, traffic.other_side(org)
            found, p0, _ = weighed(bins, signal, limit, sides, threshold, traffic.least_s)
            if found.tripped and found.errors >= FLOOR_ERRORS:
                span_s = _span_s(bins, found.since, max(traffic.width_s, traffic.least_s))
                figures = _Figures(signal, found.errors, found.requests, span_s, p0, p0 > limit)
                share = _share_of(traffic, signal, bins[found.since].at, found.errors)
                last = traffic.last_error_at(signal, org)
                yield org, found.value, figures.verdict(last, now, _named(signal, share, org))
                continue
        row = _in_a_row(bins, signal) if signal in REFUSALS and errors >= IN_A_ROW else 0
        if row >= IN_A_ROW and not _also_refused(traffic, bins, signal, org):
            yield org, 0.0, _row_verdict(row, signal, traffic.last_error_at(signal, org), now)


def _route_verdict(
    limits: GuardSettings,
    traffic: Traffic,
    now: float,
    mostly: Collection[str] = (),
    *,
    unattributed: bool = False,
    culprits: Found = NONE,
) -> Verdict:
    """Return ``rollback`` with the signal that asks most for it, else ``ok``.

    ``mostly`` are the signals that condemn most orgs. ``unattributed`` is set where no org is
    condemned for these errors: many errors of several orgs are then the route's, however few the
    orgs are. Without it, errors of orgs below their floor would never trigger a rollback.
    """
    requests, previous = sum(one.requests for one in traffic.bins), [traffic.other_side()]
    several = traffic.seen > 1 or traffic.is_rest
    asking: list[tuple[int, float, Verdict]] = []
    for signal in traffic.signals:
        errors = sum(one.errors(signal)[1] for one in traffic.bins)
        if requests < FLOOR_REQUESTS or errors < FLOOR_ERRORS:
            continue
        limit = limit_of(limits, signal)
        found, p0, counts = weighed(
            traffic.bins, signal, limit, previous, THRESHOLD, traffic.least_s
        )
        if not found.tripped or found.errors < FLOOR_ERRORS:
            continue
        since = traffic.bins[found.since].at
        if several:
            if len(_orgs_with(traffic, signal, since)) < 2:
                continue
            common, unblamed = _is_common(traffic, signal, counts, p0)
            enough = MANY * errors_needed(p0, THRESHOLD * traffic.seen)
            if signal not in mostly and not common and not (unattributed and unblamed >= enough):
                continue
        width_s = traffic.width_s if traffic.is_rest else 1
        span_s = _span_s(traffic.bins, found.since, max(width_s, traffic.least_s))
        figures = _Figures(signal, found.errors, found.requests, span_s, p0, p0 > limit)
        named = _group_words(traffic, signal, since, p0) + culprit_words(culprits.get(signal, {}))
        named += "".join(unnamed_words(one) for one, of in traffic.labels.items() if of.seen < 0)
        last = traffic.last_error_at(signal)
        verdict, mode = figures.verdict(last, now, named), mode_of(limits, signal)
        if signal in HOLDING and mode != "enforce":
            verdict = replace(verdict, kind="hold")
        # What is only observed must not hide a signal that holds, or that rolls back.
        asking.append((GUARD_MODES.index(mode), found.value, verdict))
    if asking:
        return max(asking, key=lambda one: one[:2])[2]
    for signal in REFUSALS:
        row = _in_a_row(traffic.bins, signal)
        if row < IN_A_ROW or _also_refused(traffic, traffic.bins, signal, None):
            continue
        begin = _row_begins_at(traffic.bins, signal)
        if not several or len(_orgs_with(traffic, signal, begin)) > 1:
            return _row_verdict(row, signal, traffic.last_error_at(signal), now)
    return OK


def _is_common(
    traffic: Traffic, signal: str, counts: Sequence[tuple[int, int]], p0: float
) -> tuple[bool, float]:
    """Return whether one error rate for all explains the errors better than few sick orgs do.

    Both are likelihood ratios to ``p0`` over the same stretch of time: since the strongest
    alternative of the route's e-process left its floor. Few are MOST of the orgs at most, and each
    of several costs the logarithm of the number of orgs, as it has to be picked among them. That
    common must be better by COMMON_BY is so that a chance error of another org condemns no route.

    The other result is how many errors are of orgs that explain theirs by a rate of their own; 0
    where that is a single org.
    """
    first = strongest_since(counts, p0)
    slot = traffic.bins[first].at // traffic.width_s * traffic.width_s
    bad_part, good_part = _parts(traffic, signal, first, slot)
    ratios, own = list[float](), list[float]()
    for bins in traffic.orgs.values():
        bad = requests = 0.0
        for one in bins:
            if one.at > slot:
                count, errors = one.errors(signal)
                requests += count
                bad += errors
            elif one.at == slot:
                count, errors = one.errors(signal)
                requests += (count - errors) * good_part + errors * bad_part
                bad += errors * bad_part
        if bad:
            ratio = log_ratio(bad, requests - bad, p0)
            ratios.append(ratio)
            if ratio > log(traffic.seen):
                own.append(bad)
    ratios = sorted(ratios, reverse=True)[: max(int(MOST * traffic.seen), 1)]
    few = max([*ratios[:1], sum(max(ratio - log(traffic.seen), 0.0) for ratio in ratios), 0.0])
    every_bad = sum(bad for _, bad in counts[first:])
    every_good = sum(count for count, _ in counts[first:]) - every_bad
    is_common = log_ratio(every_bad, every_good, p0) >= few + COMMON_BY
    return is_common, sum(own) if len(own) > 1 else 0.0


def _parts(traffic: Traffic, signal: str, first: int, slot: float) -> tuple[float, float]:
    """Return which parts of a slot's errors and other requests are from the bin ``first`` on.

    A stretch of the route may begin within a slot of its orgs: of that slot they have its parts.
    """
    bins = traffic.bins
    within = [i for i, one in enumerate(bins) if slot <= one.at < slot + traffic.width_s]
    counts = {i: bins[i].errors(signal) for i in within}
    bad = sum(counts[i][1] for i in within)
    good = sum(counts[i][0] for i in within) - bad
    bad_since = sum(counts[i][1] for i in within if i >= first)
    good_since = sum(counts[i][0] for i in within if i >= first) - bad_since
    return bad_since / bad if bad else 1.0, good_since / good if good else 1.0


def _orgs_with(traffic: Traffic, signal: str, since: float) -> list[str]:
    """Return the orgs with errors of a signal since a time, rounded down to their slots."""
    begin = since // traffic.width_s * traffic.width_s
    return [
        org
        for org, bins in traffic.orgs.items()
        if any(one.at >= begin and one.errors(signal)[1] for one in bins)
    ]


class _Figures(NamedTuple):
    """What a verdict of an e-process says; ``by_previous`` where that side raised the limit.

    The errors are those of the last ``span_s`` seconds with requests: since they began, where that
    is within the window.
    """

    signal: str
    errors: int
    requests: int
    span_s: float
    p0: float
    by_previous: bool

    def verdict(self, last: float, now: float, named: str) -> Verdict:
        """Return the verdict in words; ``named`` is who has most of the errors, or empty."""
        word, share = WORDS[self.signal], percent_words(100 * self.errors / self.requests)
        quiet = quiet_for(last, now)
        brief = f"{BRIEF[self.signal]} {share}" if self.signal in BRIEF else ""
        if self.signal in CAUSES:
            reason = f"{CAUSES[self.signal]}: {word} on {share}{quiet}{named}"
            return Verdict("rollback", reason, self.signal, last, brief, ADVICE[self.signal])
        by = " (previous)" if self.by_previous else ""
        counts = f"{self.errors} of {self.requests}, limit {100 * self.p0:.2g}%{by}"
        reason = f"{word} {share} in {time_words(self.span_s)}, {counts}"
        return Verdict("rollback", f"{reason}{quiet}{named}", self.signal, last, brief)


def _span_s(bins: Sequence[Bin], since: int, width_s: int) -> float:
    """Return the seconds from the bin ``since`` to the end of the last one."""
    return bins[-1].at + width_s - bins[since].at


def _row_verdict(row: int, signal: str, last: float, now: float) -> Verdict:
    word = WORDS[signal]
    reason = f"{CAUSES[signal]}: {word} {row} times in a row{quiet_for(last, now)}"
    return Verdict("rollback", reason, signal, last, f"{row}x {BRIEF[signal]}", ADVICE[signal])


def _named(signal: str, share: float, name: str) -> str:
    if share < NAMED_FROM:
        return ""
    return f"; {percent_words(100 * share)} of {plural_of(signal)} are {visible(name)}"


def _share_of(traffic: Traffic, signal: str, since: float, errors: int) -> float:
    """Return an org's share of the route's errors since a time, 0 to 1."""
    every = sum(one.errors(signal)[1] for one in traffic.bins if one.at >= since)
    return min(errors / every, 1.0) if every else 0.0


def _group_words(traffic: Traffic, signal: str, since: float, p0: float) -> str:
    """Name what has most of the route's errors: a model, where the other models are in order."""
    for word, groups in traffic.groups.items():
        counts = {name: one.errors(signal) for name, one in groups(since).items()}
        requests = sum(count for count, _ in counts.values())
        errors = sum(bad for _, bad in counts.values())
        if len(counts) < 2 or not errors:
            continue
        name = max(sorted(counts), key=lambda one: counts[one][1])
        of_others, bad = requests - counts[name][0], errors - counts[name][1]
        in_order = of_others >= FLOOR_REQUESTS and bad <= p0 * of_others
        if in_order and counts[name][1] >= MODEL_FROM * errors:
            return _named(signal, counts[name][1] / errors, f"{word} {name}")
    return ""


def last_error_at(bins: Sequence[Bin], signal: str) -> float:
    """Return the start of the last bin with an error of a signal; there must be one."""
    return next(one.at for one in reversed(bins) if one.errors(signal)[1])


def _in_a_row(bins: Sequence[Bin], signal: str) -> int:
    """Count the consecutive errors at the end of the window, by bins in which all failed."""
    row = 0
    for one in reversed(bins):
        requests, refused = one.errors(signal)
        if refused < requests:
            return row
        row += refused
    return row


def _row_begins_at(bins: Sequence[Bin], signal: str) -> float:
    """Return the start of the first bin of the consecutive errors at the end of the window."""
    begin = bins[-1].at
    for one in reversed(bins):
        requests, refused = one.errors(signal)
        if refused < requests:
            break
        begin = one.at
    return begin


def total(bins: Sequence[Bin]) -> Bin:
    """Return the counts of one or more bins as one, which begins with the first of them."""
    return Bin(bins[0].at, *map(sum, zip(*(one[1:] for one in bins), strict=True)))


def wider(bins: Iterable[Bin], width_s: int) -> list[Bin]:
    """Return bins merged to a width in seconds, a multiple of theirs."""
    slots = groupby(bins, lambda one: one.at // width_s)
    return [total(list(some))._replace(at=slot * width_s) for slot, some in slots]


def less(
    bins: Iterable[Bin], others: Iterable[Sequence[Bin]], begin: float, width_s: int
) -> list[Bin]:
    """Return bins from ``begin`` on, merged to a width, without the counts of others of it.

    ``begin`` is a multiple of ``width_s``, and so are the times of the others.
    """
    left = {one.at: one for one in wider((one for one in bins if one.at >= begin), width_s)}
    for other in others:
        for one in other:
            if one.at in left:
                left[one.at] = _minus(left[one.at], one)
    return [one for one in left.values() if any(one[1:])]


def _minus(one: Bin, other: Bin) -> Bin:
    """Return the counts of one bin without those of another that is part of it."""
    return Bin(one.at, *(max(a - b, 0) for a, b in zip(one[1:], other[1:], strict=True)))
