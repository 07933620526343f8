"""Responses that the gate synthesizes to the create of an async media job, which is not sent."""

import shlex
import time
from datetime import UTC, datetime

import msgspec

from rollout_gate.access_log import timestamp
from rollout_gate.context import Subject
from rollout_gate.http.create_records import SENDING_S
from rollout_gate.http.job_records import Job
from rollout_gate.http.shared_database import storable


class Answer(msgspec.Struct, frozen=True):
    """A response synthesized by the gate, without a request to a provider."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def busy(job_id: str | None) -> Answer:
    """Return the response to a create while it is unknown whether its job was created before.

    ``job_id`` is None where the request itself is compared.
    """
    what = f"job {storable(job_id)}" if job_id else "the same request"
    message = (
        f"the ledger of jobs is locked, so that it is unknown whether {what} was sent before;"
        " nothing was sent now, try again"
    )
    error = {"message": message, "type": "ledger_busy", "code": "ledger_busy"}
    headers = [("content-type", "application/json"), ("retry-after", "5")]
    return Answer(503, headers, msgspec.json.encode({"error": error}))


def forget_command(route: str, job_id: str, org: str) -> str:
    """Return the command, quoted for a shell, that lets a job be created again."""
    whose = [f"--org={org}"] if org.startswith("-") else ["--org", org] if org else []
    words = [route, job_id, *whose]
    if route.startswith("-") or job_id.startswith("-"):  # else they would be taken for options
        words = [*whose, "--", route, job_id]
    return shlex.join(["rollout-console", "jobs", "forget", *words])


def known(job: Job, subject: Subject) -> Answer:
    """Return the response to a create of a job that was sent before.

    A lone surrogate in an id, as os.fsdecode returns, is backslash-escaped, as it is in the ledger:
    JSON has no such character.
    """
    job_id = storable(subject.job_id or "")
    headers = [("content-type", "application/json"), ("x-rollout-resumed", "true")]
    body = job.body
    if body is None and job.task_id:
        task = storable(job.task_id)
        body = msgspec.json.encode({"id": task, "task_id": task, "status": "pending"})
    if body is not None:
        if job.task_id and job.task_id.isascii() and job.task_id.isprintable():
            # A field value is printable ASCII (RFC 9110, 5.5); any other id is in the body alone.
            headers.append(("x-task-id", job.task_id))
        return Answer(job.status or 200, headers, body)
    where = f" to {job.side}" if job.side else ""
    when = f" at {timestamp(datetime.fromtimestamp(job.sent_at, UTC))}" if job.sent_at else ""
    if not job.request_ended and abs(time.time() - job.sent_at) < SENDING_S:
        message = (
            f"the create for job {job_id} was sent{where}{when} and no answer"
            " to it is known yet; nothing was sent now, try again"
        )
        waits = [("retry-after", "5"), ("x-should-retry", "true")]
        return _duplicate("create_in_flight", message, headers + waits)
    named = (subject.route or "", subject.job_id or "", subject.org or "")
    again = forget_command(*map(storable, named))
    if job.status is not None and job.status < 300:
        code = "job_already_done"
        message = (
            f"job {job_id} was sent{where}{when} and answered in full, and"
            f" its answer, which has the media themselves, is not kept; to make it again: {again}"
        )
    else:
        code = "create_outcome_unknown"
        message = (
            f"the create for job {job_id} was sent{where}{when} and its"
            " answer is not known; look for the task there before it is sent again; if there is"
            f" none: {again}"
        )
    # The SDKs retry a 409 by default.
    return _duplicate(code, message, [*headers, ("x-should-retry", "false")])


def _duplicate(code: str, message: str, headers: list[tuple[str, str]]) -> Answer:
    error = {"message": message, "type": "duplicate_create", "code": code}
    return Answer(409, headers, msgspec.json.encode({"error": error}))
