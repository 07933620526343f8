"""Poll TokenLab's open tasks politely, until each has ended; nothing here creates a task.

What is known is in the ledger, so polling goes on after a restart where it was.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Protocol

import msgspec

from rollout_console.jobs.job_book import JobBook
from rollout_console.tokenlab.errors import ApiError, Refused
from rollout_gate.http.create_records import Create
from rollout_gate.http.task_answers import TaskAnswer

POLL_S = 5.0
"""The least interval of one task in seconds: TokenLab asks for 5 to 10."""
_SLOWER = ((60.0, 5.0), (600.0, 10.0), (3_600.0, 30.0))
"""From the age of a task to its interval, both in seconds; an older one is polled each minute."""
_SLOWEST_S = 60.0
_BETWEEN_S = 0.2
"""The least time between two requests of one poller, in seconds."""
_BACKOFF_S = (5.0, 120.0)
GONE = "async_task_not_found"


class Client(Protocol):
    """What asks about a task: ``TasksClient``."""

    async def task(self, task_id: str, poll_url: str | None = None) -> TaskAnswer:
        """Return how a task stands; raises ApiError."""


class Polled(msgspec.Struct, frozen=True):
    """One answer about a task, or the sentence of why there is none."""

    create: Create
    answer: TaskAnswer | None
    problem: str = ""
    key_is_refused: bool = False
    """Whether the API key does not work (401), for this task as for any other."""

    @property
    def has_ended(self) -> bool:
        """Whether the task is over."""
        return self.answer is not None and self.answer.state not in (None, "open")


class TaskPoller:
    """Polls the open tasks of a book, each at its own interval; ``clock`` is the wall clock.

    The book is read and written in threads. A turn may be cancelled at any time. ``client`` may be
    replaced between two turns: the intervals and the back-off go on as they were.
    """

    def __init__(self, book: JobBook, client: Client, *, clock: Callable[[], float]) -> None:
        self._book = book
        self.client = client
        self._clock = clock
        self._due: dict[str, float] = {}
        self._paused_until = 0.0
        self._failures = 0

    @property
    def waits_s(self) -> float:
        """For how many seconds nothing is asked, after a rate limit or a failure; 0 if not."""
        return max(self._paused_until - monotonic(), 0.0)

    def next_in_s(self) -> float:
        """Return in how many seconds the next task is due."""
        soonest = min(self._due.values(), default=monotonic() + POLL_S)
        return max(soonest - monotonic(), self.waits_s, 0.0)

    async def turn(self, tell: Callable[[Polled], None] = lambda _: None) -> list[Polled]:
        """Ask about every task that is due, one after the other; return what was learned.

        After a rate limit, a refused key, a 5xx or no answer the turn ends, and the next ones wait,
        longer after each such turn.
        ``tell`` is called with each answer as it comes.
        """
        found: list[Polled] = []
        for create in self._those_due(await asyncio.to_thread(self._book.to_poll)):
            if self.waits_s > 0:
                break
            if found:
                await asyncio.sleep(_BETWEEN_S)
            polled = await self._ask(create)
            found.append(polled)
            if polled.answer is not None:
                await asyncio.to_thread(self._book.seen, create.task_id or "", polled.answer)
            if polled.has_ended:
                self._due.pop(create.create_id, None)
            else:
                age = max(self._clock() - create.sent_at, 0.0)
                self._due[create.create_id] = monotonic() + interval_s(age)
            tell(polled)
        return found

    def _those_due(self, open_now: Sequence[Create]) -> Iterator[Create]:
        known = {one.create_id for one in open_now}
        self._due = {key: at for key, at in self._due.items() if key in known}
        for one in open_now:
            if self._due.setdefault(one.create_id, 0.0) <= monotonic():
                yield one

    async def _ask(self, create: Create) -> Polled:
        try:
            answer = await self.client.task(create.task_id or "", create.poll_url)
        except Refused as error:
            if error.status in (401, 429) or error.status >= 500:
                self._wait(error.retry_after_s)
            else:
                self._failures = 0
            # Any address may say 404, such as a wrong base URL: the API's own code alone is proof.
            if error.status == 404 and error.code == GONE:
                return Polled(create, TaskAnswer(create.task_id, "failed", error=GONE), str(error))
            return Polled(create, None, _why(error), key_is_refused=error.status == 401)
        except ApiError as error:
            self._wait(None)
            return Polled(create, None, str(error))
        self._failures = 0
        return Polled(create, answer)

    def _wait(self, asked_s: float | None) -> None:
        least, most = _BACKOFF_S
        backoff = min(least * 2**self._failures, most)
        self._failures += 1
        self._paused_until = monotonic() + max(asked_s or 0.0, backoff)


def interval_s(age_s: float) -> float:
    """Return how often a task of an age is polled; both in seconds."""
    return next((interval for limit, interval in _SLOWER if age_s < limit), _SLOWEST_S)


def _why(error: Refused) -> str:
    if error.status == 403:
        return f"{error}: a task is told to the API key that created it alone"
    if error.status == 401:
        return f"{error}: give a key that works"
    return str(error)
