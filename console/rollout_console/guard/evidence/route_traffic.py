"""What the rollback tier judges of a route, read from the windows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from math import ceil, inf
from types import MappingProxyType
from typing import NamedTuple

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, Traffic, less, total, wider
from rollout_console.guard.evidence.culprits import Labelled
from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.guard.evidence.org_counts import models_since
from rollout_console.guard.evidence.verdict import SIGNALS
from rollout_console.health.windows.bins import Bin, Bins, Limits, bin_of, buckets_of
from rollout_console.health.windows.windows import Windows


class Span(NamedTuple):
    """The window from ``begin`` to ``now``, and since when evidence counts (epoch seconds).

    ``gone`` are orgs of which nothing counts, as nothing of theirs goes to TokenLab any more;
    ``reset`` are orgs of which requests count only since a time.
    """

    begin: float
    since: float
    now: float
    gone: Collection[str]
    reset: Mapping[str, float]


def route_traffic(
    windows: Windows,
    bins: Bins,
    org_bins: OrgBins,
    route: str,
    orgs: Iterable[str],
    span: Span,
    limits: Limits,
    label_bins: Mapping[str, OrgBins] = MappingProxyType({}),
    least_s: int = 1,
) -> Traffic | None:
    """Return the traffic of a route; None where it has too few errors for any verdict.

    ``orgs`` are all that the route has had, ``label_bins`` read the bins of a label's values. The
    requests of orgs that are gone, and those from before an org's reset, are subtracted, and so the
    bins are as wide as those of single orgs. ``least_s`` is the width of the source's own counts.
    """
    begin, since, now, gone, reset = span
    found = bins.between(route, "tokenlab", since, now, limits)
    if not found:
        return None
    every = total(found)
    if all(every.errors(signal)[1] < FLOOR_ERRORS for signal in SIGNALS):
        return None
    width = org_bins.width_s
    first = ceil(since / width) * width
    whole = wider((one for one in found if one.at >= first), width)
    last_at = _last_at(windows, route, orgs, since)
    counts_from = {org: inf for org in last_at if org in gone}
    counts_from |= {org: at for org, at in reset.items() if org in last_at and org not in gone}
    left_out = []
    for org, until in counts_from.items():
        own = org_bins.between(route, org, "tokenlab", since, now, limits)
        left_out.append([one for one in own if one.at < until])
    if any(left_out):
        found = less(found, left_out, first, width)
    with_errors = org_bins.with_errors(route, orgs, begin, now, limits)
    counting = {}
    for org, of_org in with_errors.items():
        own_from = max(first, counts_from.get(org, first))
        if of_org[0].at < own_from:
            of_org = [one for one in of_org if one.at >= own_from]
        if of_org:
            counting[org] = of_org
    return Traffic(
        bins=found,
        orgs=counting,
        seen=sum(at >= counts_from.get(org, -inf) for org, at in last_at.items()),
        width_s=width,
        begin=first,
        previous=_total(windows, route, None, span, limits),
        previous_of=lambda org: _total(windows, route, org, span, limits),
        previous_bins=partial(_previous_bins, bins, org_bins, route, span, limits),
        labels={
            label: _labelled(windows, label, reader, route, span, first, limits)
            for label, reader in label_bins.items()
        },
        whole=whole,
        least_s=least_s,
        groups={"model": partial(models_since, windows, route, now=now, limits=limits)},
    )


def _previous_bins(
    bins: Bins, org_bins: OrgBins, route: str, span: Span, limits: Limits, org: str | None
) -> Sequence[Bin]:
    """Return the bins of the previous side over the window: of the route, or of one org."""
    if org is None:
        return bins.between(route, "previous", span.begin, span.now, limits)
    return org_bins.between(route, org, "previous", span.begin, span.now, limits)


def _labelled(
    windows: Windows,
    label: str,
    reader: OrgBins,
    route: str,
    span: Span,
    first: float,
    limits: Limits,
) -> Labelled:
    """Return the requests of a route by the values of a label, from ``first`` on."""
    begin, now, labels = span.begin, span.now, windows.kept.labels
    recent = labels.recent((label, route, "tokenlab"), begin)
    if recent is None:
        return Labelled({}, -1)
    found = reader.with_errors(route, recent, begin, now, limits)
    counting = {
        value: kept
        for value, bins in found.items()
        if (kept := [one for one in bins if one.at >= first])
    }
    return Labelled(
        counting,
        sum(labels.last_at((label, route, "tokenlab"), value) >= first for value in recent),
        lambda value: _sum(reader.between(route, value, "previous", begin, now, limits)),
    )


def _sum(bins: Sequence[Bin]) -> Bin | None:
    """Return the counts of bins as one, None without any."""
    return total(bins) if bins else None


def _last_at(windows: Windows, route: str, orgs: Iterable[str], since: float) -> dict[str, float]:
    """Return the orgs with TokenLab requests since a time, and when they had the last one."""
    tracks, found = windows.kept.tracks, {}
    for org in orgs:
        track = tracks.get((route, org, "tokenlab"))
        if track is not None and track.last_at >= since:
            found[org] = track.last_at
    return found


def _total(windows: Windows, route: str, org: str | None, span: Span, limits: Limits) -> Bin | None:
    counts = windows.counts(span.now, span.now - span.begin, route, org, "previous")
    return bin_of(int(span.begin), counts, buckets_of(limits))
