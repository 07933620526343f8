"""What the rollback tier judges of a route, read from the windows."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from math import ceil, inf
from typing import NamedTuple

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, Traffic, less
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
) -> Traffic | None:
    """Return the traffic of a route; None where it has too few errors for any verdict.

    ``orgs`` are all that the route has had. The requests of orgs that are gone, and those from
    before an org's reset, are subtracted, and so the bins are as wide as those of single orgs.
    """
    begin, since, now, gone, reset = span
    found = bins.between(route, "tokenlab", since, now, limits)
    if all(sum(one.errors(signal)[1] for one in found) < FLOOR_ERRORS for signal in SIGNALS):
        return None
    width = org_bins.width_s
    first = ceil(since / width) * width
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
        groups={"model": partial(models_since, windows, route, now=now, limits=limits)},
    )


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
