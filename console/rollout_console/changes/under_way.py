"""A change that is being made, in a daemon thread: whoever waits for it can say so meanwhile."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from rollout_console.changes.effect_words import named_targets
from rollout_console.changes.plan import Plan

Result = TypeVar("Result")
_MOST_NAMED = 3
ROLLING_BACK = "rolling back "
"""What the words of a rollback begin with."""
_DOING = {
    "rollback": ROLLING_BACK.strip(), "resume": "resuming", "undo": "making the",
    "restore": "restoring",
}  # fmt: skip
_MOVING = {"up": "raising", "down": "lowering"}


class UnderWay(Generic[Result]):
    """A change from its begin to its outcome; ``words`` say what it does (``rolling back chat``).

    Its thread is no thread of a pool, which the interpreter would wait for at its exit: whoever
    leaves decides how long to wait, and says what is known then.
    """

    def __init__(
        self, words: str, make: Callable[[], Result], over: Callable[[], object] = lambda: None
    ) -> None:
        """Begin it; ``over`` is called in its thread once its outcome is known."""
        self.words = words
        self.is_over = threading.Event()
        self._made: list[Result] = []
        self._error: BaseException | None = None
        self._over = over
        self._began = time.monotonic()
        threading.Thread(target=self._run, args=(make,), daemon=True, name="change").start()

    @property
    def age_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def outcome(self) -> Result:
        """Return or raise what it came to, once it is over."""
        if self._error is not None:
            raise self._error
        return self._made[0]

    def _run(self, make: Callable[[], Result]) -> None:
        try:
            self._made.append(make())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets the error
            self._error = error
        self.is_over.set()
        self._over()


def doing(plan: Plan, name: str) -> str:
    """Return what a plan does to the file of that name, as a change that is under way."""
    verb = _DOING.get(plan.action) or _MOVING.get(plan.direction, "changing")
    if plan.action in ("rollback", "resume"):
        return f"{verb} {named_targets(plan.targets, _MOST_NAMED)}"
    return f"{verb} {plan.effect.replace(f' in {name}', '', 1)}"


def awaited(*, is_shared: bool, name: str) -> str:
    """Return what a change waits for, in words."""
    return "etcd has not answered" if is_shared else f"{name} is not written yet"
