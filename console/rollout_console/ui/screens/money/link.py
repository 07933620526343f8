"""The worker processes of the money screen: one is asked for rows, another is to replace it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from time import monotonic
from typing import Protocol

from textual.screen import Screen
from textual.worker import Worker

from rollout_console.cost.worker_client import CostWorker
from rollout_console.cost.worker_protocol import (
    Answer,
    Failed,
    Loaded,
    Order,
    Preview,
    Pulling,
    Request,
    Waiting,
)
from rollout_console.ui.screens.base import FAULTS
from rollout_console.ui.screens.money.state import Period


class Listener(Protocol):
    """Who the workers answer; it is called in the event loop."""

    def loaded(self, loaded: Loaded, period: Period, *, pulled: bool) -> None:
        """Another period or another pull can be shown now."""

    def answered(self, answer: Answer) -> None:
        """The worker that is shown has answered."""

    def failed(self, sentence: str, *, pulls: bool) -> None:
        """A worker has come to nothing, and what is shown stays."""

    def previewed(self, preview: Preview) -> None:
        """What is being loaded is known in part."""

    def progressed(self) -> None:
        """A pull has gone on."""


class _Load:
    """One worker, what it loads, and the task that reads its answers."""

    def __init__(self, period: Period, *, pulls: bool) -> None:
        self.period = period
        self.pulls = pulls
        self.began = monotonic()
        self.told: Pulling | Waiting | None = None
        self.worker: CostWorker | None = None
        self.task: Worker[None] | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Link:
    """Starts workers, keeps what is shown until the next is ready, and ends them with the screen.

    A worker that loads, with a pull or without, replaces the one that is asked only once it has
    loaded: until then, and where it fails or is stopped, the one before goes on answering.
    """

    def __init__(self, screen: Screen[None], listener: Listener) -> None:
        self._screen = screen
        self._listener = listener
        self._shown: _Load | None = None
        self._coming: _Load | None = None

    @property
    def is_ready(self) -> bool:
        """Whether rows can be asked for."""
        return self._shown is not None

    @property
    def is_coming(self) -> bool:
        """Whether a worker is loading."""
        return self._coming is not None

    @property
    def pulls(self) -> bool:
        """Whether it pulls."""
        return self._coming is not None and self._coming.pulls

    @property
    def told(self) -> Pulling | Waiting | None:
        """What a pull has told of itself last."""
        return None if self._coming is None else self._coming.told

    @property
    def since_s(self) -> float:
        """For how many seconds a worker has been loading."""
        return 0.0 if self._coming is None else monotonic() - self._coming.began

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers."""
        loads = (self._shown, self._coming)
        ids = (one.worker.process for one in loads if one is not None and one.worker is not None)
        return [one for one in ids if one is not None]

    def load(self, make: Callable[[], Order], period: Period, *, pulls: bool) -> None:
        """Load with a new worker, in place of one that still loads.

        ``make`` is called in another thread, and may raise what a screen reports.
        """
        self.stop()
        load = self._coming = _Load(period, pulls=pulls)
        load.task = self._screen.run_worker(
            self._run(load, make), group="money-work", exit_on_error=False
        )

    def stop(self) -> None:
        """End the worker that loads, if there is one; what it has pulled is kept."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()

    def ask(self, request: Request) -> bool:
        """Ask the worker that is shown; return whether there is one."""
        shown = self._shown
        if shown is not None and shown.worker is not None:
            shown.worker.ask(request)
        return shown is not None

    async def _run(self, load: _Load, make: Callable[[], Order]) -> None:
        try:
            worker = load.worker = CostWorker(await asyncio.to_thread(make))
            async with aclosing(worker.answers()) as answers:
                async for answer in answers:
                    self._take(load, answer)
        except FAULTS as error:
            load.pulls = False  # it has not begun to pull
            self._take(load, Failed(0, str(error)))
        finally:
            self._forget(load)

    def _forget(self, load: _Load) -> None:
        if self._shown is load:
            self._shown = None
        if self._coming is load:
            self._coming = None

    def _take(self, load: _Load, answer: Answer) -> None:
        if load not in (self._shown, self._coming):
            return  # it was stopped, or replaced
        match answer:
            case Pulling() | Waiting():
                load.told = answer
                self._listener.progressed()
            case Preview():
                self._listener.previewed(answer)
            case Loaded():
                before, self._shown, self._coming = self._shown, load, None
                if before is not None:
                    before.cancel()
                self._listener.loaded(answer, load.period, pulled=load.pulls)
            case Failed(serial=0):
                pulls = load.pulls and self._coming is load
                self._forget(load)
                self._listener.failed(answer.sentence, pulls=pulls)
            case _ if self._shown is load:
                self._listener.answered(answer)
