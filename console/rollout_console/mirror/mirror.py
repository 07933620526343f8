"""Mirror a rollout file from etcd into a local one: atomic, never older, local rollbacks win."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from rollout_console.changes.atomic_swap import ABSENT, swap
from rollout_console.changes.edits import same_meaning
from rollout_console.changes.errors import Conflict, NoFile, StoreError, Written
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import OperationError
from rollout_console.etcd.answers import Value
from rollout_console.history.errors import HistoryError
from rollout_console.mirror.local_latches import LocalLatch, holds, safer
from rollout_console.mirror.record import (
    Applied,
    MirrorRecord,
    UnusableRecord,
    read_etcd_rollbacks,
    read_record,
    record_lock,
    write_etcd_rollbacks,
    write_record,
)
from rollout_gate.file.errors import FileError, RolloutError
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_regular
from rollout_gate.file.revision import SHORT, revision_of

INSISTS_S = 10.0
"""How long etcd answers with an older version until it is taken, in seconds."""
RETRY_S = 2.0
"""How long after a failed write the next one is tried, in seconds."""


class Standing(msgspec.Struct, frozen=True):
    """How a mirror stands: what it has applied, what is latched here alone, and what is wrong."""

    revision: str = ""
    """Of the text in etcd that is in force here, latches of this server aside."""
    mod_revision: int = 0
    latched: tuple[str, ...] = ()
    trouble: str = ""
    wrote: str = ""
    """The revision of the file, latches of this server and all."""


class Mirror:
    """Puts each version of a key into one file; not thread-safe.

    A version that cannot be used leaves the last good one in force, and so does a key that is
    gone. ``tell`` gets each thing that happens in one sentence. Several processes may mirror into
    one file (a service, and a command by hand): each reads the record anew, under a lock.
    """

    def __init__(
        self, switch: Switch, key: str, tell: Callable[[str], None], address: str = ""
    ) -> None:
        self._switch = switch
        self._path = switch.path
        self._key = key
        self._tell = tell
        self._record = MirrorRecord(key, address)
        self._unusable = ""
        """Why the record that is there cannot be read; empty where it can, or there is none."""
        self._etcd_rollbacks = read_etcd_rollbacks(self._path)
        """Rollbacks of etcd that were made meanwhile: they are not of this server alone."""
        self._revision = ""
        self._of_etcd = self._of_file = ""
        """What is wrong: with etcd's version, and with writing the file; each ends by itself."""
        self._latched: tuple[str, ...] = ()
        self._stat: tuple[int, int, int] | None = None
        self._retry_at = 0.0
        self._older_since: float | None = None
        self._cluster_at = 0
        """The cluster's revision at the last reading."""
        self._read_again()

    @property
    def standing(self) -> Standing:
        """How it stands now."""
        base, trouble = self._record.base, self._of_file or self._of_etcd
        if base is None:
            return Standing(trouble=trouble)
        return Standing(self._revision, base.mod_revision, self._latched, trouble, base.wrote)

    def take(self, value: Value | None, cluster: int, revision: int) -> None:
        """Apply what etcd has now, at a revision of the cluster; None for no such key.

        Readings are linearizable, so a cluster whose revision goes down was restored, by
        ``etcdctl snapshot restore`` with the names that it had: it keeps its id then.
        """
        with record_lock(self._path):
            is_news = self._read_again()
            self._take(value, cluster, revision, is_news=is_news)

    def _take(self, value: Value | None, cluster: int, revision: int, *, is_news: bool) -> None:
        base = self._record.base
        if value is None:
            self._etcd_is(f"etcd has no {self._key}: the last good version stays in force")
            return
        if self._unusable:
            self._make_rollbacks(value)
            return
        is_same_cluster = (
            base is not None
            and base.cluster == cluster
            and revision >= max(self._cluster_at, base.mod_revision)
            and (value.mod_revision != base.mod_revision or value.data == base.data)
        )
        is_behind = base is not None and value.mod_revision < base.mod_revision
        if is_news and base is not None and (is_behind or not is_same_cluster):
            return  # read before another mirror took its version: the next answer is of now
        if is_same_cluster:
            self._cluster_at = revision
        if base is not None and is_same_cluster and value.mod_revision == base.mod_revision:
            self._etcd_is("")  # the version in force: nothing to parse
            self._look()
            return
        is_same_cluster = is_same_cluster and not self._insists(is_behind)
        if base is not None and is_same_cluster and is_behind:
            self._etcd_is(
                f"etcd answers with revision {value.mod_revision}, and {base.mod_revision} is in"
                " force already: an older version is not put back"
            )
            return
        try:
            file = parse(value.data)
        except FileError as error:
            self._etcd_is(f"etcd's version {value.mod_revision} cannot be used: {error}")
            return
        self._put(value.data, file, value.mod_revision, cluster)
        if not is_same_cluster and self._record.base is not base:
            self._cluster_at = revision
            if base is not None:
                self._tell("etcd is another cluster than before (restored, or made anew)")
        if self._of_file:
            self._of_etcd = ""  # usable, but "recovered" is said once it is in force
        else:
            self._etcd_is("")

    def _insists(self, is_behind: bool) -> bool:
        """Return whether etcd has answered with an older version for INSISTS_S: it was restored,
        and has gone beyond the revision that it had before this mirror read it."""
        now = time.monotonic()
        self._older_since = (self._older_since or now) if is_behind else None
        return self._older_since is not None and now - self._older_since >= INSISTS_S

    def look(self) -> None:
        """Look for a change of the file on this server: a rollback stays, others are put back."""
        if not self._is_due():
            return
        with record_lock(self._path):
            self._read_again()
            if not self._etcd_rollbacks:  # only a version that is read from etcd undoes those
                self._look()

    def _look(self) -> None:
        base = self._record.base
        if base is not None and not self._unusable and self._is_due():
            self._put(base.data, parse(base.data), base.mod_revision, base.cluster)

    def _is_due(self) -> bool:
        if self._record.base is None or time.monotonic() < self._retry_at:
            return False
        now = self._fingerprint()
        return now is None or now != self._stat

    def _put(self, data: bytes, file: RolloutFile, mod_revision: int, cluster: int) -> None:
        found, self._stat = self._fingerprint(), None
        try:
            wrote = self._write(data, file, mod_revision, cluster)
        except Conflict:
            return  # somebody else writes on this server: the next look has their version
        except (RolloutError, HistoryError, OperationError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._file_is(f"{self._path} is not current: {why}")
            self._retry_at = time.monotonic() + RETRY_S
            return
        self._file_is("")
        if not wrote:  # what was written is looked at once more: an edit may be right behind it
            self._stat = found

    def _make_rollbacks(self, value: Value) -> None:
        """Make those rollbacks of etcd's version that the file lacks, and nothing else.

        Without the record nobody knows what is rolled back on this server alone.
        """
        try:
            file, local = parse(value.data), self._local()
            mine = None if local is None else _parsed(local)
            if local is None or mine is None:
                what = "is missing" if local is None else "cannot be used"
                self._etcd_is(
                    f"etcd's rollbacks are not made: {self._path} {what}, and so its record"
                )
                return
            lacks = safer(file, mine)
            if lacks:
                self._etcd_rollbacks |= frozenset(lacks)
                # Write-ahead: the next process must not take them for rollbacks of this server.
                write_etcd_rollbacks(self._path, self._etcd_rollbacks)
                self._swap(local, self._with(local, lacks, "as in etcd"), value.mod_revision)
                self._tell(f"rolled back as in etcd: {', '.join(map(str, lacks))}")
            self._etcd_is("")
        except Conflict:
            return  # somebody else writes on this server: the next answer finds their version
        except FileError as error:
            self._etcd_is(f"etcd's version {value.mod_revision} cannot be used: {error}")
        except (RolloutError, HistoryError, OperationError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._etcd_is(f"what etcd has rolled back is not in {self._path}: {why}")

    def _write(self, data: bytes, file: RolloutFile, mod_revision: int, cluster: int) -> bool:
        """Make the file what it should be; return whether it was written."""
        local = self._local()
        mine = None if local is None else _parsed(local)
        kept = self._kept(mine, file)
        text = self._with(data, [one for one in kept if not holds(file, one)])
        before = self._record.base
        is_old = before is not None and before.data == data
        if is_old and mine is not None and same_meaning(mine, parse(text)):
            wrote = revision_of(local or b"")  # as somebody on this server has written it
        else:
            wrote = revision_of(text)
        coming = Applied(data, mod_revision, cluster, wrote)
        is_written = local is None or revision_of(local) != wrote
        if is_written:
            self._save(replace(self._record, base=before, coming=coming, kept=kept))
            self._swap(local, text, mod_revision)
            self._say_applied(before, data, mod_revision, wrote)
        if before != coming or self._record.kept != kept or self._record.coming is not None:
            self._save(replace(self._record, base=coming, coming=None, kept=kept))
        self._revision = revision_of(data)
        if self._etcd_rollbacks:
            self._etcd_rollbacks = frozenset()
            write_etcd_rollbacks(self._path, self._etcd_rollbacks)
        self._note_latched(tuple(str(one) for one in kept))
        return is_written

    def _kept(self, mine: RolloutFile | None, file: RolloutFile) -> tuple[LocalLatch, ...]:
        """Return what was rolled back on this server alone, and is so still.

        A broken file decides nothing: the gates are at their last good version, and so is this.
        """
        if mine is None:
            return self._record.kept
        base = self._record.base
        if base is None:
            # A copy from before this mirror: its percents are of another day, its latches meant.
            here = [one for one in safer(mine, file) if one.kind == "latch"]
        else:
            here = safer(mine, parse(base.data))
        found = [one for one in here if one not in self._etcd_rollbacks]
        still = [one for one in self._record.kept if holds(mine, one) and one not in found]
        return (*still, *found)

    def _with(
        self,
        data: bytes,
        latches: Sequence[LocalLatch],
        why: str = "kept, as rolled back on this server",
    ) -> bytes:
        """Return a text with rollbacks made in it, by the rules of every edit."""
        if not latches:
            return data
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        stamp = f"{at} {self._switch.who.name}: {why}"
        store = RolloutStore(self._path)
        store.adopt(data)
        return store.prepare([one.edit(stamp) for one in latches]).after.data

    def _swap(self, local: bytes | None, text: bytes, mod_revision: int) -> None:
        """Put a text in place, by compare-and-swap, with its row of the history."""
        try:
            self._replace(local, text, f"etcd {self._key}, revision {mod_revision}")
        except Written as told:
            self._tell(str(told))

    def _replace(self, local: bytes | None, text: bytes, source: str) -> None:
        if local is None:
            swap(self._path, ABSENT, text)
            return
        try:
            if self._switch.store.snapshot is None:
                self._switch.open()
            else:
                self._switch.refresh()  # records what somebody on this server has done
        except StoreError:  # a broken file: nobody's change is lost with it
            swap(self._path, revision_of(local), text)
            return
        known = self._switch.store.snapshot
        if known is None or known.data != local:
            raise Conflict(self._path.name, revision_of(local), "another")
        plan = self._switch.planner.plan_text(text, source)
        for warning in self._switch.apply(plan, reason=f"mirrored from {source}").warnings:
            self._tell(warning)

    def _local(self) -> bytes | None:
        try:
            store = RolloutStore(self._path)
            store.refresh_settled()
            return store.snapshot.data if store.snapshot else None
        except NoFile:
            return None
        except StoreError:
            return read_regular(self._path)[0]  # a device has no end, and a FIFO no data

    def _read_again(self) -> bool:
        """Read the record; return whether another mirror has written it since.

        One that was removed is still known. One that cannot be read is told, and left alone.
        """
        try:
            found = read_record(self._path, self._key, self._record.address)
        except UnusableRecord as error:
            self._unusable, self._stat = str(error), None
            self._retry_at = time.monotonic() + RETRY_S
            self._file_is(
                f"{self._path} is not current: {error}; until then etcd's rollbacks alone are made"
            )
            return False
        if self._unusable:
            self._unusable, self._retry_at = "", 0.0
        if found is None:
            return False
        found = self._settled(found)
        if found == self._record:
            return False
        if _is_restored(self._record.base, found.base):
            self._cluster_at = 0  # another mirror has adopted it
        self._record, self._stat = found, None
        if found.base is not None:
            self._revision = revision_of(found.base.data)
        return True

    def _settled(self, record: MirrorRecord) -> MirrorRecord:
        """Return the record with the version that was being written as the one in force, if the
        file has it: its mirror has ended, or still writes and has no lock."""
        coming = record.coming
        if coming is not None:
            with suppress(OSError):
                if revision_of(read_regular(self._path)[0]) == coming.wrote:
                    return replace(record, base=coming, coming=None)
        return record

    def _save(self, record: MirrorRecord) -> None:
        write_record(self._path, record)
        self._record = record

    def _say_applied(
        self, before: Applied | None, data: bytes, mod_revision: int, wrote: str
    ) -> None:
        revision = revision_of(data)[:SHORT]
        if before is not None and before.data == data:
            self._tell(f"a change made on this server was put back to revision {revision}")
        else:
            kept = "" if wrote[:SHORT] == revision else ", with what is rolled back here"
            self._tell(f"revision {revision} of etcd ({mod_revision}) is in force{kept}")

    def _note_latched(self, latched: tuple[str, ...]) -> None:
        if latched != self._latched:
            here = ", ".join(latched[:5]) + (" …" if len(latched) > 5 else "")
            self._tell(
                f"rolled back on this server alone, until it is resumed here: {here}"
                if latched
                else "nothing is rolled back on this server alone any more"
            )
        self._latched = latched

    def _etcd_is(self, trouble: str) -> None:
        self._of_etcd = self._told(self._of_etcd, trouble)

    def _file_is(self, trouble: str) -> None:
        self._of_file = self._told(self._of_file, trouble)

    def _told(self, before: str, now: str) -> str:
        """Tell a trouble that is new, or that the one before is over; return the one of now."""
        if now != before:
            self._tell(now or "recovered")
        return now

    def _fingerprint(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _parsed(data: bytes) -> RolloutFile | None:
    try:
        return parse(data)
    except FileError:
        return None


def _is_restored(known: Applied | None, found: Applied | None) -> bool:
    """Return whether a record is of another cluster than the one known, or of one restored."""
    if known is None or found is None:
        return False
    return found.cluster != known.cluster or found.mod_revision < known.mod_revision
