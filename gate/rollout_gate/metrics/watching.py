"""What both kinds of metrics share: the gates that they watch, bounded names, fork safety."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple
from weakref import WeakSet, ref

from rollout_gate.access_log import REVISION_DIGITS, AccessLine
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.gate import Gate
from rollout_gate.metrics.counted import side_of
from rollout_gate.metrics.labels import MOST_NAMES, MOST_ORGS, OTHERS, BoundedNames, label_value

HOST = label_value(os.uname().nodename)

_MOST_ORGS_LIMIT = 100_000


class Whose(NamedTuple):
    """The label values that say whose a request was."""

    route: str
    org: str
    side: str


class Metrics(ABC):
    """Counts records of the access log; one object may watch several gates."""

    def __init__(self, most_orgs: int = MOST_ORGS) -> None:
        is_count = isinstance(most_orgs, int) and not isinstance(most_orgs, bool)
        if not is_count or not 1 <= most_orgs <= _MOST_ORGS_LIMIT:
            raise ValueError(
                f"most_orgs is a whole number from 1 to {_MOST_ORGS_LIMIT}, not {most_orgs!r}"
            )
        self._orgs = BoundedNames(most_orgs)
        self._routes = BoundedNames(MOST_NAMES)
        self._operations = BoundedNames(MOST_NAMES)
        self._gates: tuple[ref[Gate], ...] = ()
        _all.add(self)

    def observe(self, line: AccessLine) -> None:
        """Count a record: what to pass as ``on_line`` to an AccessLog that you write by yourself.

        An access log, and a gate, do not pass on what it raises.
        """
        with FORK_SAFE.lock:
            self._count(line)

    def watch(self, gate: Gate) -> Callable[[], None]:
        """Count what a gate's clients log, and show what it decides by; returns what ends that.

        The gate, and not only this object, keeps the metrics alive. Raises ValueError for a gate
        that is watched already, whose requests would count twice.
        """
        mine = ref(gate)
        with FORK_SAFE.lock:
            if any(one is gate for one in self._watched()):
                raise ValueError("these metrics watch this gate already: watch it once")
            self._gates = (*(one for one in self._gates if one()), mine)
        unsubscribe = gate.subscribe(
            on_line=self.observe, on_change=self._changed, on_trouble=self._changed
        )
        self._changed()

        def end() -> None:
            unsubscribe()
            with FORK_SAFE.lock:
                self._gates = tuple(one for one in self._gates if one is not mine)
            self._changed()

        return end

    @abstractmethod
    def _count(self, line: AccessLine) -> None:
        """Count a record; the caller holds the lock."""

    @abstractmethod
    def _changed(self, change: object = None) -> None:
        """Note that a gate decides by another file, or that a trouble with one began or ended."""

    @abstractmethod
    def _in_forked_child(self) -> None:
        """Note that this process is a new one, whose gates poll again."""

    def _whose(self, line: AccessLine) -> Whose:
        return Whose(self._route_value(line.route), self._orgs.value(line.org), side_of(line))

    def _route_value(self, name: str) -> str:
        """Return the label value of a route; one that no file has cannot take a place from it."""
        known = self._routes.known(name)
        if known is not None:
            return known
        if self._route(name) is None and any(True for _ in self._files()):
            return OTHERS
        return self._routes.value(name)

    def _route(self, name: str) -> Route | None:
        for file in self._files():
            if (route := file.routes.get(name)) is not None:
                return route
        return None

    def _watched(self) -> Iterator[Gate]:
        for one in self._gates:  # a tuple, which is replaced: reading it needs no lock
            if (gate := one()) is not None:
                yield gate

    def _files(self) -> Iterator[RolloutFile]:
        for gate in self._watched():
            if (file := gate.file) is not None:
                yield file

    def _revisions(self) -> list[str]:
        """Return the revisions by which the gates decide, as the log has them."""
        return sorted({file.revision[:REVISION_DIGITS] for file in self._files()})

    def _has_trouble(self) -> bool:
        return any(gate.trouble for gate in self._watched())


class _ForkSafe:
    """The lock of all metrics, which a fork waits for.

    A library of metrics has locks of its own; one that another thread holds at a fork would stay
    held in the child for ever (a deadlock). They are taken under this lock alone, so a fork that
    holds it copies them free. It is reentrant, as a finalizer may fork.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()


FORK_SAFE = _ForkSafe()
_all: "WeakSet[Metrics]" = WeakSet()


def _before_fork() -> None:
    FORK_SAFE.lock.acquire()


def _after_fork_in_parent() -> None:
    FORK_SAFE.lock.release()


def _after_fork_in_child() -> None:
    FORK_SAFE.lock = threading.RLock()
    for one in list(_all):
        one._in_forked_child()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
