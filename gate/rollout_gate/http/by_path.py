"""One object for each path, which all clients of this process share."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from rollout_gate.paths import absolute

_T = TypeVar("_T")


class ByPath(Generic[_T]):
    """Makes an object for a path, or returns the one that is in use (weak references)."""

    def __init__(self, make: Callable[[Path], _T]) -> None:
        self._make = make
        self._opening = Lock()
        self._known: WeakValueDictionary[Path, _T] = WeakValueDictionary()

    def get(self, path: str | Path) -> _T:
        """Return the object of a path, relative to the working directory of now."""
        with self._opening:
            place = absolute(path)
            known = self._known.get(place)
            if known is None:
                known = self._known[place] = self._make(place)
            return known

    def in_use(self) -> list[_T]:
        """Return the objects that are in use."""
        return list(self._known.values())
