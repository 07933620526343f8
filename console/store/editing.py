"""Making an edit in a text: in place on its line where there is one, else in the structure."""

from decimal import Decimal
from typing import Any

from console.rollout.edits import Edit, SetDefaultPercent, SetPercent, SetRolledBack, SetText
from console.rollout.layout import Path
from console.rollout.model import OrgShare, RolloutFile
from console.rollout.percent import percent_text
from console.store.errors import EditNotPossible
from console.store.lines import (
    clean_stamp,
    comment_of,
    key_text,
    loaded,
    quoted,
    value_text,
    with_stamp,
    with_value,
    without_stamp,
)
from console.store.text import Document


def edit_in_place(document: Document, edit: Edit, meant: RolloutFile) -> Document | None:
    """Return the document with ``edit`` made on the one line that holds its value.

    The changed line is read back with tomllib and compared with ``meant``. Return None where the
    value has no line of its own; raises EditNotPossible where the line would not say it.
    """
    path = path_of(edit)
    entry = document.entry(path)
    if entry is None:
        return None
    before = document.lines[entry.line]
    if not _is_alone(document, path):
        return None
    after = _edited_line(before, edit, meant)
    if after is None:
        return None
    key, value = loaded(after)
    if key != path[-len(key) :] or _meaning(value, edit) != _meant_value(edit, meant):
        raise EditNotPossible("the edited line would not say what was meant; nothing was written")
    return document.with_line(entry.line, after)


def _is_alone(document: Document, path: Path) -> bool:
    """Whether its line says this value and no other, as ``orgs = { acme = 5 }`` does not."""
    entries = document.layout.entries
    return not any(path[:size] in entries for size in range(1, len(path)))


def insert_line(document: Document, edit: Edit, meant: RolloutFile) -> list[str] | None:
    """Return all lines with one more, or one less; None where there is no table to put it in."""
    path = path_of(edit)
    entry = document.entry(path)
    lines = document.lines.copy()
    if entry is not None:
        del lines[entry.line]
        return lines
    line = _new_line(edit, meant)
    if len(path) == 1:
        return _insert_at_top(document, lines, line)
    table = document.layout.tables.get(path[:-1])
    if table is None:
        parent = document.layout.tables.get(path[:-2]) if path[-2] == "orgs" else None
        if parent is None or any(p[: len(path) - 1] == path[:-1] for p in document.layout.entries):
            return None
        header = "[" + ".".join(key_text(part) for part in path[:-1]) + "]"
        new = ["", header, line] if lines[parent.last_line].strip() else [header, line]
        return _inserted(document, lines, parent.last_line, new)
    return _inserted(document, lines, table.last_line, [_indent(document, table.last_line) + line])


def path_of(edit: Edit) -> Path:
    """Return where in the file the edited value stands."""
    if isinstance(edit, SetPercent):
        return ("routes", edit.route, "orgs", edit.org)
    if isinstance(edit, SetDefaultPercent):
        return ("routes", edit.route, "default_percent")
    if isinstance(edit, SetText):
        return ("routes", edit.route, edit.field)
    if edit.route is None:
        return ("rolled_back",)
    if edit.org is None:
        return ("routes", edit.route, "rolled_back")
    return ("routes", edit.route, "orgs", edit.org)


def _edited_line(line: str, edit: Edit, meant: RolloutFile) -> str | None:
    if isinstance(edit, SetText):
        return with_value(line, quoted(edit.text))
    if isinstance(edit, SetDefaultPercent):
        return with_value(line, percent_text(edit.points))
    if isinstance(edit, SetPercent):
        spelled = value_text(line)
        if spelled.startswith("{"):
            return with_value(line, _edited_table(spelled, percent=edit.points))
        return with_value(line, percent_text(edit.points))
    if edit.route is None or edit.org is None:
        changed = with_value(line, "true" if edit.rolled_back else "false")
        return _stamped(changed, edit)
    share = meant.routes[edit.route].orgs.get(edit.org)
    if share is None:
        spelled = value_text(line)
        if not comment_of(line) and set(loaded(line)[1]) <= {"percent", "rolled_back"}:
            return None  # the line has nothing left to say
        return _stamped(with_value(line, _edited_table(spelled, rolled_back=False)), edit)
    return _stamped(with_value(line, _latched_value(value_text(line), edit, share)), edit)


