"""Serialization of windows and top errors between processes: frames out, frames merged in."""

from array import array
from collections.abc import Iterator
from math import inf

import msgspec

from rollout_console.health.log.unusable import ALL_USABLE, Unusable
from rollout_console.health.windows.batch import Labelled, Named
from rollout_console.health.windows.series import Track, see
from rollout_console.health.windows.shared_slot_counts import PartsOfOne
from rollout_console.health.windows.slot_counts import SlotCounts
from rollout_console.health.windows.top_errors import Some, TopErrors
from rollout_console.health.windows.windows import Windows

_MOST_BYTES = 128 * 1024
"""Rough limit of a frame's bytes, so that merging one fits between two screen refreshes."""
_TRACK_BYTES = 500
"""The cost of merging a track without counts, as bytes of counts that take as long."""


class TrackState(msgspec.Struct, array_like=True):
    """A serialized track: key, last-seen time (epoch seconds), entries by level, and days."""

    key: Named
    last_at: float
    entries: list[bytes]
    days: list[tuple[int, int]] = []
    """The track's number in each SharedSlotCounts of the sender, and its newest slot there."""


class Tracks(msgspec.Struct, tag=True):
    """A frame of tracks: of routes and orgs, or (``models``) of models."""

    tracks: list[TrackState]
    models: bool = False


class LabelState(msgspec.Struct, array_like=True):
    """A serialized track of a label's value: key, value, last-seen time and entries."""

    key: Labelled
    value: str
    last_at: float
    entries: bytes


class LabelTracks(msgspec.Struct, tag=True):
    """A frame of tracks by label; ``evicted`` is when the newest evicted value was last seen."""

    tracks: list[LabelState]
    evicted: list[tuple[Labelled, float]] = []
    all_evicted_to: float | None = None


class Day(msgspec.Struct, tag=True):
    """A frame with one slot of single orgs' entries; ``index`` selects the SharedSlotCounts."""

    index: int
    slot: int
    entries: bytes


class Errors(msgspec.Struct, tag=True):
    """A frame with the errors of one slot: keys, counts, last times, request ids with times."""

    slot: int
    errors: Some


class End(msgspec.Struct, tag=True):
    """The last frame: counts of lines read and of unusable ones, with the first's reason.

    ``begins_at`` is the time since which the data has no gap, in epoch seconds; None where nothing
    was left out. ``first_at`` is the time of the first line, None without any. ``gap`` is set
    where lines are missing between the last one and the next share. ``trouble`` is the error in
    one sentence, empty without one. ``recent`` are the newest usable lines by second,
    ``unusable_at`` the unusable ones, and ``undated`` those that no usable line here follows.
    """

    lines: int
    unusable: Unusable
    late: int
    skewed: int
    orgs_since: float | None
    days_since: list[float | None]
    begins_at: float | None
    first_at: float | None
    gap: bool
    trouble: str
    recent: dict[int, int] = {}
    unusable_at: dict[int, Unusable] = {}
    undated: Unusable = ALL_USABLE


Frame = Tracks | LabelTracks | Day | Errors | End

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Frame).decode


def frames(windows: Windows, errors: TopErrors) -> Iterator[Frame]:
    """Yield everything that windows and errors hold; the End frame is made by ``end_of``."""
    kept = windows.kept
    for models, tracks in ((False, kept.tracks), (True, kept.models)):
        states: list[TrackState] = []
        size = 0
        for key, track in tracks.items():
            states.append(_state(key, track))
            size += _TRACK_BYTES + sum(map(len, states[-1].entries))
            if size >= _MOST_BYTES:
                yield Tracks(states, models)
                states, size = [], 0
        yield Tracks(states, models)
    labels, size = list[LabelState](), 0
    for label, value, track in kept.labels.every():
        (parts,) = track.parts
        assert isinstance(parts, SlotCounts)
        labels.append(LabelState(label, value, track.last_at, parts.entries().tobytes()))
        size += _TRACK_BYTES + len(labels[-1].entries)
        if size >= _MOST_BYTES:
            yield LabelTracks(labels)
            labels, size = [], 0
    evicted = [*kept.labels.evicted_to.items()]
    yield LabelTracks(labels, evicted, _known(kept.labels.all_evicted_to))
    for index, days in enumerate(kept.days):
        for slot, entries in days.slots():
            yield Day(index, slot, entries.tobytes())
    for slot, found in errors.slots():
        yield Errors(slot, found)


