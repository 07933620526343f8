"""A change of state as one line of words, and the hysteresis that keeps flapping from being told.

``guard/state_feed.py`` makes them, for logs and screen readers.
"""

from typing import Literal, NamedTuple

import msgspec

from rollout_console.guard.alerts import OVER_AFTER_S
from rollout_console.guard.evidence.verdict import Verdict

Kind = Literal["start", "guard", "route", "verdict", "alarm", "over", "file", "log", "balance",
               "drained", "acknowledged"]  # fmt: skip


class StateChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is so from now on, in words; text of others in it is as it was written.

    ``route``, ``org``, ``signal`` and ``revision`` are set where it is about one; ``verdict`` is
    the kind of a verdict, ``level`` that of an alarm.
    """

    kind: Kind
    text: str
    route: str | None = None
    org: str | None = None
    signal: str = ""
    verdict: str = ""
    level: str = ""
    revision: str = ""


class Grade(NamedTuple):
    """How grave a state is, from 0, and of which signal; the words of a verdict are no state."""

    rank: int = 0
    signal: str = ""


Place = tuple[str, str | None]
"""A route, and an org on it or None."""

CALM = Grade()
WAITS = Grade(1)
ROLLBACK = 3


def grade_of(verdict: Verdict) -> Grade:
    """Return a verdict's grade: ok, waiting for evidence, a limit exceeded, to be rolled back.

    Which evidence is waited for is no state: it moves with each request.
    """
    if verdict.kind == "ok":
        return CALM
    if verdict.kind == "rollback":
        return Grade(ROLLBACK, verdict.signal)
    return WAITS if verdict.waits else Grade(2, verdict.signal)


class Hysteresis:
    """Remembers what was told of each place. What is graver is told at once.

    What is less grave, or as grave by another signal, is told once the place has been out of the
    state that was told for ``after_s`` seconds, so a flapping state is told once.
    """

    def __init__(self, after_s: float = OVER_AFTER_S) -> None:
        self._after_s = after_s
        self._told: dict[Place, Grade] = {}
        self._left: dict[Place, float] = {}

    def told(self, place: Place) -> Grade:
        """Return the state that was told of a place last."""
        return self._told.get(place, CALM)

    def note(self, place: Place, grade: Grade) -> None:
        """Take a state as told."""
        self._left.pop(place, None)
        if grade == CALM:
            self._told.pop(place, None)
        else:
            self._told[place] = grade

    def is_due(self, place: Place, grade: Grade, now: float) -> bool:
        """Return whether a state is to be told at a time (epoch seconds); it then counts as told.

        It is to be asked again and again, as often as states are looked at.
        """
        known = self.told(place)
        if grade == known:
            self._left.pop(place, None)
            return False
        left = self._left.setdefault(place, now)
        if grade.rank <= known.rank and abs(now - left) < self._after_s:
            return False
        self.note(place, grade)
        return True
