"""The rollout file's only writer: minimal edits, verified by parsing, then compare-and-swap."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from rollout_console.changes.atomic_swap import ABSENT, swap
from rollout_console.changes.edits import (
    Edit,
    SetDefaultPercent,
    SetShare,
    SetText,
    applied,
    same_meaning,
)
from rollout_console.changes.errors import (
    EditNotPossible,
    NoFile,
    NotReadable,
    StoreError,
    Written,
)
from rollout_console.changes.full_disk import fitting
from rollout_console.changes.snapshot import Prepared, Snapshot
from rollout_console.changes.text_diff import changed_lines
from rollout_console.changes.toml_edit.edit import Edited, edited, edited_at_once, path_of
from rollout_console.changes.writer_detection import open_for_writing
from rollout_gate.file.errors import FileError
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import Missing, Unreadable, read_file
from rollout_gate.file.revision import revision_of

SETTLED_S = 0.5
"""Debounce in seconds: a file modified more recently than this may be half-written."""
_LOOK_EVERY_S = 0.1
_LOOKS = 12


class RolloutStore:
    """Reads, follows, edits and replaces one rollout file. Not thread-safe: one owner at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._snapshot: Snapshot | None = None
        self._seen: tuple[int, ...] = ()
        self._place: tuple[int, ...] = ()
        self._last_look: tuple[int, ...] = ()
        self.unsettled = False
        """Whether the last refresh skipped a file that may be half-written."""
        self._trouble = ""

    @property
    def name(self) -> str:
        """How the file is called in a sentence."""
        return self.path.name

    @property
    def snapshot(self) -> Snapshot | None:
        """The last good version that was read or written."""
        return self._snapshot

    @property
    def trouble(self) -> str:
        """Why the file could not be used at the last refresh; empty where it could."""
        return self._trouble

    def open(self) -> Snapshot:
        """Read the file, once no writer in place is busy; raises StoreError."""
        self._seen = ()
        self.refresh_settled()
        if self._snapshot is None:
            raise NotReadable(f"{self.path} could not be read")
        return self._snapshot

    def refresh(self, *, settled: bool = False) -> Snapshot | None:
        """Return the new version if the file's content has changed, else None.

        With ``settled`` (debounce), a file that is being written in place is skipped until its
        stat is the same at two refreshes; one that came by a rename is complete, and is read at
        the first. Raises NotReadable, or another StoreError for an invalid file, each time while
        the file cannot be used; the last good version stays.
        """
        seen = self._status()
        self.unsettled = False
        if seen and seen == self._seen:
            if self._trouble:
                raise StoreError(self._trouble)
            return None
        if settled and seen and self._may_be_half(seen):
            self._last_look, self.unsettled = seen, True
            return None
        try:
            data, status = read_file(self.path)
        except Unreadable as error:
            self._seen = ()
            self._trouble = str(error)
            kind = NoFile if isinstance(error, Missing) else NotReadable
            raise kind(self._trouble) from None
        self._seen = _fingerprint(status)
        self._place = self._seen[:2]
        return self._take(data)

    def _take(self, data: bytes) -> Snapshot | None:
        """Make a text that was read the last good version; return it if it is another."""
        revision = revision_of(data)
        if self._snapshot is not None and revision == self._snapshot.revision:
            self._trouble = ""
            return None
        try:
            file = parse(data)
        except FileError as error:
            self._trouble = f"{self.path}: {error}"
            raise StoreError(self._trouble) from None
        self._trouble = ""
        self._snapshot = Snapshot(data, file, revision)
        return self._snapshot

    def last_good(self) -> Snapshot:
        """Return the last good version, or read it where there is none yet; raises StoreError."""
        return self._snapshot or self.open()

    def refresh_settled(self) -> Snapshot | None:
        """Refresh, and wait up to about a second for a writer in place to finish."""
        for _ in range(_LOOKS):
            found = self.refresh(settled=True)
            if not self.unsettled:
                return found
            time.sleep(_LOOK_EVERY_S)
        return self.refresh()

    def prepare(self, edits: Sequence[Edit]) -> Prepared:
        """Apply edits to the last good version in memory; raises EditNotPossible, UnknownRoute."""
        before = self.last_good()
        after = self._edited_by(before, edits)
        return Prepared(before, after, changed_lines(before.data, after.data))

    def prepare_again(self, prepared: Prepared, edits: Sequence[Edit]) -> Prepared:
        """Apply other edits to the version that was edited, with which the file is compared."""
        base = self.last_good() if prepared.rescues else prepared.before
        after = self._edited_by(base, edits)
        return replace(prepared, after=after, diff=changed_lines(base.data, after.data))

    def prepare_text(self, data: bytes) -> Prepared:
        """Prepare to replace the complete text; raises FileError if the new one is not valid.

        The current file may be invalid or deleted, where there was a good version before it.
        """
        after = Snapshot(data, parse(data), revision_of(data))
        last = self._snapshot
        if self._trouble and last is not None and (broken := self._broken()) is not None:
            before, trouble = broken
            return Prepared(before, after, changed_lines(last.data, after.data), trouble)
        before = last or self.open()
        return Prepared(before, after, changed_lines(before.data, after.data))

    def prepare_rescue(self, edits: Sequence[Edit]) -> Prepared | None:
        """Apply edits to the last good version, to replace a file that is invalid or deleted.

        Return None where the file can be used, or where there never was a good version.
        Raises NotReadable where the file exists and cannot be read.
        """
        found = self._broken()
        last = self._snapshot
        if found is None or last is None:
            return None
        after = self._edited_by(last, edits)
        broken, trouble = found
        return Prepared(broken, after, changed_lines(last.data, after.data), trouble)

    def _broken(self) -> tuple[Snapshot, str] | None:
        """Return a snapshot of an unusable file, and what is wrong with the file.

        None where the file is good, or where there never was a good one. The snapshot has the
        parsed file of the last good version, which is what the gates obey.
        """
        last = self._snapshot
        if last is None:
            return None
        data, revision, trouble = b"", ABSENT, f"{self.path} does not exist"
        try:
            data = self._text()
            parse(data)
            return None
        except Missing:
            pass
        except Unreadable as error:
            raise NotReadable(str(error)) from None
        except FileError as error:
            revision, trouble = revision_of(data), f"{self.path}: {error}"
        return Snapshot(data, last.file, revision), trouble

    def _text(self) -> bytes:
        """Return the text of the file; raises Missing, Unreadable."""
        return read_file(self.path)[0]

    def adopt(self, data: bytes) -> Snapshot:
        """Make an earlier text the last good version; raises FileError if it is not valid."""
        self._snapshot = Snapshot(data, parse(data), revision_of(data))
        return self._snapshot

    def prepare_fitting(self, edit: Edit) -> Prepared | None:
        """Apply a rollback without a byte more, to be written in place; None where it is not so."""
        before = self.last_good()
        data = fitting(before.document, edit)
        after = None if data is None else _verified(data, applied(before.file, [edit]))
        return (
            None
            if after is None
            else Prepared(before, after, changed_lines(before.data, after.data))
        )

    def write(
        self,
        prepared: Prepared,
        write_ahead: Callable[[], None] = lambda: None,
        *,
        in_place: bool = False,
    ) -> Snapshot:
        """Replace the file by compare-and-swap, if it is still the version that was edited.

        ``write_ahead`` logs the intent, under the lock and after the comparison. ``in_place``
        overwrites the file instead, which needs no disk space for a text of the same length.
        Raises Conflict, NotReadable or NotWritable; the file is then unchanged. Raises Written,
        with warnings, where the file was replaced.
        """
        written: Written | None = None
        try:
            self._replace(prepared, write_ahead, in_place=in_place)
        except Written as told:
            written = told
        self._snapshot = prepared.after
        self._trouble = ""
        # Invalidate the fingerprint: the next refresh reads the file and finds its revision known.
        self._seen, self._place = (), self._status()[:2]
        if written is not None:
            raise written
        return prepared.after

    def _replace(
        self, prepared: Prepared, write_ahead: Callable[[], None], *, in_place: bool
    ) -> None:
        before, after = prepared.before, prepared.after
        swap(self.path, before.revision, after.data, write_ahead, in_place=in_place)

    def _edited_by(self, before: Snapshot, edits: Sequence[Edit]) -> Snapshot:
        """Make edits in memory: in one pass where that is possible, else one after the other."""
        if len(edits) > 1 and len({path_of(edit) for edit in edits}) == len(edits):
            meant = applied(before.file, edits)
            left = [edit for edit in edits if not _says_already(before.file, meant, edit)]
            done = edited_at_once(before.document, left, meant)
            if done is not None and (found := _snapshot_of(done, meant)) is not None:
                return found if left else before
        for edit in edits:
            before = self._edited(before, edit)
        return before

    def _edited(self, before: Snapshot, edit: Edit) -> Snapshot:
        meant = applied(before.file, [edit])
        if _says_already(before.file, meant, edit):
            return before
        if (found := _snapshot_of(edited(before.document, edit, meant), meant)) is not None:
            return found
        raise EditNotPossible(
            f"{self.name} is written in a way that this edit could not be made safely "
            f"({'.'.join(path_of(edit))}); nothing was written: edit it by hand"
        )

    def _may_be_half(self, seen: tuple[int, ...]) -> bool:
        """Whether a process may be writing the file in place: the same inode as before, or any at
        the first refresh. A rename replaces the file atomically.
        """
        if self._place and seen[:2] != self._place:
            return False
        writing = open_for_writing(self.path)
        if writing is None:
            writing = 0 <= time.time() - seen[3] / 1e9 < SETTLED_S
        return writing or (bool(self._place) and seen != self._last_look)

    def _status(self) -> tuple[int, ...]:
        try:
            return _fingerprint(self.path.stat())
        except OSError:
            return ()