def end_of(
    windows: Windows,
    *,
    lines: int = 0,
    unusable: Unusable = ALL_USABLE,
    begins_at: float = -inf,
    first_at: float | None = None,
    gap: bool = False,
    trouble: str = "",
    recent: dict[int, int] | None = None,
    unusable_at: dict[int, Unusable] | None = None,
    undated: Unusable = ALL_USABLE,
) -> End:
    """Return the End frame that follows the frames of these windows."""
    return End(
        lines,
        unusable,
        windows.late,
        windows.skewed,
        _known(windows.kept.orgs_since),
        [_known(days.since) for days in windows.kept.days],
        _known(begins_at),
        first_at,
        gap,
        trouble,
        recent or {},
        unusable_at or {},
        undated,
    )


class Intake:
    """Merges the frames of one process into windows and errors.

    Of an End only the windows' own counters are merged; the rest is the caller's.
    """

    def __init__(self, windows: Windows, errors: TopErrors) -> None:
        self._windows = windows
        self._errors = errors
        self._numbers: list[dict[int, int]] = [{} for _ in windows.kept.days]

    def take(self, frame: Frame) -> None:
        """Merge one frame; Tracks frames must come before Day frames, which use their numbers."""
        kept = self._windows.kept
        if isinstance(frame, Tracks):
            for state in frame.tracks:
                self._take_track(state, frame.models)
        elif isinstance(frame, LabelTracks):
            for one in frame.tracks:
                kept.labels.merge(one.key, one.value, one.last_at, _entries(one.entries))
            for key, to in frame.evicted:
                kept.labels.evicted(key, to)
            to = _since(frame.all_evicted_to)
            kept.labels.all_evicted_to = max(kept.labels.all_evicted_to, to)
        elif isinstance(frame, Day):
            entries = _entries(frame.entries)
            kept.days[frame.index].merge(frame.slot, entries, self._numbers[frame.index])
        elif isinstance(frame, Errors):
            self._errors.merge(frame.slot, frame.errors)
        else:
            self._windows.late += frame.late
            self._windows.skewed += frame.skewed
            kept.orgs_since = max(kept.orgs_since, _since(frame.orgs_since))
            for days, since in zip(kept.days, frame.days_since, strict=True):
                days.since = max(days.since, _since(since))
        self._windows.changed()

    def _take_track(self, state: TrackState, models: bool) -> None:
        kept = self._windows.kept
        track = kept.model(state.key) if models else kept.track(state.key)
        see(track, state.last_at)
        if not state.entries:
            return
        of_org = not models and state.key[1] is not None
        parts = kept.org_parts(track) if of_org else kept.parts(track)
        own = [one for one in parts if isinstance(one, SlotCounts)]
        for one, entries in zip(own, state.entries, strict=True):
            one.merge(_entries(entries))
        days = [one for one in parts if isinstance(one, PartsOfOne)]
        for index, (day, (number, newest)) in enumerate(zip(days, state.days, strict=True)):
            self._numbers[index][number] = day.number
            day.newest = max(day.newest, newest)
            kept.days[index].expect(newest)


def _state(key: Named, track: Track) -> TrackState:
    return TrackState(
        key,
        track.last_at,
        [one.entries().tobytes() for one in track.parts if isinstance(one, SlotCounts)],
        [(one.number, one.newest) for one in track.parts if isinstance(one, PartsOfOne)],
    )


def _entries(data: bytes) -> "array[int]":
    entries = array("Q")
    entries.frombytes(data)
    return entries


def _known(since: float) -> float | None:
    return since if since > -inf else None


def _since(known: float | None) -> float:
    return -inf if known is None else known
