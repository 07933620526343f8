"""What one access-log record counts as: the same classes and latencies as the guard's."""

from typing import Literal, NamedTuple, get_args

from rollout_gate.access_log import AccessLine
from rollout_gate.answers.reading import OUTCOMES
from rollout_gate.answers.status_class import StatusClass, class_of_answer, was_not_sent
from rollout_gate.file.model import Side
from rollout_gate.metrics.labels import OTHERS

OutcomeLabel = Literal["ok", "error", "truncated", "empty", "filtered", "length", "abandoned"]

BUCKETS_S = (
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
    90.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Upper bounds of latency buckets, in seconds."""

_SIDES = frozenset(get_args(Side))
_MOST_MS = 1e9
"""A latency of more, or of no number, is none: NaN would stay in a histogram's sum for good."""
_UNKNOWN: dict[StatusClass, OutcomeLabel] = {
    StatusClass.OK: "ok", StatusClass.BAD: "empty", StatusClass.ABANDONED: "abandoned",
}  # fmt: skip
"""Outcomes of records that have none, by their class."""


class Counted(NamedTuple):
    """What a record of a generation counts as; times are in seconds, None where there is none."""

    status_class: str
    outcome: OutcomeLabel
    is_repeated: bool
    duration_s: float | None
    first_token_s: float | None


def counted(line: AccessLine) -> Counted:
    """Return what a record counts as.

    Durations are of all but answers that came from a cache; the guard judges those of the classes
    ``ok`` and ``abandoned``. A request that the application left counts with the time until then
    (right-censored), and so does a stream that it left before the first token. What was not sent
    has no duration: it waited for its own host.
    """
    found = class_of_answer(line.status, line.outcome, line.error)
    outcome = _outcome(line, found)
    is_left, cached = found is StatusClass.ABANDONED, bool(line.cached)
    is_timed = found is not StatusClass.OK or outcome == "filtered" or not cached
    is_sent = not was_not_sent(line.status, line.outcome, line.error)
    first_ms = line.ttft_ms
    if first_ms is None and is_left and line.stream:
        first_ms = line.latency_ms
    return Counted(
        found.value,
        outcome,
        (line.attempt or 1) > 1,
        _seconds(line.latency_ms) if is_timed and is_sent else None,
        None if cached or not is_sent else _seconds(first_ms),
    )


def side_of(line: AccessLine) -> str:
    """Return the side as a label value; an application may write any into its own records."""
    return line.side if line.side in _SIDES else OTHERS


def class_of(line: AccessLine) -> StatusClass:
    """Return the class of a record."""
    return class_of_answer(line.status, line.outcome, line.error)


def _outcome(line: AccessLine, found: StatusClass) -> OutcomeLabel:
    outcome = line.outcome
    if outcome not in OUTCOMES:
        cut = found is StatusClass.GATEWAY and line.error == "truncated"
        outcome = "truncated" if cut else None
    label = _UNKNOWN.get(found, "error") if outcome is None else outcome
    return "length" if label == "ok" and line.finish_reason == "length" else label


def _seconds(milliseconds: float | None) -> float | None:
    if milliseconds is None or not 0 <= milliseconds <= _MOST_MS:
        return None
    return milliseconds / 1000
