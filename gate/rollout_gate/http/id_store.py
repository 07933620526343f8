"""Which side made an id: of a response, conversation, file, batch or cached content.

A request never waits for the file. Ids of answers are kept in memory at once and written by a
background thread in batches, so that other processes of the host find them within a second; only
a request that names an id which is not in memory looks into the file.
"""

import atexit
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rollout_gate.fork_lock import Locked
from rollout_gate.gate import settle_all
from rollout_gate.http.by_path import ByPath
from rollout_gate.http.operations import Bound
from rollout_gate.paths import absolute

if TYPE_CHECKING:  # not at run time: it loads sqlite3, which only requests with ids need
    from rollout_gate.http.id_file import IdReader, IdWriter

log = logging.getLogger("rollout_gate")

IDS_NAME = "rollout-ids.sqlite3"
MOST_IN_MEMORY = 10_000
"""Limit of the ids in memory, and of those not written yet; evicts the least recently used."""

_FLUSH_S = 0.25
_IDLE_S = 10.0
_PAUSE_S = 1.0
"""In seconds: how often ids are written, after how long without any the thread ends, and how long
the file is left alone after a failure (back-off)."""
_USED_AGAIN_S = 600.0
"""After how many seconds the use of a known id is written again, for its retention."""


class IdStore(Locked):
    """Remembers ids by side (thread-safe, and safe to fork); no method raises.

    The file is a cache for other processes: where it cannot be read or written, an id is known to
    the process that saw it made alone, and the logger ``rollout_gate`` reports that once.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = absolute(path)
        self._known: OrderedDict[str, Bound] = OrderedDict()
        self._unwritten: dict[str, Bound] = {}
        self._thread: threading.Thread | None = None
        self._reader: IdReader | None = None
        self._writer: IdWriter | None = None
        self._unreadable_until = self._unwritable_until = -inf
        self._failing = False

    def remember(self, name: str, bound: Bound) -> None:
        """Note that a side has made an id, or that it was used."""
        with self._lock:
            self._keep(name, bound)
            self._unwritten[name] = bound
            if len(self._unwritten) > MOST_IN_MEMORY:
                del self._unwritten[next(iter(self._unwritten))]
            thread = self._thread
            if thread is None or not thread.is_alive():  # a forked child has no thread
                self._start()

    def recall(self, names: Sequence[str]) -> Bound | None:
        """Return what is known of the first known of some ids, without disk I/O."""
        for name in names:
            bound = self._known.get(name)
            if bound is not None:
                with self._lock:
                    self._keep(name, bound)
                return self._used(name, bound)
        return None

    def find(self, names: Sequence[str]) -> Bound | None:
        """Return the same as ``recall``, from the file too (blocking disk I/O, 50 ms at most)."""
        found = self.recall(names)
        if found is not None or time.monotonic() < self._unreadable_until:
            return found
        import sqlite3

        from rollout_gate.http.id_file import IdReader

        try:
            if not self._path.exists():
                return None
            if self._reader is None:
                self._reader = IdReader(self._path)
            by_name = self._reader.find(names)
        except (sqlite3.Error, OSError) as error:
            self._unreadable_until = time.monotonic() + _PAUSE_S
            self._say_failing(error)
            return None
        for name in names:
            if name in by_name:
                with self._lock:
                    self._keep(name, by_name[name])
                return self._used(name, by_name[name])
        return None

    def flush(self) -> None:
        """Write what is not written yet (blocking disk I/O, 2 s at most)."""
        with self._lock:
            ids, self._unwritten = self._unwritten, {}
        if not ids:
            return
        import sqlite3

        from rollout_gate.http.id_file import IdWriter

        try:
            if self._writer is None:
                self._writer = IdWriter(self._path)
            self._writer.write(ids)
        except (sqlite3.Error, OSError) as error:
            self._unwritable_until = time.monotonic() + _PAUSE_S
            self._say_failing(error)
            with self._lock:
                self._unwritten = {**ids, **self._unwritten}
        else:
            if self._failing:
                log.info("%s is usable again", self._path)
                self._failing = False

    def close(self) -> None:
        """Write what is not written yet, and close the file; a later call opens it again."""
        with suppress(Exception):
            self.flush()
            for file in (self._reader, self._writer):
                if file is not None:
                    file.close()

    def _keep(self, name: str, bound: Bound) -> None:
        self._known[name] = bound
        self._known.move_to_end(name)
        if len(self._known) > MOST_IN_MEMORY:
            self._known.popitem(last=False)

    def _used(self, name: str, bound: Bound) -> Bound:
        now = time.time()
        if now - bound.used_at > _USED_AGAIN_S:
            self.remember(name, replace(bound, used_at=now))
        return bound

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="rollout-ids", daemon=True)
        with suppress(RuntimeError):  # the interpreter is ending: the exit handler writes
            self._thread.start()

    def _run(self) -> None:
        """Write ids as they come, until there are none for _IDLE_S seconds."""
        idle_since = time.monotonic()
        while True:
            time.sleep(_FLUSH_S)
            now = time.monotonic()
            if self._unwritten and now >= self._unwritable_until:
                try:
                    self.flush()
                except Exception:
                    # Nothing may end the thread while ids come: other processes would miss them.
                    log.exception("ids could not be written to %s", self._path)
                idle_since = time.monotonic()
            with self._lock:
                if not self._unwritten and now - idle_since > _IDLE_S:
                    self._thread = None
                    return

    def _say_failing(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.warning(
                "%s cannot be used (%s): other processes do not know which side made an id",
                self._path,
                error,
            )


def ids_at(path: str | Path) -> IdStore:
    """Return the store of a file that all clients of this process share."""
    return _stores.get(path)


_stores = ByPath(IdStore)


def flush_all() -> None:
    for store in _stores.in_use():
        store.close()


def _at_exit() -> None:
    settle_all()  # exit handlers run in reverse order of their registration, this one before it
    flush_all()


atexit.register(_at_exit)
