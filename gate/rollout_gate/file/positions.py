"""The source position (line and column) of each key and value in a TOML text.

tomllib gives values without positions, and tomlkit needs half a second to give both for 10,000
orgs. This scan gives only positions: to name the line of a wrong value, and to change one line
without touching the others. It reads text that tomllib has already accepted; on other text its
positions are meaningless. Grammar: TOML 1.0.0.
"""

import re
import tomllib
from functools import cache

import msgspec

Path = tuple[str, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""


class _Grammar:
    def __init__(self) -> None:
        self.key = re.compile(_KEY)
        self.dotted_key = re.compile(rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*")
        self.spaces = re.compile(r"[ \t]*")
        self.equals = re.compile(r"[ \t]*=[ \t]*")
        self.blank = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
        self.inline_blank = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
        self.string = re.compile(
            r'"""(?:\\[\s\S]|(?!""")[^\\])*"{3,5}'
            r"|'''(?:(?!''')[\s\S])*'{3,5}"
            r'|"(?:[^"\\\n]|\\.)*"'
            r"|'[^'\n]*'"
        )
        self.scalar = re.compile(r"[^,\]}#\r\n]*")
        self.simple = re.compile(
            r"""([A-Za-z0-9_-]+|"[^"\\\n]*")[ \t]*=[ \t]*([A-Za-z0-9._+-]+)"""
            r"[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)"
        )


@cache
def _grammar() -> _Grammar:
    """Compile the patterns lazily: most files that are read need no positions."""
    return _Grammar()


class Entry(msgspec.Struct, frozen=True):
    """A key and its value: lines from 0, columns from 0 within their line."""

    line: int
    key_column: int
    value_line: int
    value_column: int
    end_line: int
    end_column: int


class Table(msgspec.Struct):
    """A ``[header]``'s line (-1 for the top of the file) and the last line that belongs to it."""

    header_line: int
    last_line: int


class Layout(msgspec.Struct):
    """All positions of one text. ``entries`` is by full path, with array indexes as strings."""

    entries: dict[Path, Entry] = msgspec.field(default_factory=dict)
    tables: dict[Path, Table] = msgspec.field(default_factory=dict)

    def place(self, path: Path) -> tuple[int, int]:
        """Return line and column, from 1, of the value at ``path``, else of its nearest table."""
        entry = self.entries.get(path)
        if entry is not None:
            return entry.value_line + 1, entry.value_column + 1
        table = self.tables.get(path)
        if table is not None:
            return max(table.header_line, 0) + 1, 1
        return self.place(path[:-1]) if path else (1, 1)


def scan(text: str) -> Layout:
    """Return the positions of every key and value in ``text``."""
    return _Scan(text).run()


def unquote(part: str) -> str:
    """Unquote and unescape one part of a dotted key."""
    if part[0] == "'" or (part[0] == '"' and "\\" not in part):
        return part[1:-1]
    if part[0] == '"':
        return str(tomllib.loads(f"x={part}")["x"])
    return part


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.grammar = _grammar()
        self.layout = Layout(tables={(): Table(-1, -1)})
        self.table: Path = ()
        self.array_sizes: dict[Path, int] = {}
        self.line = 0
        self.line_start = 0

    def run(self) -> Layout:
        pos = self._blank(0)
        while pos < len(self.text):
            pos = self._header(pos) if self.text[pos] == "[" else self._statement(pos)
            pos = self._blank(pos)
        return self.layout

    def _goto(self, pos: int) -> tuple[int, int]:
        """Move the line counter forward to ``pos``; return its line and column."""
        newlines = self.text.count("\n", self.line_start, pos)
        if newlines:
            self.line += newlines
            self.line_start = self.text.rindex("\n", self.line_start, pos) + 1
        return self.line, pos - self.line_start

    def _blank(self, pos: int) -> int:
        return _match_end(self.grammar.blank, self.text, pos)

    def _header(self, pos: int) -> int:
        line, _ = self._goto(pos)
        is_array = self.text.startswith("[[", pos)
        found = self.grammar.dotted_key.match(
            self.text, _match_end(self.grammar.spaces, self.text, pos + 1 + is_array)
        )
        end = self.text.find("\n", pos)
        end = len(self.text) if end < 0 else end
        if found is None:
            return end
        path = self._resolve(_parts(found.group()))
        if is_array:
            index = self.array_sizes.get(path, 0)
            self.array_sizes[path] = index + 1
            path = (*path, str(index))
        self.table = path
        self.layout.tables[path] = Table(line, line)
        return end

    def _resolve(self, parts: Path) -> Path:
        """Insert the index of the last array element where a header goes through an array."""
        path: Path = ()
        for part in parts[:-1]:
            path = (*path, part)
            if path in self.array_sizes:
                path = (*path, str(self.array_sizes[path] - 1))
        return (*path, parts[-1])

    def _statement(self, pos: int) -> int:
        simple = self.grammar.simple.match(self.text, pos)
        if simple is not None:
            line, column = self._goto(pos)
            start, end = simple.span(2)
            offset = column - pos
            path = (*self.table, simple.group(1).strip('"'))
            self.layout.entries[path] = Entry(
                line, column, line, start + offset, line, end + offset
            )
            self.layout.tables[self.table].last_line = line
            return simple.end()
        end = self._pair(pos, self.table, depth=0)
        self.layout.tables[self.table].last_line = self._goto(end)[0]
        newline = self.text.find("\n", end)
        return len(self.text) if newline < 0 else newline

    def _pair(self, pos: int, table: Path, depth: int) -> int:
        """Record ``key = value`` at ``pos``; return where the value ends."""
        found = self.grammar.dotted_key.match(self.text, pos)
        if found is None:
            return len(self.text)
        line, column = self._goto(pos)
        path = (*table, *_parts(found.group()))
        start = _match_end(self.grammar.equals, self.text, found.end())
        value_line, value_column = self._goto(start)
        end = self._value(start, path, depth)
        end_line, end_column = self._goto(end)
        self.layout.entries[path] = Entry(
            line, column, value_line, value_column, end_line, end_column
        )
        return end

    def _value(self, pos: int, path: Path, depth: int) -> int:
        string = self.grammar.string.match(self.text, pos)
        if string is not None:
            return string.end()
        opening = self.text[pos : pos + 1]
        if opening == "{" and depth < 4:
            return self._inline_table(pos, path, depth + 1)
        if opening in ("{", "["):
            return self._skip_brackets(pos)
        end = _match_end(self.grammar.scalar, self.text, pos)
        return pos + len(self.text[pos:end].rstrip())

    def _inline_table(self, pos: int, path: Path, depth: int) -> int:
        pos = _match_end(self.grammar.inline_blank, self.text, pos + 1)
        while pos < len(self.text) and self.text[pos] != "}":
            pos = _match_end(self.grammar.inline_blank, self.text, self._pair(pos, path, depth))
        return min(pos + 1, len(self.text))

    def _skip_brackets(self, pos: int) -> int:
        depth = 0
        while pos < len(self.text):
            string = self.grammar.string.match(self.text, pos)
            if string is not None:
                pos = string.end()
                continue
            char = self.text[pos]
            if char == "#":
                newline = self.text.find("\n", pos)
                pos = len(self.text) if newline < 0 else newline
                continue
            depth += (char in "[{") - (char in "]}")
            pos += 1
            if depth == 0:
                break
        return pos


def parts_at(line: str, column: int) -> list[str]:
    """Return the parts of the dotted key at a column as they are written, or none."""
    grammar = _grammar()
    found = grammar.dotted_key.match(line, column)
    return [] if found is None else grammar.key.findall(found.group())


def _parts(dotted: str) -> Path:
    return tuple(unquote(part) for part in _grammar().key.findall(dotted))


def _match_end(pattern: re.Pattern[str], text: str, pos: int) -> int:
    found = pattern.match(text, pos)
    return pos if found is None else found.end()
