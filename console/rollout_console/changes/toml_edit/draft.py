"""Insert values into a TOML text, and delete them, by their source spans.

This is a concrete-syntax edit: whatever notation the text has for its tables (headers, dotted
keys, inline tables, and all of them mixed), only the characters of the value change, or one line
is inserted or deleted. All else is preserved, because nothing else is serialized again. Grammar:
TOML 1.0.0.
"""

from collections.abc import Iterator

import msgspec

from rollout_console.changes.errors import EditNotPossible
from rollout_console.changes.toml_edit.document import Document
from rollout_console.changes.toml_edit.line import key_text
from rollout_gate.file.positions import Entry, Layout, Path, parts_at, scan


class Statement(msgspec.Struct, frozen=True):
    """``key = value`` on lines of its own, and the positions in it, by line from its first one."""

    first: int
    last: int
    path: Path
    header: Path
    """The table whose header it is under; its key is the rest of ``path``."""
    entries: dict[Path, Entry]

    @property
    def whole(self) -> Entry:
        """The position of its own key and value."""
        return self.entries[self.path]

    @property
    def end(self) -> "End":
        """The end of its value."""
        return End(self.last, self.whole.end_column)


class End(msgspec.Struct, frozen=True):
    """The end of a statement: its last line, and the column after its value."""

    line: int
    column: int


