"""Apply an edit to a TOML text: on the line of its value where there is one, else on a new line."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from rollout_console.changes.edits import (
    Edit,
    SetDefaultPercent,
    SetPercent,
    SetRolledBack,
    SetShare,
    SetText,
)
from rollout_console.changes.errors import EditNotPossible
from rollout_console.changes.toml_edit.document import Document
from rollout_console.changes.toml_edit.draft import Draft
from rollout_console.changes.toml_edit.line import (
    clean_stamp,
    comment_of,
    key_text,
    loaded,
    quoted,
    with_stamp,
    without_stamp,
)
from rollout_gate.file.model import OrgShare, RolloutFile
from rollout_gate.file.percent import percent_text
from rollout_gate.file.positions import Path

_ORG_DEPTH = 4
"""The length of an org's path: ``routes``, the route, ``orgs``, the org."""


class Edited(msgspec.Struct, frozen=True):
    """A text with an edit made in it."""

    lines: list[str]
    document: Document | None = None
    """The document, where only single lines changed, each verified by parsing it; else None."""


def edited(document: Document, edit: Edit, meant: RolloutFile) -> Edited:
    """Return the text with ``edit`` made in it.

    Where the value has a line of its own, that line is parsed with tomllib and compared with
    ``meant``; otherwise the caller must verify the complete text. Raises EditNotPossible.
    """
    draft = Draft(document)
    path = path_of(edit)
    _make(draft, path, edit)
    entry = document.entry(path)
    if entry is None or len(draft.lines) != len(document.lines) or not _is_alone(document, path):
        return Edited(draft.lines)
    line = draft.lines[entry.line]
    _check(line, path, edit, meant)
    return Edited(draft.lines, document.with_line(entry.line, line))


def edited_at_once(document: Document, edits: Sequence[Edit], meant: RolloutFile) -> Edited | None:
    """Return the text with several edits made in it in one pass, the same as one after another.

    No two of them may be of one value; ``meant`` is the file after all. Return None where one of
    them needs more than its own line, or a new line at the end of its table.
    """
    draft, lines = Draft(document), len(document.lines)
    new: dict[Path, list[str]] = {}
    places = (*document.layout.entries, *document.layout.tables)
    tables = {path[:_ORG_DEPTH] for path in places if len(path) > _ORG_DEPTH}
    for edit in edits:
        path = path_of(edit)
        entry = document.entry(path)
        if entry is None and path not in tables and _is_new_org(document, path, edit):
            new.setdefault(path[:-1], []).append(_new_line(path, edit))
            continue
        if entry is None or not _is_alone(document, path):
            return None
        _make(draft, path, edit)
        if len(draft.lines) != lines:
            return None
        _check(draft.lines[entry.line], path, edit, meant)
    if not new:
        return Edited(draft.lines, Document(draft.lines, document.layout))
    last_line = document.layout.tables
    for table in sorted(new, key=lambda one: last_line[one].last_line, reverse=True):
        draft.append(table, new[table])
    return Edited(draft.lines)


def _is_new_org(document: Document, path: Path, edit: Edit) -> bool:
    """Whether an edit makes a line for an org, in a table with a header of its own."""
    adds = isinstance(edit, SetPercent) or (
        isinstance(edit, SetRolledBack) and edit.rolled_back and edit.org is not None
    )
    table = document.layout.tables.get(path[:-1])
    known = path in document.layout.entries or path in document.layout.tables
    return adds and not known and table is not None and table.header_line >= 0


def _new_line(path: Path, edit: Edit) -> str:
    """Return the line that an edit makes in a table that has none for its path."""
    header = "[" + ".".join(key_text(part) for part in path[:-1]) + "]\n"
    draft = Draft(Document.of(header.encode()))
    _make(draft, path, edit)
    return draft.lines[1]


def _check(line: str, path: Path, edit: Edit, meant: RolloutFile) -> None:
    """Parse the edited line by itself, and compare; raises EditNotPossible."""
    key, value = loaded(line)
    if key != path[-len(key) :] or _meaning(value, edit) != _meant_value(edit, meant):
        raise EditNotPossible("the edited line would not say what was meant; nothing was written")


def _is_alone(document: Document, path: Path) -> bool:
    """Whether the line of the value can hold no other, unlike ``orgs = { acme = 5 }``."""
    entries = document.layout.entries
    return not any(path[:size] in entries for size in range(1, len(path)))


