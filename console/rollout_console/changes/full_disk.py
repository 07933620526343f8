"""A rollback on a full disk: turn a latch on within the bytes that the file has already."""

from rollout_console.changes.edits import Edit, SetRolledBack
from rollout_console.changes.toml_edit.document import Document
from rollout_console.changes.toml_edit.edit import path_of


def fitting(document: Document, edit: Edit) -> bytes | None:
    """Return the text with the latch's ``false`` written as ``true``, padded to the same length.

    Overwriting it allocates no disk block, on file systems without copy-on-write. None where the
    edit is no rollback, or its latch is not in the file with the value ``false``.
    """
    if not (isinstance(edit, SetRolledBack) and edit.rolled_back):
        return None
    path = path_of(edit)
    entry = document.entry(path if edit.org is None else (*path, "rolled_back"))
    if entry is None:
        return None
    line = document.lines[entry.line]
    before, value = line[: entry.value_column], line[entry.value_column : entry.end_column]
    if value.strip() != "false":
        return None
    padded = "true".ljust(len(value))
    return document.with_line(entry.line, before + padded + line[entry.end_column :]).encode()
