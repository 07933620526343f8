"""A TOML file of the console's own next to the rollout file, which people read and edit as well.

Applications never read it. An edit is compare-and-swap on the file's content, as it is with the
rollout file, and preserves everything in it that the edit does not touch.
"""

import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from rollout_console.changes.atomic_swap import ABSENT, swap
from rollout_console.changes.errors import Conflict, NotReadable
from rollout_console.changes.toml_edit.values import Values, with_values
from rollout_console.common.write_access import WriteAccess
from rollout_gate.file.percent import percent_text
from rollout_gate.file.read import read_regular
from rollout_gate.file.revision import revision_of

MOST_BYTES = 32 * 1024 * 1024
_TRIES = 3

State = TypeVar("State")


class SideFile(Generic[State]):
    """Reads and edits one such file; ``read`` converts its name, table and revision to a state.

    ``read`` raises StoreError for an invalid table. ``publish`` has a file of which the one at
    ``path`` is a working copy.
    """

    def __init__(
        self,
        path: Path,
        head: str,
        read: Callable[[str, dict[str, Any], str], State],
        access: WriteAccess,
        publish: "Publisher | None" = None,
    ) -> None:
        self.path = path
        self.name = str(path) if publish is None else publish.name
        self._publish = publish
        self._head = head
        self._read = read
        self._access = access
        self._known: tuple[bytes | None, dict[str, Any], State] | None = None

    def state(self) -> State:
        """Return the state of the file, that of an empty table without one; raises StoreError."""
        return self._said(self._data())[1]

    def edit(self, edit: Callable[[Any], None]) -> State:
        """Apply an edit to the tomlkit document of the current version of the file.

        Raises ReadOnly and StoreError; the file is then unchanged, unless that is Written.
        """
        import tomlkit

        def edited(text: str, _table: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
            document = tomlkit.parse(text)
            edit(document)
            return tomlkit.dumps(document), None

        return self._swap(edited)

    def put(self, values: Values) -> State:
        """Set values in the current version of the file; raises StoreError as ``edit`` does.

        Thousands take little longer than one.
        """
        return self._swap(lambda text, table: with_values(text, table, values))

    def _swap(self, edited: "Edited") -> State:
        self._access.require()
        for left in range(_TRIES - 1, -1, -1):
            data = self._data()
            table, _ = self._said(data)  # raises for an invalid file
            text = self._head if data is None else data.decode("utf-8")
            new_text, says = edited(text, table)
            after = new_text.encode("utf-8")
            if says is None:
                says = self._table(after)
            state = self._read(self.name, says, revision_of(after))
            try:
                self._replace(data, after)
            except Conflict:
                if not left:
                    raise
                continue
            self._known = (after, says, state)
            return state
        raise AssertionError("unreachable")

    def _replace(self, before: bytes | None, after: bytes) -> None:
        if self._publish is not None:
            self._publish.replace(before, after)  # the file at path is a working copy
        else:
            swap(self.path, ABSENT if before is None else revision_of(before), after)

    def _said(self, data: bytes | None) -> tuple[dict[str, Any], State]:
        """Return the table and the state of a file, memoized while its content is unchanged."""
        if self._known is None or self._known[0] != data:
            self._known = (data, *self._parsed(data))
        return self._known[1:]

    def _parsed(self, data: bytes | None) -> tuple[dict[str, Any], State]:
        table = {} if data is None else self._table(data)
        return table, self._read(self.name, table, ABSENT if data is None else revision_of(data))

    def _table(self, data: bytes) -> dict[str, Any]:
        try:
            return tomllib.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise NotReadable(f"{self.name} cannot be used: {error}; correct it") from None

    def _data(self) -> bytes | None:
        if self._publish is not None:
            return self._publish.text()  # the working copy may be older: the disk may be full
        try:
            data, _ = read_regular(self.path, MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotReadable(f"{self.name} cannot be read: {error.strerror}") from None
        return data


class Publisher(msgspec.Struct, frozen=True):
    """Reads and replaces the text of a file of that name, None where there is none yet; to replace
    one that is another by now raises Conflict."""

    name: str
    text: Callable[[], bytes | None]
    replace: Callable[[bytes | None, bytes], None]


Edited = Callable[[str, Mapping[str, Any]], tuple[str, dict[str, Any] | None]]
"""Returns the new text for a text and its table, and the new table if that is known."""


def sub_table(table: Any, name: str) -> Any:
    """Return the sub-table of that name of a tomlkit table, created where it is missing."""
    import tomlkit

    if name not in table:
        table[name] = tomlkit.table()
    return table[name]


def inline(**values: Any) -> Any:
    """Return a tomlkit inline table of these values."""
    import tomlkit

    table = tomlkit.inline_table()
    for name, value in values.items():
        table[name] = value
    return table


def number(points: int) -> Any:
    """Return basis points as an exact tomlkit number in percent."""
    import tomlkit

    return tomlkit.value(percent_text(points))


def time_of(value: Any) -> datetime:
    """Return a TOML date-time in UTC, also one without an offset; raises TypeError."""
    if not isinstance(value, datetime):
        raise TypeError("a time must be written as TOML writes one")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
