"""Decide each request of a client, and prepare its exchange.

A retry stays on the side first chosen, and what names an id goes to the side that made it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from rollout_gate.context import Subject, said_twice
from rollout_gate.decision.decision import Decision
from rollout_gate.file.model import Side
from rollout_gate.http.attempts import (
    COUNT_HEADER,
    Retries,
    attempt_of,
    digest_of,
)
from rollout_gate.http.credentials import Headers
from rollout_gate.http.current_log import CurrentLog
from rollout_gate.http.id_store import IDS_NAME, IdStore, ids_at
from rollout_gate.http.operations import (
    DECIDED,
    Bound,
    Choice,
    Operation,
    choice_of,
    names_in,
    operation_of,
    task_operation,
)
from rollout_gate.http.request_lifecycle import Exchange
from rollout_gate.http.request_shape import (
    Call,
    is_signed,
    path_of,
    shape_of,
    task_of,
)
from rollout_gate.http.response_recorder import Recorder
from rollout_gate.http.routing import Outgoing, Router, creates_of
from rollout_gate.paths import LEDGER_NAME
from rollout_gate.secret import redacted

if TYPE_CHECKING:  # not at run time: it loads sqlite3, which only routes with media jobs need
    from rollout_gate.http.job_accounts import CreateAccount, TaskAccount
    from rollout_gate.http.job_ledger import TaskLedger

JOB_ID = b"x-rollout-job-id"
"""The one header of the subject that decides nothing."""
MOST_SAID = 64
"""Of how many subjects a request may be, by headers that are repeated, to be decided for each."""


class Exchanges:
    """The exchanges of one client: decides each request and prepares it."""

    def __init__(
        self,
        router: Router,
        log: CurrentLog,
        ledger: "TaskLedger | None",
        retries: Retries = attempt_of,
    ) -> None:
        self._router = router
        self._retries = retries
        self._log = log
        self._given = ledger
        self._ledgers = [] if ledger is None else [ledger]
        self._id_store: IdStore | None = None
        self._report = router.gate.report

    def may_target(self, target: bytes) -> bool:
        """Return whether a request target beside the URL may go to another host than TokenLab's."""
        return not self._router.holds_own_key(target.decode("latin-1"))

    def begin(
        self,
        method: str,
        url: str,
        headers: Headers,
        by_name: Mapping[bytes, bytes],
        body: bytes | None,
        form: bytes | None = None,
    ) -> Exchange:
        """Decide a request; ``by_name`` are its headers by their lower-case names.

        ``form`` is a body in memory that is searched for TokenLab's key, and not read otherwise.

        Raises what the function that returns a credential raises, or ValueError for a credential
        that cannot be sent, or where TokenLab's key cannot be taken out of a request for another
        host; one of the route then has its access-log record.
        """
        router = self._router
        subject, decision, call, operation = self._known_as(method, url, headers, by_name)
        if call is None:
            out = router.aside(method, url, headers, subject, body, form)
            return self._begin_aside(out, decision, shape_of(method, url))
        is_decided = operation is None or operation.goes == "decided"
        if is_decided and router.lacks_org(subject, decision):
            self._say_org_is_missing(decision.route)
        digest = partial(digest_of, method, url, body, subject)
        said = by_name.get(COUNT_HEADER, b"")
        attempt = self._retries(digest, decision, said, is_call=operation is None)
        decision = attempt.decision
        goes = partial(
            router.outgoing, method, url, headers, body, decision, subject, call, operation,
            form=form,
        )  # fmt: skip
        find: Callable[[], Outgoing] | None = None
        try:
            if operation is None and not names_in(decision.format, body):
                out = goes(DECIDED[decision.side])  # fast path: no id is named
            else:
                names = _named(decision.format, operation, body)
                bound = partial(self._bound, decision, operation, names, goes)
                if operation is not None and operation.goes == "task":
                    find = partial(
                        self._find_task, operation, decision, subject.org or "", method, url, goes
                    )
                elif names and (found := self._ids.recall(names)) is None:
                    find = partial(self._find_ids, names, bound)
                else:
                    out = bound(found if names else None)
        except Exception:
            unsent = _unsent(method, url, decision, subject, operation)
            self._recorder(unsent, attempt.number).failed("credential")
            raise
        if find is not None:
            out = _unsent(method, url, decision, subject, operation)
        return Exchange(
            out,
            self._recorder(out, attempt.number),
            attempt,
            digest,
            create=self._create_account(out, method, url, body) if out.creates else None,
            task=self._task_account(operation),
            find=find,
            refused=self._say_redirect_is_refused,
            later=router.gate.later,
        )

    def _operation_of(
        self, decision: Decision, method: str, url: str, headers: Headers
    ) -> Operation | None:
        """Parse a request as an operation of the route, by its path and its address.

        A path alone proves little: below any host there may be a ``/files/clip.mp4``. So what is
        signed, or comes without a key for a host that is not known as one of the API, is an
        operation if its path is the usual one and it is no mere download, or its id is known.
        """
        found = _operation_of(decision.format, method, url)
        if found is None or found.goes == "own_url":
            return found
        is_read = found.goes in ("by_id", "task") and method.upper() in ("GET", "HEAD")
        if is_read and is_signed(url):
            return None
        if self._router.is_addressed(decision, url, headers):
            return found
        if found.goes == "task":
            is_usual = path_of(url).endswith(found.call.path)
            return found if is_usual else replace(found, stays=True)
        if not found.call.as_usual:
            return None
        return replace(found, stays=True) if is_read else found

    def unread(
        self,
        method: str,
        url: str,
        headers: Headers,
        by_name: Mapping[bytes, bytes],
        error: str,
    ) -> None:
        """Log a request that ended while its body was read, before it was decided what to send."""
        subject, decision, call, operation = self._known_as(method, url, headers, by_name)
        if call is None:
            return
        digest = partial(digest_of, method, url, None, subject)
        said = by_name.get(COUNT_HEADER, b"")
        attempt = self._retries(digest, decision, said, is_call=operation is None)
        out = _unsent(method, url, attempt.decision, subject, operation)
        recorder = self._recorder(out, attempt.number)
        Exchange(out, recorder, attempt, digest).failed(error, sent=False)

    def _known_as(
        self, method: str, url: str, headers: Headers, by_name: Mapping[bytes, bytes]
    ) -> tuple[Subject, Decision, Call | None, Operation | None]:
        """Return a request's subject and decision, and what it is: no call where it is neither a
        generation nor an operation of the route."""
        router = self._router
        subject = router.subject_of(by_name)
        decision = router.decide(subject)
        if len(by_name) != len(headers) and (twice := said_twice(headers)):
            self._say_said_twice(decision.route, twice)
            subject, decision = self._safest(by_name, twice)
        call, operation = router.call(decision, method, url), None
        if call is None:
            operation = self._operation_of(decision, method, url, headers)
            call = operation.call if operation is not None else None
        return subject, decision, call, operation

    def _safest(
        self, by_name: Mapping[bytes, bytes], twice: Mapping[bytes, Sequence[bytes]]
    ) -> tuple[Subject, Decision]:
        """Decide for all that the headers say: a rollback of one of it counts, then previous."""
        router, decides = self._router, twice.keys() - {JOB_ID}
        found: list[tuple[Subject, Decision]] = []
        for values in islice(product(*(twice[name] for name in decides)), MOST_SAID + 1):
            subject = router.subject_of({**by_name, **dict(zip(decides, values, strict=True))})
            found.append((subject, router.decide(subject)))
        subject, decision = min(found, key=_risk)
        if len(found) > MOST_SAID:
            of = decision.revision, decision.route, decision.model, decision.format
            decision = Decision.of("previous", 0, -1, "bad_argument", *of)
        return subject, decision

    def _create_account(
        self, out: Outgoing, method: str, url: str, body: bytes | None
    ) -> "CreateAccount":
        from rollout_gate.http.job_accounts import CreateAccount, request_parts

        parts = request_parts(method, url, body)
        return CreateAccount(self._ledger, parts, self._router.dedupe_s(out.decision))

    def _task_account(self, operation: Operation | None) -> "TaskAccount | None":
        if operation is None or operation.goes != "task":
            return None
        from rollout_gate.http.job_accounts import TaskAccount

        return TaskAccount(self._ledger, operation.ids[0])

    def _bound(
        self,
        decision: Decision,
        operation: Operation | None,
        names: Sequence[str],
        goes: Callable[[Choice], Outgoing],
        found: Bound | None,
    ) -> Outgoing:
        """Return a request for the side that made the id which binds it, if one is known."""
        choice = choice_of(decision, operation, found, named=bool(names))
        if choice.moved:
            self._say_moved(decision.route)
        out = goes(choice)
        if found is None or not choice.bound or found.kind not in ("response", "conversation"):
            return out
        return replace(out, thread=found.thread) if out.makes else out

    def _find_ids(
        self, names: Sequence[str], bound: Callable[[Bound | None], Outgoing]
    ) -> Outgoing:
        return bound(self._ids.find(names))

    def _begin_aside(self, out: Outgoing, decision: Decision, shape: str) -> Exchange:
        """Prepare a request that is none of the route: passed through undecided, not logged."""
        self._say_passed_by(decision, shape)
        return Exchange(
            out,
            self._recorder(out, 1),
            refused=self._say_redirect_is_refused,
            later=self._router.gate.later,
        )

    def _find_task(
        self,
        operation: Operation,
        decision: Decision,
        org: str,
        method: str,
        url: str,
        goes: Callable[[Choice], Outgoing],
    ) -> Outgoing:
        """Return a request about a task for the side that created it, rolled back or not."""
        stays = operation.stays
        side = None if stays else self._side_of(operation.ids[0], decision.route, org)
        if side is None:
            self._say_task_is_unknown(decision, shape_of(method, url))
            return goes(Choice(None, proven=False))
        return goes(Choice(side, bound=True))

    @property
    def waits_for_disk(self) -> bool:
        """Whether ``close`` waits for the ledger."""
        return self._given is None and bool(self._ledgers)

    def close(self) -> None:
        """Close the access log, and the ledger unless it was given."""
        self._router.gate.settle()
        self._log.get().close()
        if self._given is None and self._ledgers:
            self._ledger().close()

    def _say_org_is_missing(self, route: str) -> None:
        self._report(
            ("org", route),
            f"requests on route {route} come without an org, so no org's share or rollback"
            f" reaches them; {self._router.remedies.org}",
        )

    def _say_said_twice(self, route: str, names: Iterable[bytes]) -> None:
        for name in names:
            shown = name.decode()
            self._report(
                ("twice", route, shown),
                f"requests on route {route} have several values of {shown}: the safest one counts,"
                " a rollback first, then the previous provider; send one",
            )

    def _say_passed_by(self, decision: Decision, shape: str) -> None:
        self._report(
            ("aside", decision.route, shape),
            f"{redacted(shape)} is no call of route {decision.route} ({decision.format}): such"
            " requests go"
            " where the SDK sends them, are not decided, and have no line in the access log",
        )

    def _say_task_is_unknown(self, decision: Decision, shape: str) -> None:
        self._report(
            ("task", decision.route, shape),
            f"{redacted(shape)} on route {decision.route} asks about a task that the ledger of jobs"
            " does not know: it goes where the SDK sends it; create tasks through the gate",
        )

    def _say_moved(self, route: str) -> None:
        self._report(
            ("moved", route),
            f"a conversation, or another id, that TokenLab holds goes to the previous provider on"
            f" route {route}, as it is rolled back: the previous provider does not know it",
        )

    def _say_redirect_is_refused(self, out: Outgoing, host: str) -> None:
        who = {"tokenlab": "TokenLab", "previous": "the previous provider"}.get(out.side or "")
        route = out.decision.route if out.decision else out.subject.route or ""
        self._report(
            ("redirect", route, host),
            f"{who or 'the server'} redirects requests on route {route} to {redacted(host)}, which"
            " is not followed: nothing of a request goes to a host that is of neither side; if its"
            " address has moved, change the base URL",
        )

    def _recorder(self, out: Outgoing, attempt: int) -> Recorder:
        return Recorder(self._log.get(), out, attempt, self._made)

    def _made(self, out: Outgoing, ids: Sequence[str]) -> None:
        """Remember the ids that a side has made."""
        side = out.side
        if side is None or out.decision is None:
            return
        store, now = self._ids, time.time()
        route, org, kind = out.decision.route, out.subject.org or "", out.makes
        for one in ids:
            store.remember(one, Bound(side, route, org, kind, out.thread or one, now))

    @property
    def _ids(self) -> IdStore:
        if self._id_store is None:
            self._id_store = ids_at(Path(self._log.get().path).parent / IDS_NAME)
        return self._id_store

    def _side_of(self, task: str, route: str, org: str) -> Side | None:
        return cast(Side | None, self._ledger().side_of(task, route=route, org=org))

    def _ledger(self) -> "TaskLedger":
        if not self._ledgers:
            from rollout_gate.http.job_ledger import ledger_at

            path = Path(self._log.get().path).parent / LEDGER_NAME
            self._ledgers.append(ledger_at(path))
        return self._ledgers[0]


