"""Dispatch key events one at a time, each after all that the one before has brought about.

Textual forwards a key event to the widget that has the focus when it arrives, and runs what it is
bound to several hops between message queues later. Keys that a slow link delivers together are so
forwarded before the first of them has moved the focus: the letters of a filter act as keys of the
screen, and what follows its enter is typed into it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any
from weakref import ReferenceType, ref

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.widgets import Input
from textual.worker import Worker

from rollout_console.ui.loop_time import LoopTime

_ROUNDS = 2
"""How often the path of a key is waited for: it is handled in the first round, and what it has
posted, such as Input.Submitted, in the second."""
_OPENS_WITHIN_S = 2.0
"""Seconds in which a key waits for the dialog that the one before it opens."""
_GOES_ON_WITHIN_S = 0.5
"""Seconds in which a key waits for the dialog after the one that was answered, or for the rows of
a screen: what was confirmed may take longer, and a rollback must not wait for it."""
_LOOK_EVERY_S = 0.01
_SETTLES_AFTER_S = 0.1
"""Seconds after the last key in which a screen that it has opened is painted undisturbed."""
FLOW_GROUPS = frozenset({"change", "ask"})
"""The groups of the workers that run an action of home from its key to its end.

The other screens buffer what is typed during an action, and drop it where that opens no form.
"""
_AT_MOST_S = 1.0
"""Seconds after which the next keys are dispatched although a widget is still busy."""

UserEvent = events.Key | events.Paste | events.MouseEvent
IN_ORDER = (
    events.Key, events.Paste, events.MouseDown, events.MouseUp,
    events.MouseScrollDown, events.MouseScrollUp,
)  # fmt: skip
"""The events that a KeyOrder takes; a mouse that only moves changes nothing."""


class KeyOrder:
    """The keys of an app that are not dispatched yet, and whether one is being handled."""

    def __init__(self, app: App[Any], dispatch: Callable[[events.Event], Awaitable[None]]) -> None:
        """``dispatch`` forwards an event, in the app's task."""
        self._app = app
        self._dispatch = dispatch
        self._waiting: deque[tuple[UserEvent, float]] = deque()
        self._arrived_at = 0.0
        self._given_up_at: float | None = None
        """When the first of the keys was typed that were dispatched all at once."""
        self._ahead: list[UserEvent] = []
        self._turn = 0
        self._patience: LoopTime | None = None
        self._screen: ReferenceType[DOMNode] | None = None
        self._typed_on: ReferenceType[DOMNode] | None = None
        self._flows_before: set[Worker[Any]] = set()
        self._since: LoopTime | None = None
        """Since the last key was dispatched."""

    async def take(self, event: UserEvent) -> None:
        """Dispatch a key or a pasted text, now or once those before it have been handled.

        Of the mouse, too: what is clicked is chosen by what those before it have brought about.
        """
        if self.is_idle and isinstance(event, events.MouseEvent):
            self._given_up_at = None
            await self._dispatch(event)
            return
        # Its time is that of the thread which reads the terminal: the event loop may be blocked.
        self._waiting.append((event, min(event.time, monotonic())))
        await self._go_on()

    @property
    def waited_s(self) -> float:
        """How long before now the key that is being handled was typed, in seconds; 0 without.

        Of keys that were dispatched all at once it is not known which is handled: the first counts.
        """
        if self._given_up_at is not None:
            return monotonic() - self._given_up_at
        return 0.0 if self.is_idle else monotonic() - self._arrived_at

    @property
    def is_idle(self) -> bool:
        """Whether all keys have been handled."""
        return self._patience is None and not self._waiting

    @property
    def is_early(self) -> bool:
        """Whether a screen was opened since the last key was dispatched, and not waited for yet."""
        stack = self._app.screen_stack
        return bool(stack) and self._screen is not None and self._screen() is not stack[-1]

    def again(self, event: UserEvent) -> None:
        """Dispatch a key once more, before those that wait: it was too early."""
        self._waiting.appendleft((event, self._arrived_at))
        if self._patience is None:
            self._app.call_later(self._go_on)

    def type_ahead(self, typed: Sequence[UserEvent]) -> None:
        """Have an input typed into, before the keys that wait, if the next screen focuses one."""
        self._ahead += typed
        if self._patience is None:
            self._app.call_later(self._go_on)

    async def _go_on(self) -> None:
        if self._patience is None and (self._waiting or self._ahead):
            await self._begin_turn()

    def _settle_later(self) -> None:
        if self.is_idle and (self.is_early or self._is_opening()):
            self._app.set_timer(_SETTLES_AFTER_S, self._settle)

    async def _settle(self) -> None:
        """Wait for a screen that was opened, while no key waits: the next one is handled sooner."""
        if self.is_idle and self.is_early:
            await self._begin_turn()
        self._settle_later()

    async def _begin_turn(self) -> None:
        turn = self._turn = self._turn + 1
        self._patience = LoopTime(_AT_MOST_S, lambda: self._app.call_later(self._give_up, turn))
        if self._is_opening():
            self._app.set_timer(_LOOK_EVERY_S, partial(self._next, turn))
            return
        path = self._path()
        before = None if self._screen is None else self._screen()
        if path and before is not path[-1]:
            # A screen that has just been opened: it is mounted, and has a focus, after that.
            self._screen = ref(path[-1])
            left = [] if before is None else [before]
            self._follow(turn, path, 0, [*left, *path, self._app])
            return
        if isinstance(self._app.focused, Input):
            self._waiting.extendleft((key, self._arrived_at) for key in reversed(self._ahead))
        self._ahead.clear()
        if self._since is not None:
            self._since.stop()
        self._flows_before, self._since = self._flows(), LoopTime(_OPENS_WITHIN_S)
        self._typed_on = self._screen
        if self._waiting:
            event, self._arrived_at = self._waiting.popleft()
            self._given_up_at = None
            await self._dispatch(event)
        self._follow(turn, path, _ROUNDS - 1, [*path, self._app])

    def _path(self) -> list[DOMNode]:
        """Return the nodes that a key event bubbles through: from the focus up to its screen."""
        stack = self._app.screen_stack
        target = self._app.focused or (stack[-1] if stack else None)
        return [] if target is None else [*target.ancestors_with_self][:-1]

    def _follow(
        self, turn: int, path: Sequence[DOMNode], rounds: int, nodes: Sequence[DOMNode]
    ) -> None:
        """Go through the message queues of ``nodes``, behind all that is there, then on."""
        for at, node in enumerate(nodes):
            if node.call_later(self._follow, turn, path, rounds, nodes[at + 1 :]):
                return
        if rounds:
            self._follow(turn, path, rounds - 1, [*path, self._app])
        else:
            self._app.call_later(self._next, turn)

    async def _next(self, turn: int) -> None:
        if turn == self._turn:
            self._end_turn()
            await self._go_on()
            self._settle_later()

    def _flows(self) -> set[Worker[Any]]:
        """Return the workers of actions, which open dialogs one after the other."""
        workers = self._app.workers
        return {one for one in workers if one.group in FLOW_GROUPS and not one.is_finished}

    def _is_opening(self) -> bool:
        """Return whether the key has begun an action, or answered it, that may open a dialog.

        A screen may also have ``holds(event)``, which returns whether it is not ready for a key.
        """
        stack, since = self._app.screen_stack, self._since
        if not stack or since is None or since.is_over:
            return False
        before = self._typed_on and self._typed_on()
        if stack[-1] is before and self._flows() - self._flows_before:
            return True
        if since.elapsed_s > _GOES_ON_WITHIN_S:
            return False
        holds = getattr(stack[-1], "holds", None)
        if holds is not None and self._waiting and holds(self._waiting[0][0]):
            return True
        return before not in stack and not stack[-1].is_modal and bool(self._flows())

    async def _give_up(self, turn: int) -> None:
        """Dispatch all that waits: a widget that is busy must not keep anybody from quitting."""
        if turn != self._turn:
            return
        self._end_turn()
        self._given_up_at = self._arrived_at
        while self._waiting:
            event, self._arrived_at = self._waiting.popleft()
            await self._dispatch(event)

    def _end_turn(self) -> None:
        self._turn += 1
        if self._patience is not None:
            self._patience.stop()
            self._patience = None
