"""Report changes of the rollout file, by whomever: who, what and why, one line for each write."""

from collections.abc import Iterator, Sequence

from rollout_console.changes.change_details import what_of
from rollout_console.changes.switch import Switch
from rollout_console.guard.following import Found
from rollout_console.guard.state_change import StateChange
from rollout_console.history.rows import NOTES, Change

ROW_WITHIN_S = 3.0
"""Seconds that a new version of the file waits for its row in the history, which says who and why:
another console or guard that sees an edit by hand records it a moment later."""
_LATE_ROW_S = 60.0


class FileChanges:
    """Matches new versions of the file with rows of the history, which may come in either order.

    Times are epoch seconds.
    """

    def __init__(self, switch: Switch, known: Sequence[Change]) -> None:
        self._switch = switch
        self._rows = {row.id for row in known}
        self._waiting: dict[str, tuple[str, float]] = {}
        self._rows_first: dict[str, float] = {}
        self._words_first: dict[str, float] = {}
        self._trouble = ""

    def look(self, found: Found | None, rows: Sequence[Change], now: float) -> list[StateChange]:
        """Return what a look at file and history has found, oldest first.

        ``rows`` are the newest of the history, newest first, those that were told among them.
        """
        self._drop_old(now)
        changes = [*self._usable()]
        groups: dict[int, list[Change]] = {}
        for row in reversed([one for one in rows if one.id not in self._rows]):
            groups.setdefault(row.group_id or row.id, []).append(row)
        if rows:
            self._rows = {row.id for row in rows}
        if found is not None and found[1] and not self._rows_first.pop(found[0].revision, 0):
            self._waiting[found[0].revision] = self._switch.edit.words, now
        for group in groups.values():
            first = group[0]
            if first.action == "external" and self._words_first.pop(first.revision, 0):
                continue
            changes.append(_of_rows(group))
            if first.action not in NOTES and not self._waiting.pop(first.revision, None):
                self._rows_first[first.revision] = now
        return [*changes, *self._given_up(now)]

    def unusable(self, sentence: str) -> list[StateChange]:
        """Return what there is to tell of a file that cannot be used; nothing if that was told."""
        if sentence == self._trouble:
            return []
        self._trouble = sentence
        text = f"{sentence}; gates keep the last good version"
        return [StateChange("file", text, level="alarm")]

    def _drop_old(self, now: float) -> None:
        for kept, most_s in (
            (self._rows_first, ROW_WITHIN_S),
            (self._words_first, _LATE_ROW_S),
        ):
            for revision in [one for one, at in kept.items() if abs(now - at) >= most_s]:
                del kept[revision]

    def _usable(self) -> Iterator[StateChange]:
        if self._trouble and not self._switch.store.unsettled:
            self._trouble = ""
            yield StateChange("file", f"{self._switch.name} can be used again", level="over")

    def _given_up(self, now: float) -> Iterator[StateChange]:
        """Yield the versions of which the history says nothing, in the file's own words."""
        is_there = self._switch.history.is_there
        for revision, (words, since) in list(self._waiting.items()):
            if not is_there or abs(now - since) >= ROW_WITHIN_S:
                del self._waiting[revision]
                self._words_first[revision] = now
                yield StateChange("file", words, revision=revision)


def _of_rows(group: Sequence[Change]) -> StateChange:
    first = group[0]
    if first.action == "acknowledge":
        text = f"{first.author}: {first.after}"
        return StateChange("acknowledged", text, first.route, first.org)
    more = f" and {len(group) - 1:,} more" if len(group) > 1 else ""
    why = f" ({first.reason})" if first.reason else ""
    what = first.after if first.action == "external" else what_of(first, to="to")
    text = f"{first.author}: {what}{more}{why}"
    route, org = (None, None) if more else (first.route, first.org)
    return StateChange("file", text, route, org, revision=first.revision)
