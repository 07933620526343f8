"""Who has applied the version of now: how many servers, which lag, and how long the last took."""

from collections.abc import Mapping
from math import inf

import msgspec
from msgspec.structs import replace

from rollout_console.changes.clocks import clock_problem, is_own
from rollout_console.common.listing import counted, first_of

LAGS_AFTER_S = 5.0
"""From when on a server that has not applied a version is one that lags, in seconds."""
GONE_AFTER_S = 20.0
"""From when on a missing heartbeat is an alarm, in seconds: restarting a mirror takes less."""
RESTORED_FOR_S = 600.0
"""Duration of the alarm that the cluster was restored from a backup, in seconds."""
_MOST_NAMED = 3


class Registered(msgspec.Struct, frozen=True):
    """How the mirror of a server stands, as it says itself.

    ``at`` is when it last said so (UTC, seconds); of one that is ``gone`` when it began, or ended.
    """

    host: str
    path: str
    revision: str = ""
    latched: tuple[str, ...] = ()
    trouble: str = ""
    at: float = 0.0
    wrote: str = ""
    """The revision of its server's file: another than ``revision`` where latches of its own are."""
    gone: bool = False
    """Whether its lease has expired (no heartbeat), and the server was not forgotten."""


class Spread(msgspec.Struct, frozen=True):
    """How far one version has come; times are of the monotonic clock of this process.

    All is as of ``read_at``, the last reading: while etcd is away nobody knows how it goes on.
    """

    revision: str = ""
    """Of the text; empty where there is none."""
    read_at: float = 0.0
    since: float = 0.0
    """When this process first saw the version."""
    done_at: float | None = None
    """When all that say anything were first seen to have it; None before."""
    mirrors: tuple[Registered, ...] = ()
    watched: bool = False
    """Whether this process saw the version come: else it knows of no time."""
    gone_since: Mapping[tuple[str, str], float] = {}
    """Since when mirrors send no heartbeat, by host and path; -inf: since before this process."""
    restored_at: float = -inf
    """When the cluster was last found to be restored from a backup, or made anew."""
    clocks: Mapping[str, float] = {}
    """By how many seconds the clocks of mirrors and of etcd's members are ahead of this host's."""

    def after(
        self,
        revision: str,
        mirrors: tuple[Registered, ...],
        now: float,
        clocks: Mapping[str, float | None] = {},
    ) -> "Spread":
        """Return how it stands in a newer reading; ``clocks`` are those that it told, None where
        it is not known any more."""
        is_new = revision != self.revision
        since = now if is_new else self.since
        watched = bool(self.revision) if is_new else self.watched
        first = now if self.revision else -inf
        gone = {
            (one.host, one.path): self.gone_since.get((one.host, one.path), first)
            for one in mirrors
            if one.gone
        }
        alive = {one.host for one in mirrors if not one.gone}
        told = {host: by for host, by in self.clocks.items() if host in alive} | {**clocks}
        known = {host: by for host, by in told.items() if by is not None}
        found = Spread(revision, now, since, None, mirrors, watched, gone, self.restored_at, known)
        if found.lagging:
            return found
        return replace(found, done_at=now if is_new or self.done_at is None else self.done_at)

    @property
    def lagging(self) -> list[Registered]:
        """The servers that have another version, of those that say anything.

        Compared by the text: in a cluster that was restored, an older one has a higher number.
        """
        if not self.revision:
            return []
        return [one for one in self.mirrors if not one.gone and one.revision != self.revision]

    @property
    def gone(self) -> list[Registered]:
        """The servers whose mirror sends no heartbeat any more."""
        return [one for one in self.mirrors if one.gone]

    @property
    def missing(self) -> str:
        """The servers on which the version is not known to be in force, named; empty for none."""
        return first_of([one.host for one in (*self.lagging, *self.gone)], _MOST_NAMED)

    @property
    def applied(self) -> int:
        """How many servers have the version."""
        return len(self.mirrors) - len(self.lagging) - len(self.gone)

    @property
    def is_done(self) -> bool:
        """Whether no server lags."""
        return not self.lagging

    @property
    def age_s(self) -> float:
        """How long the version had been known at the last reading, in seconds."""
        return self.read_at - self.since

    @property
    def words(self) -> str:
        """How many servers have it, and how long that took, in words."""
        if not self.mirrors:
            return "no server mirrors it"
        said = f"{self.applied} of {counted(len(self.mirrors), 'server')}"
        if self.lagging:
            return f"{said}, {self.age_s:.0f} s" if self.watched else said
        if self.applied and self.watched and self.done_at is not None:
            return f"{said} after {self.done_at - self.since:.1f} s"
        return said

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with servers: a key that stays the same as long as it is, and a sentence.

        A server is lagging after LAGS_AFTER_S, and gone after GONE_AFTER_S.
        """
        found = []
        if self.read_at - self.restored_at < RESTORED_FOR_S:
            found.append(
                (
                    "restored",
                    "etcd was restored from a backup, or made anew: rollbacks made since then are"
                    " gone",
                )
            )
        if self.lagging and self.age_s > LAGS_AFTER_S:
            hosts = first_of([one.host for one in self.lagging], _MOST_NAMED)
            found.append(("lagging", f"the last change is not in force on {hosts}"))
        gone = [
            host for (host, _), at in self.gone_since.items() if self.read_at - at > GONE_AFTER_S
        ]
        if gone:
            silent = first_of(gone, _MOST_NAMED)
            found.append(("gone", f"no heartbeat from the mirror on {silent}"))
        troubled: dict[str, list[str]] = {}
        for one in self.mirrors:
            if one.trouble and not one.gone:
                troubled.setdefault(one.trouble, []).append(one.host)
        for trouble, some in troubled.items():
            found.append((f"trouble {some[0]}", f"{first_of(some, _MOST_NAMED)}: {trouble}"))
        return found

    @property
    def clock_problem(self) -> str:
        """Which host's clock is off; empty where none is."""
        return clock_problem(self.clocks)

    @property
    def own_clock_problem(self) -> str:
        """The same where it is this host's."""
        return clock_problem(self.clocks) if is_own(self.clocks) else ""

    @property
    def local_revisions(self) -> set[str]:
        """The revisions of servers' files that have latches of their own in them."""
        return {one.wrote for one in self.mirrors if one.latched and one.wrote}

    @property
    def local(self) -> list[tuple[str, str]]:
        """What is rolled back on servers alone: the host, and a sentence."""
        return [
            (one.host, f"rolled back on {one.host} alone: {first_of(one.latched, _MOST_NAMED)}")
            for one in self.mirrors
            if one.latched and not one.gone
        ]

    def as_json(self) -> dict[str, object]:
        """Return the JSON object that a change prints as ``servers``."""
        took = None if self.done_at is None or not self.watched else self.done_at - self.since
        return {
            "applied": self.applied,
            "of": len(self.mirrors),
            "lagging": [one.host for one in self.lagging],
            "gone": [one.host for one in self.gone],
            "seconds": None if took is None else round(took, 2),
        }
