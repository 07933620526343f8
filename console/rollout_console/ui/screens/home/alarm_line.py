"""The alarm line under the status: what is wrong anywhere, until it is over or acknowledged."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len

from rollout_console.common.safe_text import visible
from rollout_console.guard.alerts import Alert, as_of
from rollout_console.ui.text import first_clauses, fit
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted

Pieces = list[tuple[str, str]]

_FILE = ("file",)
"""The key of the alert that has a notice of its own on home, which nothing hides or displaces."""
_FAILED = ("failed",)
_FIRST_LOOK_S = 3.0


class AlarmLine:
    """Chooses the alert that the line shows: the gravest, or the one that was jumped to.

    Times are epoch seconds.
    """

    def __init__(self, now: float) -> None:
        self._watched_since = now
        self._chosen: tuple[str, ...] | None = None
        self._open: list[Alert] = []
        self._of_file: list[Alert] = []

    def look(
        self, alerts: Sequence[Alert], file: RolloutFile, now: float, is_reading: bool
    ) -> None:
        """Take the open alerts, gravest first.

        Those that are acknowledged are left out, and verdicts on what ``file`` rolls back: they
        ask for nothing, the proof of the rollback has a notice. While the log ``is_reading``, what
        begins is of the past.
        """
        if is_reading:
            self._watched_since = now
        told = [as_of(one, now) for one in alerts]
        self._open = [
            one
            for one in sorted(told, key=lambda one: one.level)  # an alarm before a warning
            if not one.acknowledged_by
            and one.key != _FILE
            and not (one.signal and file.is_latched(one.route, one.org))
        ]
        self._of_file = [one for one in alerts if one.key == _FILE]
        if self._chosen not in [one.key for one in self._open]:
            self._chosen = None

    @property
    def current(self) -> Alert | None:
        """The alert that is shown."""
        chosen = [one for one in self._open if one.key == self._chosen]
        return next(iter([*chosen, *self._open]), None)

    def jump(self, by: int) -> Alert | None:
        """Choose the next alert, or the previous where ``by`` is negative, and return it.

        The first jump is to the one that is shown already.
        """
        if not self._open:
            return None
        keys = [one.key for one in self._open]
        at = keys.index(self._chosen) + by if self._chosen in keys else min(by, 0)
        found = self._open[at % len(self._open)]
        self._chosen = found.key
        return found

    def pieces(self, width: int) -> Pieces:
        """Return home's pieces of text and style; none where nothing is wrong."""
        alert = self.current
        if alert is None:
            return []
        at = f"{self._open.index(alert) + 1} of {len(self._open)}"
        does = at if len(self._open) > 1 else "jump"
        return self._line(alert, self._since(alert), "n", does, width)

    def pieces_elsewhere(self, width: int, failed: str = "") -> tuple[Pieces, bool]:
        """Return the line of another screen, whose key goes home, and whether it is of an alarm.

        It has as well what only home has notices of: a rollback that has ``failed``, which is
        first, and the rollout file.
        """
        found = [*self._of_file, *filter(None, [self.current])]
        count = len(self._of_file) + len(self._open)
        if failed:
            found.insert(0, Alert(_FAILED, "alarm", failed))
        if not found:
            return [], False
        first = found[0]
        since = "" if failed else self._since(first)
        since += f" · {count} alerts" if count > 1 else ""
        return self._line(first, since, "1", "home", width), first.level == "alarm"

    def _line(self, alert: Alert, since: str, key: str, does: str, width: int) -> Pieces:
        bad = alert.level == "alarm"
        style = "$error bold" if bad else "$warning"
        sentence = visible(redacted(alert.fact or alert.sentence))
        # What is wrong comes first: a narrow line has no room for the rest.
        if alert.key in (_FILE, _FAILED):  # what it is comes after where it is
            tail = [(f"  {key}", "$accent bold"), (f" {does} ", "$foreground 70%")]
            room = width - 3 - sum(cell_len(text) for text, _ in tail)
            return [(" ▲ ", style), (fit(sentence, room).rstrip(), style), *tail]
        tails: list[Pieces] = [
            [(since, ""), (f"  {key}", "$accent bold"), (f" {does} ", "$foreground 70%")],
            [(f"  {key}", "$accent bold"), (f" {does} ", "$foreground 70%")],
            [],
        ]
        for tail in tails:
            room = width - 3 - sum(cell_len(text) for text, _ in tail)
            said = first_clauses(sentence, room)
            if said and not said.endswith("…"):
                break
        return [(" ▲ " if bad else " △ ", style), (said, style), *tail]

    def _since(self, alert: Alert) -> str:
        clock = datetime.fromtimestamp(alert.since, UTC).strftime("%H:%M")
        # What was wrong at the first look began before it, at a time that is not known.
        before = alert.since - self._watched_since < _FIRST_LOOK_S
        return f" · since {'before ' if before else ''}{clock} UTC"
