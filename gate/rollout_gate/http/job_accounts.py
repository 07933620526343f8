"""Account for the async media jobs of one client: the create of one, and what is asked about it.

Each request has an account of its own while it is in flight, which writes to the ledger what
becomes of it. A create is recorded before it is sent (write-ahead), so that one whose answer is
lost is known as such. An image is made at once or as a task, which often only the answer tells: it
is recorded when it is a task, or before it is sent where the request asks for one or has a job id.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from rollout_gate.http.create_records import Create
from rollout_gate.http.job_answers import Answer, busy, known
from rollout_gate.http.job_ledger import LedgerBusyError, TaskLedger
from rollout_gate.http.request_shape import path_of, shape_of
from rollout_gate.http.routing import Outgoing
from rollout_gate.http.shared_database import storable
from rollout_gate.http.task_answers import TaskAnswer, kept_body

_MAYBE_DONE = frozenset((303, 408, 499))
"""Statuses after which a create may have been executed: the result is at another URL (303), or an
intermediary timed out (408, 499)."""
_HOST = os.uname().nodename


def request_parts(method: str, url: str, body: bytes | None) -> tuple[bytes, ...]:
    """Return what makes two requests the same one; empty where the body cannot be read.

    A form (multipart) is none such: it is passed on in pieces, as its files may be large.
    """
    if body is None:
        return ()
    return method.upper().encode(), path_of(url).encode("utf-8", "backslashreplace"), body


class CreateAccount:
    """One create, from before it is sent until its answer is over. Each call may write to disk.

    ``parts`` are those of ``request_parts``. Where ``dedupe_s`` is not 0, the same request within
    so many seconds is the same job.
    """

    def __init__(
        self,
        ledger: Callable[[], TaskLedger],
        parts: tuple[bytes, ...],
        dedupe_s: int = 0,
    ) -> None:
        self._ledger = ledger
        self._parts = parts
        self._dedupe_s = dedupe_s
        self._create: Create | None = None
        self._is_recorded = False
        self._task_in_headers = False
        self._turn = threading.Lock()
        self._claimed = self._withdrawn = False

    def claim(self, out: Outgoing) -> tuple[Answer | None, str | None]:
        """Record a create before it is sent; return the answer to an earlier one, and the job id.

        The job id is that of the request, or one that was made of the request itself.
        """
        decision, job_id = out.decision, out.subject.job_id or None
        if decision is None:
            return None, job_id
        route, org = decision.route, out.subject.org or ""
        create = Create(
            create_id=secrets.token_hex(16), route=route, org=org, side=out.side or decision.side,
            sent_at=time.time(), job_id=job_id or "", has_own_id=job_id is not None,
            model=out.model, endpoint=_endpoint(out), operation=out.operation, host=_HOST,
        )  # fmt: skip
        self._create = create
        asks_ledger = job_id is not None or self._dedupe_s > 0 or out.creates != "perhaps"
        if not asks_ledger:
            return None, None  # an image without a job id: recorded if its answer is a task
        ledger, dedupes = self._ledger(), job_id is None and self._dedupe_s > 0
        try:
            hashed = self._hashed(create)
        except LedgerBusyError:
            if dedupes:
                return busy(None), None
            hashed = b""
        self._create = create = replace(create, fingerprint=hashed)
        is_deduped = dedupes and bool(hashed)
        if is_deduped:
            job_id = f"auto-{hashed.hex()[:12]}-{create.create_id[:6]}"
            self._create = create = replace(create, job_id=job_id)
        try:
            if is_deduped:
                found = ledger.begin_unlike(create, self._dedupe_s)
                job_id, job = (job_id, None) if found is None else (found.job_id, found.job)
            elif job_id is not None:
                job = ledger.begin(route, job_id, create.side, org=org, create=create)
            else:
                ledger.record(create)
                job = None
        except LedgerBusyError:
            return busy(job_id), job_id
        if job is not None:
            self._create = None
            return known(job, replace(out.subject, job_id=job_id)), job_id
        with self._turn:
            self._is_recorded = True
            self._claimed, withdrawn = True, self._withdrawn
        if withdrawn:
            self._nothing_made()
        return None, job_id

    def withdraw(self) -> None:
        """Cancel ``claim``, which may still be running in a thread: nothing will be sent.

        A create that it has recorded, or will record, is deleted again; this does not wait for it.
        """
        with self._turn:
            self._withdrawn, claimed = True, self._claimed
        if claimed:
            threading.Thread(target=self._nothing_made, name="rollout-withdraw").start()

    def not_sent(self) -> None:
        """Record that the create was certainly not sent."""
        self._nothing_made()

    @property
    def is_waiting(self) -> bool:
        """Whether it is recorded, and nothing of its answer yet."""
        create = self._create
        return create is not None and self._is_recorded and not create.request_ended

    def lost(self) -> None:
        """Record that no answer came, or that it broke: nobody knows what became of the create."""
        create = self._create
        if create is not None and self.is_waiting:
            self._create = create = replace(create, status=0)
            self._ledger().record(create)

    def answered(
        self, status: int, task: str | None, request_id: str | None, model: str, *, taken: bool
    ) -> None:
        """Record the start of the answer; ``taken`` is whether the create was surely accepted.

        ``task`` is the id in the answer's headers.
        """
        if 300 <= status < 500 and status not in _MAYBE_DONE and not taken:
            self._nothing_made()  # rejected, or redirected
        elif status < 300 and task:
            # Record it now: whatever becomes of the body, the task exists and costs money.
            body = {"id": task, "task_id": task, "status": "pending", "model": storable(model)}
            self._task_in_headers = True
            answer = TaskAnswer(task, "open")
            self._made(status, msgspec.json.encode(body), answer, request_id)
        elif status >= 300 and self._create is not None and self._is_recorded:
            self._create = replace(self._create, status=status)
            self._ledger().record(self._create)

    def ended(
        self, status: int, request_id: str | None, body: bytes, answer: TaskAnswer,
        *, is_perhaps: bool, clean: Callable[[str], str | None],
    ) -> None:  # fmt: skip
        """Record the end of a complete answer with its body; ``answer`` has no credential.

        ``clean`` removes credentials from a text: of the body only what is no prompt, no media and
        no URL of an asset is kept.
        ``is_perhaps`` is whether the request may make what it asks for at once, as an image is.
        """
        if status >= 300:
            return
        is_answer = _is_object(body) and not answer.is_refusal
        named = answer.is_task or (not is_perhaps and answer.id is not None)
        if named or (self._task_in_headers and answer.state is not None):
            if answer.id is None and self._create is not None:
                answer = replace(answer, id=self._create.task_id)
            has_job = self._create is not None and self._create.job_id
            kept = kept_body(body, answer, clean) if has_job else None
            self._made(status, kept, answer, request_id)
        elif is_perhaps and is_answer and self._is_recorded and not self._task_in_headers:
            # It was made at once. The answer has the media themselves, so it is not kept.
            self._made(status, None, replace(answer, id=None, state="completed"), request_id)
        elif self._create is not None and self._is_recorded and not self._task_in_headers:
            self._create = replace(self._create, status=status)  # such as a page of a proxy
            self._ledger().record(self._create)

    def _made(
        self, status: int, body: bytes | None, answer: TaskAnswer, request_id: str | None
    ) -> None:
        create = self._create
        if create is None:
            return
        now, state = time.time(), answer.state or "open"
        self._create = create = replace(
            create, status=status, task_id=answer.id, poll_url=answer.poll_url, state=state,
            progress=answer.progress, error=answer.error, request_id=request_id,
            billing_transaction_id=answer.billing_transaction_id, seen_at=now,
            ended_at=None if state == "open" else now,
        )  # fmt: skip
        if not create.fingerprint:
            with suppress(LedgerBusyError):
                self._create = create = replace(create, fingerprint=self._hashed(create))
        self._is_recorded = True
        if not create.job_id:
            self._ledger().record(create)
            return
        self._ledger().created(
            create.route, create.job_id, answer.id, status, body, org=create.org, create=create
        )

    def _hashed(self, create: Create) -> bytes:
        """Return a keyed hash of the request; empty where its body cannot be read.

        Raises LedgerBusyError where a lock prevents reading the key.
        """
        if not self._parts:
            return b""
        whose = (create.route, create.org)
        named = (text.encode("utf-8", "backslashreplace") for text in whose)
        return self._ledger().fingerprint(*named, *self._parts)

    def _nothing_made(self) -> None:
        create, self._create = self._create, None
        if create is None or not self._is_recorded:
            return
        self._is_recorded = False
        if create.job_id:
            self._ledger().forget(create.route, create.job_id, org=create.org)
        else:
            self._ledger().dropped(create.create_id)


class TaskAccount:
    """One request about a task, whose answer says how the job stands."""

    def __init__(self, ledger: Callable[[], TaskLedger], task_id: str) -> None:
        self._ledger = ledger
        self.task_id = task_id

    def ended(self, status: int, side: str | None, answer: TaskAnswer) -> None:
        """Record a complete answer, without any credential in it, if it has a state."""
        if status < 300 and answer.state is not None:
            self._ledger().seen(self.task_id, side, answer)


def _endpoint(out: Outgoing) -> str:
    """Return the path of a request, with ``{}`` for a part that may be an id or a secret."""
    return shape_of(out.method, out.url).partition(" ")[2]


def _is_object(body: bytes) -> bool:
    return body.lstrip()[:1] == b"{"
