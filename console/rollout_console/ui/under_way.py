"""The line at the top of every screen: the change that is under way, and then its outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

from textual.app import App
from textual.screen import Screen
from textual.timer import Timer

from rollout_console.changes.errors import Uncertain, rollback_words
from rollout_console.changes.under_way import ROLLING_BACK, UnderWay
from rollout_console.common.safe_text import visible
from rollout_console.ui.widgets.line import TextLine
from rollout_gate.secret import redacted

Result = TypeVar("Result")
SHOWN_AFTER_S = 0.25
"""A change that takes less long, as in a local file, has no line: it would flicker."""
_EVERY_S = 0.25
_TOLD_FOR_S = 15.0


class UnderWayLine(TextLine):
    """One line above all others, mounted for as long as there is something to say."""

    DEFAULT_CSS = """
    UnderWayLine { dock: top; height: 1; width: 100%; background: $warning; color: $background;
        text-style: bold; }
    UnderWayLine.-done { background: $success; }
    UnderWayLine.-not-done { background: $error; }
    """


def _no_revision() -> str:
    return ""


class Progress:
    """The change of a session that is under way, from its confirming key to its outcome.

    It is said on each screen and behind each dialog, with the seconds that it takes, where it takes
    longer than SHOWN_AFTER_S. An outcome that was waited for like that, that is not known, or that
    comes when its screen was left, is said there as well: one that was made for a while, any other
    until ``esc``.
    """

    def __init__(self, waits: str) -> None:
        self._waits = waits
        self.words = ""
        """What the change that is under way does; empty where none is."""
        self.change: UnderWay[Any] | None = None
        """The change itself; None until it is begun, as it may have to wait for its turn."""
        self.next = ""
        """The rollback that is to be made after it: confirmed, and not begun."""
        self._one = asyncio.Lock()
        self._is_over = asyncio.Event()
        self._is_over.set()
        self._earlier = ""
        """What became of the change that the rollback has waited for, where it was not made."""
        self._began = 0.0
        self._begun_on: Screen[Any] | None = None
        self._is_shown = False
        self._shown_at = 0.0
        self._is_left = False
        self._told = ""
        self._told_at = 0.0
        self._is_good = False
        self._made_as = _no_revision
        self._unknown = ""
        self._timer: Timer | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a change was confirmed whose outcome is not known yet."""
        return bool(self.words)

    async def make(
        self,
        app: App[None],
        words: str,
        steps: Callable[[], Awaitable[Result]],
        outcome: Callable[[Result], str],
        revision: Callable[[], str] = _no_revision,
        *,
        follows: bool = False,
    ) -> Result:
        """Await ``steps``, which make a change, and say so meanwhile; then say the outcome.

        ``revision`` returns the file's once it is made. One that ``follows`` has waited for
        another. Where the app ends first, the change stays the one that is under way.
        """
        async with self._one:  # a failed rollback may be tried again while the next one begins
            return await self._make(app, words, steps, outcome, revision, follows=follows)

    async def wait_for_outcome(self, following: str) -> bool:
        """Wait until no change is under way, and say what follows; False where the app has ended,
        which leaves that the next."""
        self.next = redacted(following)
        await self._is_over.wait()
        if not self._is_left:
            self.next = ""
        return not self._is_left

    async def _make(
        self,
        app: App[None],
        words: str,
        steps: Callable[[], Awaitable[Result]],
        outcome: Callable[[Result], str],
        revision: Callable[[], str],
        *,
        follows: bool,
    ) -> Result:
        if not follows:
            self._earlier = ""
        self._begin(app, words, revision, follows=follows)
        try:
            result = await steps()
        except Exception as error:
            is_unknown = isinstance(error, Uncertain)
            told = _not_done(words, error, self._seconds)
            self._end(app, told, is_good=False, is_unknown=is_unknown)
            self._unknown = words
            if not is_unknown:
                self._made_as = _no_revision
            raise
        self._made_as = _no_revision
        self._end(app, f"done after {self._seconds}: {outcome(result)}", is_good=True)
        return result

    async def outcome(self, make: Callable[[], Result]) -> Result:
        """Begin the change that ``make`` makes, and return its outcome."""
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()

        def over() -> None:
            with suppress(RuntimeError):  # the loop is closed: the console was quit meanwhile
                loop.call_soon_threadsafe(is_over.set)

        self.change = change = UnderWay(self.words, make, over)
        await is_over.wait()
        return change.outcome()

    def file_is(self, revision: str) -> None:
        """Take note of the file's revision: of a change that was not known it may be the proof."""
        if self._told and self._made_as() == revision:
            self._made_as, self._told_at, self._is_good = _no_revision, monotonic(), True
            self._told = f"done after all: {self._unknown}"

    def leave(self) -> None:
        """Leave the outcome to whoever has ended the app: no screen is there to say it."""
        self._is_left = True

    def dismiss(self) -> bool:
        """Dismiss an outcome that is shown; return whether one was."""
        was, self._told = bool(self._told), ""
        return was

    @property
    def _seconds(self) -> str:
        return f"{monotonic() - self._began:.0f} s"

    def _begin(
        self, app: App[None], words: str, revision: Callable[[], str], *, follows: bool
    ) -> None:
        self.words, self.change = redacted(words), None
        self._began, self._begun_on = monotonic(), app.screen
        # One that follows was said as the next: it and its outcome are said however quick it is.
        self._is_shown = follows
        self._shown_at = self._began + (0.0 if follows else SHOWN_AFTER_S)
        self._told, self._made_as = "", revision
        self._is_over.clear()
        if self._timer is None:
            self._timer = app.set_interval(_EVERY_S, lambda: self._draw(app))
        else:  # of the outcome before, which this change replaces
            self._timer.reset()
            self._draw(app)

    def _end(self, app: App[None], told: str, *, is_good: bool, is_unknown: bool = False) -> None:
        if self._is_left:
            return
        self.words, self.change = "", None
        self._is_over.set()
        # By the time as well: on a busy host none of the line's turns may have come.
        is_shown = self._is_shown or is_unknown or monotonic() >= self._shown_at
        is_shown = is_shown or app.screen is not self._begun_on
        if self._earlier:
            told, is_good = f"{told}; before that {self._earlier}", False
        self._earlier = told if self.next and not is_good else ""
        if is_shown:
            self._told, self._told_at, self._is_good = redacted(told), monotonic(), is_good
            if not is_good:
                app.bell()
        self._draw(app)

    def _draw(self, app: App[None]) -> None:
        """Say it on all screens, each of which gets its line when there is something to say."""
        if self._is_good and monotonic() - self._told_at > _TOLD_FOR_S:
            self._told = ""
        self._is_shown = self.is_under_way and monotonic() >= self._shown_at
        said = self._said
        for screen in app.screen_stack:
            line = next(iter(screen.query(UnderWayLine)), None)
            if not said:
                if line is not None:
                    line.remove()
                continue
            if line is None:
                if not screen.is_running:
                    continue
                line = UnderWayLine()
                screen.mount(line)
            line.set_class(bool(self._told) and self._is_good, "-done")
            line.set_class(bool(self._told) and not self._is_good, "-not-done")
            line.say((said, ""))
        if not said and not self.is_under_way and self._timer is not None:
            self._timer.stop()
            self._timer = None

    @property
    def _said(self) -> str:
        if self.is_under_way:
            if not self._is_shown:
                return ""
            following = f"next: {visible(self.next)}; " if self.next else ""
            return f" … UNDER WAY {self._seconds}, {following}{self._waits}: {visible(self.words)}"
        if not self._told:
            return ""
        return f" {'●' if self._is_good else '!'} {visible(self._told)}"


def _not_done(words: str, error: Exception, seconds: str) -> str:
    """Return what became of a change that ended in an error; the first words come first."""
    if words.startswith(ROLLING_BACK):
        said = f"{rollback_words(error)}: {words.removeprefix(ROLLING_BACK)}"
    else:
        said = (
            f"{'NOT KNOWN WHETHER DONE' if isinstance(error, Uncertain) else 'NOT DONE'}: {words}"
        )
    if isinstance(error, Uncertain):
        return f"{said}; 6 lists it if it was"
    return f"{said}, after {seconds}: {error}"
