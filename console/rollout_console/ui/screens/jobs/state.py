"""State of the jobs screen, which outlives it: the ledger, the poller, order and filter."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import time

from rollout_console.common.errors import OperationError
from rollout_console.common.folders import folder_of
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.health.log.record import JobRecord
from rollout_console.health.log.time_range import LogReader
from rollout_console.jobs.job_book import (
    ORDERS,
    JobBook,
    Look,
    Order,
    Wanted,
    job_book,
)
from rollout_console.jobs.log_feed import take_in_file
from rollout_console.jobs.poller import Client, TaskPoller
from rollout_gate.file.model import RolloutFile
from rollout_gate.paths import LEDGER_NAME

SINCE_S = 86_400.0
"""How long jobs that have ended are listed, in seconds; those that are not over always are."""


class JobsView:
    """Holds the ledger of the rollout file as it is now, and one poller of its tasks.

    The poller stays when the screen is closed: its intervals and its back-off go on when the
    screen is opened again. ``polls`` is the operator's choice for this run.
    """

    def __init__(
        self, path: Path, file: Callable[[], RolloutFile], room: Callable[[], ApiKeys]
    ) -> None:
        self._path = path
        self._file = file
        self._room = room
        self._book: JobBook | None = None
        self._poller: TaskPoller | None = None
        self.order: Order = "trouble"
        self.text = ""
        self.polls = True
        self.nagged = False

    @property
    def room(self) -> ApiKeys:
        """The credentials of the profile that the rollout file names now."""
        return self._room()

    @property
    def file(self) -> RolloutFile:
        """The rollout file as it is now."""
        return self._file()

    @property
    def shown_path(self) -> Path:
        """The path of the ledger as messages show it: as the rollout file was named."""
        return (folder_of(self._path) / self.file.access_log).parent / LEDGER_NAME

    @property
    def book(self) -> JobBook:
        """The ledger beside the access log of the rollout file, with its limits."""
        found = job_book(self._path, self.file)
        if self._book is None or self._book.path != found.path:
            self._book, self._poller = found, None
        self._book.limits = found.limits
        return self._book

    def poller(self, client: Client) -> TaskPoller:
        """Return the poller of the ledger, which asks with this client from now on."""
        book = self.book
        if self._poller is None:
            self._poller = TaskPoller(book, client, clock=time)
        self._poller.client = client
        return self._poller

    @property
    def wanted(self) -> Wanted:
        """What is listed."""
        return Wanted.of(self.text, self.order)

    def next_order(self) -> None:
        """Sort by the next order."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    def reader(self) -> Callable[[threading.Event], Look | None]:
        """Return what reads the ledger, in a thread; None where there is none. OperationError."""
        book, wanted = self.book, self.wanted

        def read(stop: threading.Event) -> Look | None:
            now = time()
            return book.look(now, now - SINCE_S, wanted, stop=stop) if book.exists else None

        return read

    def log_reader(self) -> Callable[[threading.Event], None]:
        """Return what adds other hosts' jobs from the access log to the ledger, in a thread.

        It makes no ledger where there is none: one that an operator makes may be closed to the
        application, whose it is to write.
        """
        book = self.book
        log = LogReader((folder_of(self._path) / self.file.access_log).absolute(), JobRecord)

        def read(stop: threading.Event) -> None:
            def records(since: float, until: float) -> Iterator[list[JobRecord]]:
                for some in log.between(since, until):
                    if stop.is_set():
                        return
                    yield some

            if book.exists:
                with suppress(OperationError):  # the ledger's own error is told by each read
                    take_in_file(book.path, records, time())

        return read

    def close(self) -> None:
        """Close the ledger, if it was written to; it is opened again when it is needed."""
        if self._book is not None:
            self._book.close()