def _risk(found: tuple[Subject, Decision]) -> tuple[bool, bool]:
    decision = found[1]
    return decision.side == "tokenlab", not decision.rule.startswith("rolled_back.")


def _operation_of(route_format: str, method: str, url: str) -> Operation | None:
    """Parse a request as an operation of the route; a route with media jobs has tasks as well."""
    if creates_of(route_format) and (task := task_of(method, url)) is not None:
        return task_operation(*task)
    return operation_of(route_format, method, url)


def _unsent(
    method: str, url: str, decision: Decision, subject: Subject, operation: Operation | None
) -> Outgoing:
    """Return a request that is not prepared: it has nothing but what its line needs."""
    out = Outgoing(method, url, [], None, decision, subject, decision.side)
    if operation is None:
        return replace(out, creates=creates_of(decision.format)) if decision.format else out
    return replace(out, operation=operation.name, task_id=_task_of(operation))


def _task_of(operation: Operation | None) -> str:
    return operation.ids[0] if operation is not None and operation.goes == "task" else ""


def _named(route_format: str, operation: Operation | None, body: bytes | None) -> Sequence[str]:
    """Return the ids that may bind a request; none where nothing but its kind decides."""
    if operation is None:
        return names_in(route_format, body)
    if operation.goes == "by_id":
        return operation.ids
    return names_in(route_format, body) if operation.goes == "decided" else ()