def path_of(edit: Edit) -> Path:
    """Return the path in the file of the value that an edit sets."""
    if isinstance(edit, SetPercent):
        return ("routes", edit.route, "orgs", edit.org)
    if isinstance(edit, SetDefaultPercent):
        return ("routes", edit.route, "default_percent")
    if isinstance(edit, SetShare):
        return ("routes", edit.route, edit.table, edit.name)
    if isinstance(edit, SetText):
        return ("routes", edit.route, edit.field)
    if edit.route is None:
        return ("rolled_back",)
    if edit.org is None:
        return ("routes", edit.route, "rolled_back")
    return ("routes", edit.route, "orgs", edit.org)


def _make(draft: Draft, path: Path, edit: Edit) -> None:
    if isinstance(edit, SetText):
        draft.put(path, quoted(edit.text))
    elif isinstance(edit, SetDefaultPercent | SetShare):
        if edit.points is None:
            draft.remove(path)
        else:
            draft.put(path, percent_text(edit.points))
    elif isinstance(edit, SetPercent):
        place = (*path, "percent") if draft.has_table(path) else path
        draft.put(place, percent_text(edit.points))
    elif edit.org is None:
        _latch(draft, path, "true" if edit.rolled_back else "false", edit)
    elif edit.rolled_back:
        spelled = draft.spelled(path)
        if draft.has_table(path):
            _latch(draft, (*path, "rolled_back"), "true", edit)
        elif spelled is None:
            _latch(draft, path, "{ rolled_back = true }", edit)
        else:
            _latch(draft, path, _latched(spelled), edit)
    else:
        _resume(draft, path, edit)


def _resume(draft: Draft, path: Path, edit: SetRolledBack) -> None:
    """Delete an org's latch, so that the text is again the one from before the rollback."""
    latch = (*path, "rolled_back")
    found = draft.statement(latch)
    if found is None or latch not in found.entries:
        return
    end, line = found.end, draft.lines[found.last]
    by_hand = comment_of(line, end.column)
    draft.lines[end.line] = without_stamp(line, end.column, _about(edit, found.path))
    says = {key[len(path)] for key in found.entries if key[: len(path)] == path and key != path}
    percent, own_line = draft.spelled((*path, "percent")), found.path in (path, latch)
    if draft.spelled(path) == _latched(percent):
        draft.put(path, percent or "")
    elif says == {"rolled_back"} and draft.spelled(path) is not None and not (own_line and by_hand):
        draft.remove(path)
    elif by_hand and own_line and (found.path == latch or says == {"rolled_back"}):
        draft.put(latch, "false")
    else:
        draft.remove(latch)


def _latched(percent: str | None) -> str:
    """Return the inline table of a latched org whose value was its percent alone before."""
    return f"{{ percent = {percent}, rolled_back = true }}" if percent is not None else ""


def _latch(draft: Draft, path: Path, spelled: str, edit: SetRolledBack) -> None:
    """Write a latch, and after its statement the stamp: a comment with when, who and why."""
    end = draft.put(path, spelled)
    found = draft.statement(path)
    about = _about(edit, path if found is None else found.path)
    line = draft.lines[end.line]
    if edit.rolled_back:
        draft.lines[end.line] = with_stamp(line, end.column, edit.stamp, about)
    else:
        draft.lines[end.line] = without_stamp(line, end.column, about)


def _about(edit: SetRolledBack, statement: Path) -> str:
    """Return the org or route that a stamp must name, where its line has other values as well."""
    if len(statement) >= len(path_of(edit)):
        return ""
    return clean_stamp(str(edit.route if edit.org is None else edit.org))


def _meaning(value: Any, edit: Edit) -> Any:
    """Normalize an org's value to (percent, rolled back); any other value stays a scalar."""
    if isinstance(edit, SetText):
        return value
    if isinstance(edit, SetDefaultPercent | SetShare) or (
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
    if isinstance(edit, SetDefaultPercent | SetShare):
        return None if edit.points is None else Decimal(edit.points) / 100
    if edit.route is None:
        return meant.rolled_back
    route = meant.routes[edit.route]
    if edit.org is None:
        return route.rolled_back
    share = route.orgs.get(edit.org, OrgShare(None))
    return (None if share.points is None else Decimal(share.points) / 100, share.rolled_back)
