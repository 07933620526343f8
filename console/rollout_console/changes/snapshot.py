"""One version of the rollout file, and an edit that was made to it in memory."""

import msgspec

from rollout_console.changes.toml_edit.document import Document
from rollout_gate.file.model import RolloutFile


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """One version of the file: its bytes, the parsed file, and the revision."""

    data: bytes
    file: RolloutFile
    revision: str
    _document: list[Document] = msgspec.field(default_factory=list)

    @property
    def document(self) -> Document:
        """The text as lines with positions, computed lazily and cached."""
        if not self._document:
            self._document.append(Document.of(self.data))
        return self._document[0]


class Prepared(msgspec.Struct, frozen=True):
    """An edit made in memory and verified; ``diff`` holds its changed lines, ``-`` and ``+``."""

    before: Snapshot
    after: Snapshot
    diff: tuple[str, ...]
    rescues: str = ""
    """Why the file could not be used, where the last good version is to replace it."""
