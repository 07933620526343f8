"""The lifecycle of one request, from what is sent to its access-log record, for every HTTP library.

The create of an async media job is idempotent. ``rollout_gate.http.exchanges`` decides what is
sent; the part of the HTTP libraries is in ``rollout_gate.http.transport``.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rollout_gate.answers.error_codes import MOST_TEXT
from rollout_gate.http.attempts import (
    Attempt,
)
from rollout_gate.http.redirects import RefusedError, is_redirect, redirected
from rollout_gate.http.request_shape import (
    same_origin,
)
from rollout_gate.http.response_recorder import Recorder
from rollout_gate.http.routing import Outgoing

if TYPE_CHECKING:  # not at run time: it loads sqlite3, which only routes with media jobs need
    from rollout_gate.http.job_accounts import CreateAccount, TaskAccount
    from rollout_gate.http.job_answers import Answer
    from rollout_gate.http.task_answers import TaskAnswer


class Exchange:
    """One request in flight; the transport calls it for each event, and it writes the record."""

    def __init__(
        self,
        out: Outgoing,
        recorder: Recorder,
        attempt: Attempt | None = None,
        digest: Callable[[], bytes] = bytes,
        create: "CreateAccount | None" = None,
        task: "TaskAccount | None" = None,
        find: Callable[[], Outgoing] | None = None,
        refused: Callable[[Outgoing, str], None] = lambda out, host: None,
        later: Callable[[Callable[[], None]], None] = lambda call: call(),
    ) -> None:
        self.out = out
        self._came_for = out.came_for or out.url
        self._later = later
        self._refused = refused
        self.left_its_host = False
        """Whether a redirect led to another origin."""
        self._next: Outgoing | None = None
        self._was_taken = False
        self._asked: set[tuple[str, str]] = set()
        self._recorder = recorder
        self.passed = recorder.passed
        """Callback for each chunk of the response as it passes."""
        self._attempt = attempt
        self._digest = digest
        self._create = create
        self._about = task
        self._find = find
        self._settled = False
        self._process = os.getpid()

    @property
    def _is_of_parent(self) -> bool:
        """Whether this process is a forked child that has inherited the request: its line and its
        job are its parent's to write, who has the response as well."""
        return self._process != os.getpid()

    @property
    def waits_for_disk(self) -> bool:
        """Whether ``claim``, ``answered``, ``ended``, and ``failed`` of a request not sent, write
        to the ledger (blocking disk I/O)."""
        return self._create is not None or self._about is not None

    @property
    def looks_up(self) -> bool:
        """Whether ``find`` reads the ledger, or the ids of other processes (blocking disk I/O)."""
        return self._find is not None

    def find(self) -> None:
        """Route a request that names an id to the side that made it; ``out`` is final after this.

        Raises what ``Exchanges.begin`` raises.
        """
        if self._find is not None:
            try:
                self.out = self._find()
            except Exception:
                self._recorder.failed("credential")
                raise
            self._recorder.goes(self.out)

    def claim(self) -> "Answer | None":
        """Record a create before it is sent; return the response to an earlier one if any."""
        create = self._create
        if create is None:
            return None
        answer, job_id = create.claim(self.out)
        if self._create is None:
            return answer  # withdrawn meanwhile: its line is written
        if job_id != self.out.subject.job_id:
            self.out = replace(self.out, subject=replace(self.out.subject, job_id=job_id))
            self._recorder.goes(self.out)
        return answer

    def withdraw(self, error: str) -> None:
        """Cancel ``claim``, which may still be running in a thread: nothing will be sent.

        The line is written at once; the ledger, which may be locked, is left to the account.
        """
        create, self._create = self._create, None
        if create is not None:
            create.withdraw()
        self.failed(error, sent=False)

    def sent_on(self, status: int, location: str | None) -> bool:
        """Whether a response redirects to a URL to which this request may go."""
        if location is None or not is_redirect(status, location):
            return False
        try:
            self._next = redirected(self.out, status, location)
        except RefusedError as error:
            self._refused(self.out, str(error))
            return False
        return True

    def follow(self) -> bool:
        """Follow the redirect; return whether its URL is new (redirect loop detection)."""
        assert self._next is not None
        self._asked.add((self.out.method, self.out.url))
        # A redirect that changes the method was sent by a server that has executed the request.
        self._was_taken = self._was_taken or self._next.method != self.out.method
        self.left_its_host = self.left_its_host or not same_origin(self.out.url, self._next.url)
        self.out = self._next
        return (self.out.method, self.out.url) not in self._asked

    def failed(self, error: str, *, sent: bool) -> None:
        """Record that no response came, or it broke; ``sent`` is false if certainly not sent.

        A caller that is cancelled after the last word of a response has had all of it; the status
        of an error is one, also where its body breaks.
        """
        if self._is_of_parent:
            return
        is_decided = self._create is None and self._recorder.is_decided
        if error == "cancelled" and (is_decided or self._recorder.is_whole):
            self.closed()
            return
        has_error = self._recorder.status >= 300
        if self._create is not None and not has_error:
            if sent or self._was_taken:
                self._later(self._create.lost)  # the caller may be the event loop
            else:
                self._create.not_sent()
        self._recorder.failed(error)
        self._settle(self._recorder.status)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the start of a response, and its effect on the job."""
        self._recorder.answered(status, headers)
        if self._create is not None:
            task = headers.get("x-task-id")
            if task and self._recorder.has_secret(task):
                task = None  # a server that echoes a key has named no task
            self._create.answered(
                status, task, self._recorder.request_id, self.out.model, taken=self._was_taken
            )

    def ended(self) -> None:
        """Record the end of a complete response."""
        if self._is_of_parent:
            return
        self._account()
        self._recorder.ended()
        self._settle(self._recorder.status)

    def _account(self) -> None:
        """Record what a complete response says of a task."""
        recorder, status = self._recorder, self._recorder.status
        if self._create is not None:
            self._create.ended(
                status, recorder.request_id, recorder.body, self._answer,
                is_perhaps=self.out.creates != "task",
                clean=partial(recorder.without_secret, most=MOST_TEXT),
            )  # fmt: skip
        elif self._about is not None:
            self._about.ended(status, self.out.side, self._answer)

    @property
    def _answer(self) -> "TaskAnswer":
        """What the response says of a task, without any credential that a server echoes."""
        recorder, task = self._recorder, self._recorder.task
        if task.id is not None and recorder.has_secret(task.id):
            task = replace(task, id=None, is_task=False)
        return replace(
            task,
            error=recorder.without_secret(task.error),
            poll_url=_kept(recorder, task.poll_url),
            billing_transaction_id=recorder.billing_id,
        )

    def dropped(self) -> None:
        """Finalize an abandoned response: deferred, as a finalizer may run with any lock held."""
        if not self._recorder.is_over and not self._is_of_parent:
            self._later(self.closed)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the response is from another origin than the client's URL, or from TokenLab."""
        if self.out.side == "tokenlab" or self.left_its_host:
            return True
        return not same_origin(self.out.url, self._came_for)

    def closed(self) -> None:
        """Record that the client closed the response, complete or not.

        It may be the event loop that does, so what writes to disk is deferred.
        """
        if self._is_of_parent:
            return
        if self._recorder.is_whole and self.waits_for_disk:
            self._later(self._account)
        elif self._create is not None and self._create.is_waiting:
            self._later(self._create.lost)
        self._recorder.closed()
        self._settle(self._recorder.status)

    def _settle(self, status: int) -> None:
        if self._attempt is not None and not self._settled:
            self._settled = True
            failed_inside = self._recorder.has_failed
            self._attempt.settle(status, self._digest, failed_inside=failed_inside)


def _kept(recorder: Recorder, url: str | None) -> str | None:
    """Return a URL, None for one that has a credential in it."""
    return url if recorder.without_secret(url, len(url or "")) == url else None