def _says_already(before: RolloutFile, meant: RolloutFile, edit: Edit) -> bool:
    """Whether the value that ``edit`` sets is set already, without comparing 10,000 orgs."""
    if edit.route is None:
        return before.rolled_back == meant.rolled_back
    one, other = before.routes[edit.route], meant.routes[edit.route]
    if isinstance(edit, SetText):
        return bool(getattr(one, edit.field) == getattr(other, edit.field))
    if isinstance(edit, SetDefaultPercent):
        return one.default_points == other.default_points
    if isinstance(edit, SetShare):
        was, now = getattr(one, edit.table), getattr(other, edit.table)
        return bool(was.get(edit.name) == now.get(edit.name))
    if edit.org is None:
        return one.rolled_back == other.rolled_back
    return one.orgs.get(edit.org) == other.orgs.get(edit.org)


def _snapshot_of(done: Edited, meant: RolloutFile) -> Snapshot | None:
    """Return the version that an edit makes; None where its text does not say what was meant."""
    if done.document is None:
        return _verified("\n".join(done.lines).encode("utf-8"), meant)
    data = done.document.encode()
    revision = revision_of(data)
    return Snapshot(data, replace(meant, revision=revision), revision, [done.document])


def _verified(data: bytes, meant: RolloutFile) -> Snapshot | None:
    try:
        file = parse(data)
    except FileError:
        return None
    return Snapshot(data, file, file.revision) if same_meaning(file, meant) else None


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
