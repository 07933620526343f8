"""A panel of the file's last changes, next to the table in a wide terminal."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from rollout_console.changes.change_details import what_of
from rollout_console.changes.effect_words import spoken_value
from rollout_console.common.durations import spoken_change
from rollout_console.common.safe_text import visible
from rollout_console.history.rows import NOTES, Change
from rollout_gate.secret import redacted


class ChangesPanel(Static):
    """Lists changes, the newest first: when, who, what."""

    DEFAULT_CSS = """
    ChangesPanel { width: 36; height: 1fr; border-left: solid $panel; padding: 0 0 0 1; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="changes")
        self._said = ""

    def show(self, changes: Sequence[Change], trouble: str) -> None:
        """Show these changes, or why they cannot be read."""
        pieces: list[tuple[str, str]] = [("last changes\n", "bold")]
        if trouble:
            pieces.append((visible(trouble), "$warning"))
        elif not changes:
            pieces.append(("none yet", "$foreground 60%"))
        for change in changes:
            action, target = spoken_change(change.action, change.route, change.org)
            who = visible(change.user_name)
            pieces.append((f"{change.at:%H:%M:%S} {who}\n", "$foreground 60%"))
            if change.action in NOTES:
                pieces.append((f"  {redacted(visible(what_of(change)))}\n", ""))
                continue
            if change.action == "external":
                pieces.append(("  edit\n", "bold"))
                pieces.append((f"  {visible(change.after)}\n", ""))
                continue
            pieces.append((f"  {action} {visible(target)}\n", "bold"))
            before, after = (spoken_value(change, one) for one in (change.before, change.after))
            pieces.append((f"  {visible(before)} → {visible(after)}\n", ""))
            if change.reason:
                pieces.append((f"  {visible(change.reason)}\n", "$foreground 60%"))
        said = repr(pieces)
        if said != self._said:
            self._said = said
            self.update(Content.assemble(*pieces), layout=False)