class Draft:
    """The lines of a document while one edit is made in it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._layout: Layout = document.layout
        self.lines = document.lines.copy()

    def statement(self, path: Path) -> Statement | None:
        """Return the statement that holds the value at ``path``, or a table that is to hold it."""
        entries = self._layout.entries
        for size in range(1, len(path) + 1):
            entry = entries.get(path[:size])
            if entry is not None:
                return self._statement(path[:size], entry.line, entry.end_line)
        return None

    def spelled(self, path: Path) -> str | None:
        """Return the source text of the value at ``path``; None where it has none."""
        found = self.statement(path)
        entry = None if found is None else found.entries.get(path)
        if found is None or entry is None:
            return None
        lines = self.lines[found.first + entry.value_line : found.first + entry.end_line + 1]
        lines[-1] = lines[-1][: entry.end_column]
        lines[0] = lines[0][entry.value_column :]
        return "\n".join(lines)

    def has_table(self, path: Path) -> bool:
        """Whether there is a table at ``path``, in any notation."""
        found = self.statement(path)
        if found is not None:
            text = self.spelled(path)
            return any(
                len(key) > len(path) and key[: len(path)] == path for key in found.entries
            ) or (text is not None and text.startswith("{"))
        return path in self._layout.tables or any(True for _ in self._under(path))

    def put(self, path: Path, spelled: str) -> End:
        """Set the source text ``spelled`` as the value at ``path``; return its statement's end.

        Raises EditNotPossible.
        """
        found = self.statement(path)
        if found is None:
            line = self._add(path[:-1], (path[-1],), spelled)
            return self._statement(path, line, line).end
        entry = found.entries.get(path)
        if entry is not None:
            last = self._replace(found, _span(entry), spelled)
        else:
            last = self._into_inline_table(found, path, spelled)
        return self._statement(found.path, found.first, last).end

    def append(self, table: Path, new: list[str]) -> None:
        """Insert lines at the end of a table with a header of its own.

        The line numbers of what is below are no longer valid after that.
        """
        last = self._layout.tables[table].last_line
        self._insert(last, [_indent(self.lines[last]) + line for line in new])

    def remove(self, path: Path) -> None:
        """Delete the value at ``path`` with its key; a statement is deleted with its lines."""
        found = self.statement(path)
        if found is None or path not in found.entries:
            return
        if path != found.path:
            self._out_of_inline_table(found, path)
            return
        del self.lines[found.first : found.last + 1]
        if found.first == len(self.lines) and self.lines:
            # The last line has no line ending, and the line before it is the last one now.
            self.lines[-1] = self.lines[-1].removesuffix("\r")

    def _statement(self, path: Path, first: int, last: int) -> Statement:
        """Rescan the statement: after an edit only the line numbers of the layout are valid."""
        local = scan("\n".join(self.lines[first : last + 1])).entries
        outermost = min(local, key=len)
        header = path[: len(path) - len(outermost)]
        return Statement(
            first, last, path, header, {(*header, *key): place for key, place in local.items()}
        )

    def _replace(self, found: Statement, at: tuple[int, int, int, int], spelled: str) -> int:
        line, column, end_line, end_column = at
        before = self.lines[found.first + line][:column]
        after = self.lines[found.first + end_line][end_column:]
        new = f"{before}{spelled}{after}".split("\n")
        self.lines[found.first + line : found.first + end_line + 1] = new
        return found.last + len(new) - (end_line - line + 1)

    def _into_inline_table(self, found: Statement, path: Path, spelled: str) -> int:
        sizes = range(len(path) - 1, len(found.path) - 1, -1)
        owner = next(path[:size] for size in sizes if path[:size] in found.entries)
        text = self.spelled(owner) or ""
        if not text.startswith("{"):
            raise EditNotPossible(f"{'.'.join(owner)} is not a table; edit the file by hand")
        pair = f"{_dotted(path[len(owner) :])} = {spelled}"
        inside = _pairs_in(found, owner)
        if not inside:
            return self._replace(found, _span(found.entries[owner]), f"{{ {pair} }}")
        end = found.entries[inside[-1]]
        return self._replace(
            found, (end.end_line, end.end_column, end.end_line, end.end_column), f", {pair}"
        )

    def _out_of_inline_table(self, found: Statement, path: Path) -> None:
        sizes = range(len(path) - 1, len(found.path) - 1, -1)
        owner = next(path[:size] for size in sizes if path[:size] in found.entries)
        inside = _pairs_in(found, owner)
        number, gone = inside.index(path), found.entries[path]
        if number > 0:
            before = found.entries[inside[number - 1]]
            at = (before.end_line, before.end_column, gone.end_line, gone.end_column)
        elif len(inside) > 1:
            after = found.entries[inside[1]]
            at = (gone.line, gone.key_column, after.line, after.key_column)
        else:
            place = found.entries[owner]
            self._replace(
                found,
                (place.value_line, place.value_column, place.end_line, place.end_column),
                "{}",
            )
            return
        self._replace(found, at, "")

    def _add(self, table: Path, key: Path, spelled: str) -> int:
        """Insert a line into a table that is not in a statement; return the line's number."""
        tables = self._layout.tables
        line = f"{_dotted(key)} = {spelled}"
        if table in tables:
            return self._add_under_header(table, line)
        under = list(self._under(table))
        entries = self._layout.entries
        dotted = sorted((path for path in under if path in entries), key=lambda p: -entries[p].line)
        for path in dotted:
            prefix = self._prefix(path, table)
            if prefix:
                return self._insert(entries[path].end_line, [f"{prefix}.{line}"])
        header = "[" + _dotted(table) + "]"
        headers = [path for path in under if path in tables]
        if headers:
            # The table is implicit, by its sub-tables; TOML allows its header after theirs.
            end = max(tables[path].last_line for path in headers)
            return self._insert(end, ["", header, line])
        if len(key) == 1 and tables.get(table[:-1]) is not None and len(table) > 1:
            return self._insert(tables[table[:-1]].last_line, ["", header, line])
        return self._add(table[:-1], (table[-1], *key), spelled)

    def _add_under_header(self, table: Path, line: str) -> int:
        last = self._layout.tables[table].last_line
        if last >= 0:
            return self._insert(last, [_indent(self.lines[last]) + line])
        # The root table has no value yet: insert before everything.
        end = "\r" if self.lines[0].endswith("\r") else ""
        self.lines.insert(0, line + end)
        return 0

    def _insert(self, after: int, new: list[str]) -> int:
        """Insert lines after a line, with its line ending; return the number of the last one."""
        lines = self.lines
        end = self._document.newline_of(max(after - 1, 0)) or self._document.newline_of(after)
        if after == len(lines) - 1:
            # The last line has no line ending: it gets one, and the new last line has none.
            lines[after] += end
            lines += [*(text + end for text in new[:-1]), new[-1]]
        else:
            lines[after + 1 : after + 1] = [text + end for text in new]
        return after + len(new)

    def _under(self, table: Path) -> Iterator[Path]:
        """Yield the paths of the statements and headers below a table's path."""
        size, entries = len(table), self._layout.entries
        for path in entries:
            if (
                len(path) > size
                and path[:size] == table
                and not any(path[:shorter] in entries for shorter in range(1, len(path)))
            ):
                yield path
        for path in self._layout.tables:
            if len(path) > size and path[:size] == table:
                yield path

    def _prefix(self, path: Path, table: Path) -> str:
        """Return the dotted prefix of the statement at ``path`` that leads to ``table``.

        The prefix is relative to the statement's header; empty where that is not above the table.
        """
        entry = self._layout.entries[path]
        found = self._statement(path, entry.line, entry.end_line)
        size = len(table) - len(found.header)
        if size < 1:
            return ""
        line = self.lines[found.first]
        parts = parts_at(line, found.whole.key_column)
        return _indent(line) + ".".join(parts[:size])


def _pairs_in(found: Statement, owner: Path) -> list[Path]:
    """Return the paths of the pairs directly inside an inline table, in the order of the text."""
    size = len(owner)
    inside = [path for path in found.entries if len(path) > size and path[:size] == owner]
    own = [
        path
        for path in inside
        if not any(path[:shorter] in found.entries for shorter in range(size + 1, len(path)))
    ]
    return sorted(own, key=lambda path: (found.entries[path].line, found.entries[path].key_column))


def _span(entry: Entry) -> tuple[int, int, int, int]:
    return entry.value_line, entry.value_column, entry.end_line, entry.end_column


def _dotted(key: Path) -> str:
    return ".".join(key_text(part) for part in key)


def _indent(line: str) -> str:
    if line.lstrip(" \t").startswith("["):
        return ""
    return line[: len(line) - len(line.lstrip(" \t"))]