def _latched_value(spelled: str, edit: SetRolledBack, share: OrgShare) -> str:
    if not spelled.startswith("{"):
        return f"{{ percent = {spelled}, rolled_back = true }}" if edit.rolled_back else spelled
    if not edit.rolled_back and share.points is not None:
        bare = _bare_percent(spelled)
        if bare is not None:
            return bare
    return _edited_table(spelled, rolled_back=edit.rolled_back)


def _bare_percent(spelled: str) -> str | None:
    """How the table spells its percent, where there is nothing in it but that and the latch."""
    import tomlkit

    table = tomlkit.parse(f"x = {spelled}")["x"]
    if isinstance(table, dict) and set(table) <= {"percent", "rolled_back"} and "percent" in table:
        item = table["percent"]
        return str(item.as_string()) if hasattr(item, "as_string") else None
    return None


def _edited_table(
    spelled: str, *, percent: int | None = None, rolled_back: bool | None = None
) -> str:
    """Return an inline table with one field set; tomlkit keeps the rest of its spelling."""
    import tomlkit

    document = tomlkit.parse(f"x = {spelled}")
    table: Any = document["x"]
    if percent is not None:
        text = percent_text(percent)
        table["percent"] = tomlkit.value(text)
    if rolled_back is False and len(table) > 1:
        del table["rolled_back"]
    elif rolled_back is not None:
        table["rolled_back"] = rolled_back
    edited = document.as_string().removeprefix("x = ")
    # tomlkit loses, or doubles, the space before the end.
    return f"{edited.removesuffix('}').rstrip(' ')} }}" if spelled.endswith(" }") else edited


def _stamped(line: str, edit: SetRolledBack) -> str:
    stamp = clean_stamp(edit.stamp)
    return with_stamp(line, stamp) if edit.rolled_back else without_stamp(line)


def _new_line(edit: Edit, meant: RolloutFile) -> str:
    key = key_text(path_of(edit)[-1])
    if isinstance(edit, SetRolledBack):
        value = "true" if edit.rolled_back else "false"
        if edit.org is not None:
            value = "{ rolled_back = true }"
        return _stamped(f"{key} = {value}", edit)
    if isinstance(edit, SetText):
        return f"{key} = {quoted(edit.text)}"
    return f"{key} = {percent_text(edit.points)}"


def _insert_at_top(document: Document, lines: list[str], line: str) -> list[str]:
    """After the file's own keys; in a file without any, before everything."""
    last = document.layout.tables[()].last_line
    if last >= 0:
        return _inserted(document, lines, last, [line])
    end = "\r" if lines[0].endswith("\r") else ""
    return [line + end, *lines]


def _inserted(document: Document, lines: list[str], after: int, new: list[str]) -> list[str]:
    end = document.newline_of(max(after - 1, 0)) or document.newline_of(after)
    if after == len(lines) - 1:
        # The last line has no end of its own: the new one takes over having none.
        return [*lines[:after], lines[after] + end, *(x + end for x in new[:-1]), new[-1]]
    return [*lines[: after + 1], *(text + end for text in new), *lines[after + 1 :]]


def _indent(document: Document, number: int) -> str:
    line = document.lines[number]
    if line.lstrip(" \t").startswith("["):
        return ""
    return line[: len(line) - len(line.lstrip(" \t"))]


def _meaning(value: Any, edit: Edit) -> Any:
    """What an org's line says, as (percent, rolled back); any other line's value as it is."""
    if isinstance(edit, SetText):
        return value
    if isinstance(edit, SetDefaultPercent) or (
        isinstance(edit, SetRolledBack) and edit.org is None
    ):
        return value if isinstance(value, bool) else Decimal(value)
    if isinstance(value, dict):
        percent = value.get("percent")
        return (None if percent is None else Decimal(percent), value.get("rolled_back", False))
    return (Decimal(value), False)


def _meant_value(edit: Edit, meant: RolloutFile) -> Any:
    if isinstance(edit, SetText):
        return edit.text
    if isinstance(edit, SetDefaultPercent):
        return Decimal(edit.points) / 100
    if edit.route is None:
        return meant.rolled_back
    route = meant.routes[edit.route]
    if edit.org is None:
        return route.rolled_back
    share = route.orgs.get(edit.org, OrgShare(None))
    return (None if share.points is None else Decimal(share.points) / 100, share.rolled_back)
