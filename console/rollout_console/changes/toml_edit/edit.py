"""Apply an edit to a TOML text: on the line of its value where there is one, else on a new line."""

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
    loaded,
    quoted,
    with_stamp,
    without_stamp,
)
from rollout_gate.file.model import OrgShare, RolloutFile
from rollout_gate.file.percent import percent_text
from rollout_gate.file.positions import Path


class Edited(msgspec.Struct, frozen=True):
    """A text with an edit made in it."""

    lines: list[str]
    document: Document | None = None
    """The document, where exactly one line has changed and was verified by parsing; else None."""


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
    key, value = loaded(line)
    if key != path[-len(key) :] or _meaning(value, edit) != _meant_value(edit, meant):
        raise EditNotPossible("the edited line would not say what was meant; nothing was written")
    return Edited(draft.lines, document.with_line(entry.line, line))


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
        return Decimal(edit.points) / 100
    if edit.route is None:
        return meant.rolled_back
    route = meant.routes[edit.route]
    if edit.org is None:
        return route.rolled_back
    share = route.orgs.get(edit.org, OrgShare(None))
    return (None if share.points is None else Decimal(share.points) / 100, share.rolled_back)
