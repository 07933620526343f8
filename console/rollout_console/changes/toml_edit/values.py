"""Set many values in a TOML text in one pass, each on its line, in linear time.

tomlkit takes seconds for ten thousand lines; it is the fallback where a value has no line of its
own.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

from rollout_console.changes.errors import EditNotPossible
from rollout_console.changes.toml_edit.line import key_text
from rollout_gate.file.positions import Layout, Path, scan

Values = Mapping[Path, str | None]
"""The source text of each value, by its path; None deletes it."""


def with_values(text: str, table: Mapping[str, Any], values: Values) -> tuple[str, dict[str, Any]]:
    """Return a text with these values set, all else preserved, and its parsed table.

    ``table`` is the parsed table of ``text``. Raises EditNotPossible where the new text would not
    parse to the intended table.
    """
    meant = _meant(table, values)
    for way in (_on_lines, _in_structure):
        after = way(text, values)
        if after is not None:
            try:
                said = tomllib.loads(after)
            except ValueError:
                continue
            if said == meant or _without_empty(said) == _without_empty(meant):
                return after, said
    raise EditNotPossible("the edited text would not say what was meant; nothing was written")


def _meant(table: Mapping[str, Any], values: Values) -> dict[str, Any]:
    meant = dict(table)
    copied: dict[Path, dict[str, Any]] = {(): meant}
    for path, spelled in values.items():
        at = meant
        for size, name in enumerate(path[:-1], 1):
            known = copied.get(path[:size])
            if known is None:
                known = copied[path[:size]] = dict(at.get(name, {}))
                at[name] = known
            at = known
        if spelled is None:
            at.pop(path[-1], None)
        else:
            at[path[-1]] = tomllib.loads(f"x = {spelled}")["x"]
    return meant


def _without_empty(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table without empty sub-tables: one may be deleted with its last value."""
    found = {
        name: _without_empty(value) if isinstance(value, dict) else value
        for name, value in table.items()
    }
    return {name: value for name, value in found.items() if value != {}}


def _on_lines(text: str, values: Values) -> str | None:
    """Edit the lines of the values; None where one of them has no line of its own."""
    layout, lines = scan(text), text.split("\n")
    gone: set[int] = set()
    new: dict[Path, list[str]] = {}
    for path, spelled in values.items():
        entry = layout.entries.get(path)
        if any(path[:size] in layout.entries for size in range(1, len(path))):
            return None
        if entry is None:
            if spelled is not None:
                new.setdefault(path[:-1], []).append(f"{key_text(path[-1])} = {spelled}")
            continue
        if entry.line != entry.end_line:
            return None
        line = lines[entry.line]
        if spelled is None:
            gone.add(entry.line)
        else:
            lines[entry.line] = line[: entry.value_column] + spelled + line[entry.end_column :]
    after: dict[int, list[str]] = {}
    there: set[Path] = set()
    for table, added in new.items():
        known = layout.tables.get(table)
        if known is None or known.header_line < 0:
            there = there or _tables_of(layout)
            if table in there:
                return None
            header = "[" + ".".join(key_text(part) for part in table) + "]"
            after.setdefault(len(lines) - 1, []).extend(["", header, *added])
        else:
            after.setdefault(known.last_line, []).extend(added)
    return "\n".join(_woven(lines, gone, after))


def _tables_of(layout: Layout) -> set[Path]:
    """Return every table that is there, perhaps implicit, without a header of its own."""
    paths = (*layout.entries, *layout.tables)
    return {path[:size] for path in paths for size in range(len(path) + 1)}


def _woven(lines: list[str], gone: set[int], after: Mapping[int, list[str]]) -> list[str]:
    found: list[str] = []
    for number, line in enumerate(lines):
        if number not in gone:
            found.append(line)
        added = after.get(number, [])
        if added and number == len(lines) - 1:
            # Keep the newline at the end of the text.
            if not line:
                found.pop()
            found += [*added, ""]
        else:
            found += added
    return found


def _in_structure(text: str, values: Values) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    for path, spelled in values.items():
        at: Any = document
        for name in path[:-1]:
            if name not in at:
                at[name] = tomlkit.table()
            at = at[name]
        if spelled is None:
            at.pop(path[-1], None)
        else:
            at[path[-1]] = tomlkit.value(spelled)
    return tomlkit.dumps(document)
