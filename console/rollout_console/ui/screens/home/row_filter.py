"""The filter of the home table: part of a name, or a word that the verdict column shows."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.guard.evidence.verdict import WORDS, Verdict
from rollout_console.guard.monitor import Health
from rollout_console.ui.screens.home.rows import Row

State = Literal["rolled back", "previous only", "ok", "hold", "rollback", ""]

SIGNALS: Mapping[str, str] = {
    **{word: signal for signal, word in WORDS.items()},
    "p95": "latency",
    "jobs": "jobs",
    "assets": "asset",
    "no data": "data",
    "bakes": "bake",
}
"""What a verdict can be about, by the word that is typed for it."""
STATES: Mapping[str, State] = {
    "ok": "ok", "hold": "hold", "roll back": "rollback", "rollback": "rollback",
    "rolled back": "rolled back", "rolled": "rolled back", "previous only": "previous only",
}  # fmt: skip
HELP = "name, ok, hold, sick, rolled back, previous only, new, no data, 5xx; ! inverts"
"""The words in one line of 80 columns; the other signals are as the verdicts show them."""


class Judged(NamedTuple):
    """What the verdict column shows of a row: its state, and the signal that it is about."""

    state: State
    signal: str = ""


UNSEEN = Judged("", "unseen")
"""In place of a verdict that was not looked up yet: the row is not shown, inverted or not."""


def judged(row: Row, health: Health) -> Judged:
    """Return what the verdict column shows of a row; nothing for a default, an alias or a flag."""
    if row.table or row.org == ALL_ORGS:
        return Judged("")
    if row.latched_by:
        return Judged("rolled back")
    if row.points == 0 and not row.is_route and not health.requests:
        return Judged("previous only")
    verdict: Verdict = health.verdict
    return Judged(verdict.kind, verdict.signal)


class RowFilter:
    """A predicate on rows for a typed filter; a leading ``!`` inverts it.

    It matches a substring of route or org, ignoring case, and the word of a verdict: a state, a
    signal, ``sick`` (what asks for a rollback of its own) and ``new`` (an org without a line). An
    empty filter keeps every row.
    """

    def __init__(
        self, text: str, is_sick: Callable[[Row], bool], look: Callable[[Row], Judged]
    ) -> None:
        wanted = text.strip()
        self._inverted = wanted.startswith("!")
        self._needle = wanted.lstrip("!").strip().casefold()
        self._is_sick = is_sick
        self._look = look

    @property
    def asks_verdicts(self) -> bool:
        """Whether it depends on verdicts, which change by themselves."""
        return self._needle == "sick" or self._needle in STATES or self._needle in SIGNALS

    def __call__(self, row: Row) -> bool:
        """Return whether the row is shown."""
        if not self._needle:
            return True
        if self._needle in row.route.casefold() or self._needle in row.filtered_as.casefold():
            return not self._inverted
        found = self._has_word(row)
        return found is not None and found != self._inverted

    def _has_word(self, row: Row) -> bool | None:
        """Return whether the verdict column shows the word; None where that is not known yet."""
        if self._needle == "new":
            return not row.listed
        state = STATES.get(self._needle)
        if state == "rolled back":
            return bool(row.latched_by)
        if self._needle == "sick":
            return self._is_sick(row)
        signal = SIGNALS.get(self._needle)
        if state is None and signal is None:
            return False
        seen = self._look(row)
        return None if seen is UNSEEN else state == seen.state or signal == seen.signal
