"""A route's counts without those of some orgs, read from the windows: for the hold tier."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from rollout_console.health.windows.bins import Bin, Limits, bin_of, buckets_of
from rollout_console.health.windows.series import SomeParts, fitting
from rollout_console.health.windows.windows import Windows


def counts_without(
    windows: Windows, route: str, without: Iterable[str], now: float, span_s: float
) -> dict[int, int]:
    """Return a route's TokenLab requests by code of the last ``span_s`` seconds, less some orgs'.

    Route and orgs are read in slots of one width, the finest that single orgs have for the span.
    """
    kept = windows.kept
    reaches_s = kept.reaches_s("", now)
    span_s = min(span_s, max(reaches_s))
    level = _level(reaches_s, span_s)
    track = kept.tracks.get((route, None, "tokenlab"))
    if track is None or not track.parts:
        return {}

    def read(parts: SomeParts) -> dict[int, int]:
        width = parts.width_s
        return parts.counts(-int(-(now - span_s) // width), int(now // width) + 1)

    found = read(track.parts[kept.org_level + level])
    for org in without:
        of_org = kept.tracks.get((route, org, "tokenlab"))
        if of_org is not None and of_org.parts:
            found = _less(found, read(of_org.parts[level]))
    return found


def last_error_at(
    windows: Windows,
    route: str,
    org: str | None,
    signal: str,
    window_s: float,
    now: float,
    without: Collection[str] = (),
) -> float | None:
    """Return the start of the newest slot with an error of a signal (epoch seconds), or None.

    All 4xx but 429 count as ``contract`` here, as they do in the hold tier. For a whole route
    (``org`` None) the requests of the orgs in ``without`` do not count.
    """
    signals = ("contract", "auth", "balance") if signal == "contract" else (signal,)
    kept = windows.kept
    track = kept.tracks.get((route, org, "tokenlab"))
    if track is None or not track.parts:
        return None
    less: list[SomeParts] = []
    if without:
        level = _level(kept.reaches_s("", now), window_s)
        tracks = (kept.tracks.get((route, one, "tokenlab")) for one in without)
        less = [one.parts[level] for one in tracks if one is not None and one.parts]
        parts = track.parts[kept.org_level + level]
    else:
        parts = track.parts[_level(kept.reaches_s(org, now), window_s)]
    width = parts.width_s
    for slot in range(int(now // width), int((now - window_s) // width), -1):
        counts = parts.counts(slot, slot + 1)
        for one in less if counts else ():
            counts = _less(counts, one.counts(slot, slot + 1))
        found = bin_of(slot * width, counts, (0, 0))
        if found is not None and any(found.errors(one)[1] for one in signals):
            return found.at
    return None


def first_request_at(
    windows: Windows,
    route: str,
    org: str | None,
    span_s: float,
    now: float,
    without: Collection[str] = (),
) -> float:
    """Return when the oldest request of the last ``span_s`` seconds was (epoch seconds).

    It is the start of its slot, in the finest slots that reach back so far; the start of the span
    where that is later, or has no request. The requests of the orgs in ``without`` do not count.
    """
    begin = now - span_s
    kept = windows.kept
    tracks = [kept.tracks.get((route, one, "tokenlab")) for one in (org, *without)]
    track, *others = tracks
    if track is None or not track.parts:
        return begin
    own = kept.org_level if without else 0
    less = [one.parts for one in others if one is not None and one.parts]
    reaches_s = kept.reaches_s("" if without else org, now)
    first, end = begin, now
    for level in range(_level(reaches_s, span_s), -1, -1):
        if reaches_s[level] < now - first:
            break
        parts = track.parts[own + level]
        slots = range(int(first // parts.width_s), int(end // parts.width_s) + 1)
        reads = [parts, *(one[level] for one in less)]
        found = _first_slot(reads, slots)
        if found is None:
            break
        first = max(found * parts.width_s, begin)
        end = min(first + parts.width_s, now)
    return first


def _first_slot(reads: Sequence[SomeParts], slots: range) -> int | None:
    """Return the first slot in which the first parts have more than the others; None without one.

    By bisection: the counts of ever more slots are empty up to the one that is looked for.
    """

    def has_any(last: int) -> bool:
        counts, *others = (one.counts(slots[0], last + 1) for one in reads)
        for one in others:
            counts = _less(counts, one)
        return bool(counts)

    found = bisect_left(slots, True, key=has_any)
    return slots[found] if found < len(slots) else None


def models_since(
    windows: Windows, route: str, since: float, now: float, limits: Limits
) -> dict[str, Bin]:
    """Return the TokenLab requests since a time (epoch seconds) of each of a route's models."""
    found = {}
    reaches_s = windows.kept.reaches_s(None, now)
    for (of_route, model, side), track in windows.kept.models.items():
        if of_route != route or side != "tokenlab":
            continue
        parts = fitting(track, now - since, reaches_s)
        if parts is not None:
            first, end = int(since // parts.width_s), int(now // parts.width_s) + 1
            one = bin_of(int(since), parts.counts(first, end), buckets_of(limits))
            if one is not None:
                found[model or "(none)"] = one
    return found


def last_request_at(windows: Windows, route: str, orgs: Iterable[str]) -> float | None:
    """Return when one of some orgs last had a TokenLab request (epoch seconds); None if never."""
    tracks = windows.kept.tracks
    found = (tracks.get((route, org, "tokenlab")) for org in orgs)
    return max((track.last_at for track in found if track is not None), default=None)


def _level(reaches_s: Sequence[float], span_s: float) -> int:
    """Return the finest level that covers a span, or else the one that reaches back furthest."""
    enough = (i for i, reach_s in enumerate(reaches_s) if reach_s >= span_s)
    return next(enough, reaches_s.index(max(reaches_s)))


def _less(counts: dict[int, int], some: dict[int, int]) -> dict[int, int]:
    return {code: left for code, count in counts.items() if (left := count - some.get(code, 0)) > 0}
