"""What is known of a job and what to do about it, in words: for the screen and in a shell."""

from collections.abc import Mapping
from datetime import UTC, datetime

from rollout_console.common.durations import seconds_text, target_text
from rollout_console.jobs.job_book import JobRow, Repeated
from rollout_gate.access_log import timestamp
from rollout_gate.http.create_records import Create
from rollout_gate.http.job_answers import forget_command

REPEATED_WORDS: Mapping[str, str] = {
    "job_id": "one job id has two tasks",
    "after_unknown": "repeated after a create whose answer was lost",
    "request": "the same request again",
}


def job_json(row: JobRow, now: float) -> dict[str, object]:
    """Return a job as its JSON object."""
    create = row.create

    def at(when: float | None) -> str | None:
        return None if when is None else timestamp(datetime.fromtimestamp(when, UTC))

    return {
        "standing": row.standing, "state": create.state, "route": create.route, "org": create.org,
        "side": create.side, "model": create.model or None, "task_id": create.task_id,
        "job_id": create.job_id or None, "id": create.create_id, "poll_url": create.poll_url,
        "endpoint": create.endpoint or None, "operation": create.operation,
        "sent_at": at(create.sent_at), "seen_at": at(create.seen_at),
        "ended_at": at(create.ended_at),
        "seconds": round((create.ended_at or now) - create.sent_at, 1),
        "progress": create.progress, "status": create.status, "error": create.error,
        "polls": create.polls, "request_id": create.request_id,
        "billing_transaction_id": create.billing_transaction_id, "cost_usd": create.cost,
        "host": create.host or None,
    }  # fmt: skip


def known_facts(row: JobRow, now: float) -> list[tuple[str, str]]:
    """Return the name and value of everything that is known of a job."""
    return [
        (name, str(value)) for name, value in job_json(row, now).items() if value not in (None, "")
    ]


def advice(row: JobRow, *, with_keys: bool = False) -> str:
    """Return what to do about a job, empty where there is nothing.

    It names commands, or ``with_keys`` the keys of the jobs screen.
    """
    create = row.create
    if row.standing == "unknown":
        look = f"look for the task at {create.side}"
        if with_keys:
            again = ", and it may be created again" if create.job_id else ""
            return f"{look}; if there is none, f forgets the job{again}"
        name = create.job_id or create.create_id
        return f"{look}; if there is none: {forget_command(create.route, name, create.org)}"
    if row.standing == "lost":
        return "the application has not asked for it: fetch the asset, it is paid for"
    if row.standing == "late" and create.side != "tokenlab":
        return "it is at the previous side, which is not polled here: look for it there"
    if row.standing == "late":
        poll, cancel = ("p", "x") if with_keys else ("jobs poll", "jobs cancel")
        return f"poll it ({poll}), and cancel it where that is possible ({cancel})"
    return ""


def why_not_cancel(row: JobRow) -> str:
    """Return why there is nothing to cancel at TokenLab; empty where it can be asked for."""
    create = row.create
    where = "" if create.side == "tokenlab" else ", on the previous side"
    if create.task_id is None:
        return f"it has no known task{where}"
    if create.is_over or where:
        return f"it is {row.standing}{where}"
    return ""


def why_not_forget(row: JobRow) -> str:
    """Return why a job is not to be forgotten; empty where its create's outcome is unknown."""
    if row.standing == "unknown":
        return ""
    if row.standing == "sending":
        return "its answer may still come; after 15 minutes without one it is unknown"
    return f"it is {row.standing}: what became of its create is known"


def repeated_line(pair: Repeated) -> str:
    """Return one pair of creates that may be one job made twice, as a sentence with both ids."""
    first, second = pair.first, pair.second
    gap = seconds_text(second.sent_at - first.sent_at)
    return (
        f"{target_text(second.route, second.org)}: {REPEATED_WORDS[pair.kind]} after {gap}:"
        f" {named(first)}, then {named(second)}"
    )


def named(create: Create) -> str:
    """Return the task of a create with its cost and side."""
    cost = f" (${create.cost})" if create.cost else ""
    return f"{create.task_id or 'no task known'}{cost} on {create.side}"
