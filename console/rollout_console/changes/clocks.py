"""Clocks of the hosts that share a rollout file: which of them is off, by what they say."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from rollout_console.common.durations import seconds_text
from rollout_console.common.listing import first_of

MOST_SKEW_S = 5.0
"""Seconds by which clocks may differ: times in answers are of whole seconds, and take a while."""
MOST_LATE_S = 15.0
"""Seconds that a heartbeat takes at most: the TTL of its lease, which began before it was dated and
without which etcd refuses it."""
_MOST_NAMED = 3


class Heartbeat(Protocol):
    """A mirror's: ``at`` is its time by the clock of its host, in epoch seconds."""

    @property
    def host(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def gone(self) -> bool: ...


def by_heartbeats(
    before: Sequence[Heartbeat], after: Sequence[Heartbeat], asked: float | None, now: float
) -> dict[str, float | None]:
    """Return, by host, how far a clock is certainly ahead of this host's, by new heartbeats.

    A heartbeat that the reading ``before`` did not have arrived after that was asked for, which
    None says is not known. One that took long, of a busy machine or by a slow etcd, was dated at
    most MOST_LATE_S before: of a clock that seems to be behind by less, nothing is known (None).
    """
    known = {(one.host, one.path): one.at for one in before if not one.gone}
    return {
        one.host: one.at - now if one.at > now else _behind(one.at - min(asked, now))
        for one in after
        if asked is not None and not one.gone and known.get((one.host, one.path), one.at) != one.at
    }


def _behind(by: float) -> float | None:
    if by < -MOST_LATE_S:
        return by
    return None if by < -MOST_SKEW_S else 0.0


def is_own(ahead: Mapping[str, float]) -> bool:
    """Return whether this host's clock is the one that is off: most others contradict it alike.

    ``ahead`` is, by host, how many seconds its clock is ahead of this host's. Of two clocks that
    differ nobody knows which is off.
    """
    low, high = _medians(ahead)
    alike = min(abs(low), abs(high)) > MOST_SKEW_S and (low > 0) is (high > 0)
    return alike and len(ahead) > 1


def clock_problem(ahead: Mapping[str, float]) -> str:
    """Return which clock is off in one sentence; empty where none is."""
    off = _off(ahead)
    if not off:
        return ""
    hosts = sorted(off, key=lambda host: -abs(off[host]))
    named, most = first_of(hosts, _MOST_NAMED), off[hosts[0]]
    if is_own(ahead) or len(ahead) == 1:
        by = _medians(ahead)[0]
        others = "most others" if is_own(ahead) else named
        way = "behind" if by > 0 else "ahead of"
        words = f"this host's clock is {skew_text(by)} {way} that of {others}"
    elif len(hosts) > 1:
        words = f"the clocks of {named} are up to {skew_text(most)} off"
    else:
        words = f"the clock of {named} is {skew_text(most)} {'ahead' if most > 0 else 'behind'}"
    return f"{words}: set the clocks, as times and ages are wrong meanwhile"


def _medians(ahead: Mapping[str, float]) -> tuple[float, float]:
    found = sorted(ahead.values()) or [0.0]
    return found[(len(found) - 1) // 2], found[len(found) // 2]


def skew_text(by: float) -> str:
    """Format how far a clock is off, to ten seconds from two minutes on: more is not known."""
    return seconds_text(round(abs(by), -1 if abs(by) > 120 else None))


def _off(ahead: Mapping[str, float]) -> dict[str, float]:
    return {host: by for host, by in ahead.items() if abs(by) > MOST_SKEW_S}
