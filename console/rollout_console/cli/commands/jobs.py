"""``jobs``: the async media jobs of a rollout, polled, cancelled and forgotten."""

import asyncio
import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from rollout_console.changes.switch import Switch
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.durations import brief_seconds, seconds_text, target_text
from rollout_console.common.errors import OperationError
from rollout_console.common.folders import folder_of
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.health.log.record import JobRecord
from rollout_console.health.log.time_range import LogReader
from rollout_console.jobs.cancelling import cancel_task
from rollout_console.jobs.job_book import (
    STANDINGS,
    TROUBLE,
    JobBook,
    JobRow,
    Repeated,
    Standing,
    job_book,
)
from rollout_console.jobs.job_facts import (
    advice,
    job_json,
    known_facts,
    repeated_line,
    why_not_cancel,
)
from rollout_console.jobs.log_feed import take_in_file
from rollout_console.jobs.outcomes import Ended, ended_json
from rollout_console.jobs.poller import Polled, TaskPoller
from rollout_gate.access_log import timestamp
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.model import RolloutFile
from rollout_gate.http.create_records import Create

_DAY_S = 86_400.0


def jobs(options: Namespace, switch: Switch, room: ApiKeys | None = None) -> int:
    """Run one of the ``jobs`` commands; ``room`` is None for those that need no credential."""
    file = switch.open_or_last_good().file
    book = job_book(switch.path, file)
    try:
        if options.jobs_command in ("poll", "cancel"):
            assert room is not None
            options.access.require()
            command = _poll if options.jobs_command == "poll" else _cancel
            return asyncio.run(command(options, book, room))
        if not options.read_only and options.jobs_command != "forget":
            _take_in(book, switch, file)
        if options.jobs_command == "list":
            return _list(options, book, file)
        return _COMMANDS[options.jobs_command](options, book)
    finally:
        book.close()


def _take_in(book: JobBook, switch: Switch, file: RolloutFile) -> None:
    """Add other hosts' jobs from the access log; what prevents it is a warning.

    Where there is no ledger yet none is made: it would be the operator's, and not the
    application's, which may then be unable to write to it.
    """
    if not book.exists:
        return
    reader = LogReader((folder_of(switch.path) / file.access_log).absolute(), JobRecord)
    try:
        take_in_file(book.path, reader.between, time.time())
    except OperationError as error:
        print(f"warning: without other hosts' jobs: {visible(str(error))}", file=sys.stderr)


def _list(options: Namespace, book: JobBook, file: RolloutFile) -> int:
    now = time.time()
    since = options.since if options.since is not None else now - _DAY_S
    wanted = _standings(options.state)
    rows = book.rows(
        now, since=since, standings=wanted, route=options.route, org=options.org,
        most=options.limit,
    )  # fmt: skip
    counts = book.counts(now, since=since, route=options.route, org=options.org)
    ended = book.ended(since=since, route=options.route, org=options.org)
    if options.route and not counts and options.route not in file.routes and book.exists:
        raise UnknownRoute(options.route, list(file.routes))
    if options.json:
        body = {
            "ledger": str(book.path),
            "counts": _counts_json(counts),
            "ended": [
                {"route": route, "side": side, **ended_json(one)}
                for (route, side), one in sorted(ended.items())
            ],
            "jobs": [job_json(row, now) for row in rows],
        }
        print(json.dumps(body, indent=2))
        return DONE
    if not book.exists:
        print(
            f"no jobs: {visible(str(book.path))} is not there; the gate's client makes it with the"
            " first async create",
            file=sys.stderr,
        )
        return DONE
    for row in rows:
        print(visible(_line(row, now)))
    print(visible(_summary(counts)), file=sys.stderr)
    among = sum(n for (_, standing), n in counts.items() if not wanted or standing in wanted)
    if among > len(rows):
        print(f"the first {len(rows):,} of {among:,} are listed: --limit", file=sys.stderr)
    for (route, side), one in sorted(ended.items()):
        print(visible(f"{route}, {side}: {ended_words(one)}"), file=sys.stderr)
    return DONE


def ended_words(ended: Ended) -> str:
    """Return how jobs have ended, in words."""
    said = f"{ended.count - ended.late:,} ended, {ended.failed_percent:.0f}% failed"
    if ended.late:
        said = f"{ended.count:,} ended or late ({ended.late:,}), {ended.failed_percent:.0f}% failed"
    if ended.refused:
        said += f" ({ended.refused:,} more by what they asked for)"
    if not ended.completed:
        return said
    return (
        f"{said}, to the asset p50 {brief_seconds(ended.p50_s)}, p95 {brief_seconds(ended.p95_s)}"
    )


def _standings(asked: Sequence[str]) -> list[Standing]:
    return [one for one in STANDINGS if one in asked or ("trouble" in asked and one in TROUBLE)]


def _counts_json(counts: dict[tuple[str, Standing], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (route, standing), count in sorted(counts.items()):
        found.setdefault(route, {})[standing] = count
    return found


def _summary(counts: dict[tuple[str, Standing], int]) -> str:
    if not counts:
        return "no jobs"
    totals = [(one, sum(n for (_, s), n in counts.items() if s == one)) for one in STANDINGS]
    return ", ".join(f"{count:,} {one}" for one, count in totals if count)


def _line(row: JobRow, now: float) -> str:
    create = row.create
    ran = (create.ended_at or now) - create.sent_at
    name = create.task_id or "-"
    job = f"  job {create.job_id}" if create.job_id else ""
    error = f"  {create.error}" if create.error else ""
    progress = (
        f" {create.progress}%" if create.progress and row.standing in ("open", "late") else ""
    )
    return (
        f"{timestamp(datetime.fromtimestamp(create.sent_at, UTC))}  {row.standing}{progress}"
        f"  {target_text(create.route, create.org)}  {create.side}  {seconds_text(ran)}"
        f"  {name}{job}{error}"
    )


def _show(options: Namespace, book: JobBook) -> int:
    now = time.time()
    rows = _found(options.job, book, now)
    if options.json:
        print(json.dumps([job_json(row, now) for row in rows], indent=2))
        return DONE
    for row in rows:
        for name, value in known_facts(row, now):
            print(visible(f"{name}: {value}"))
        if to_do := advice(row):
            print(visible(f"what to do: {to_do}"))
    return DONE


def _found(text: str, book: JobBook, now: float) -> list[JobRow]:
    rows = book.find(text, now)
    if not rows:
        raise OperationError(f"no job has the task id or job id {text!r} in {book.path}")
    return rows


def _duplicates(options: Namespace, book: JobBook) -> int:
    now = time.time()
    since = options.since if options.since is not None else now - _DAY_S
    pairs = book.repeated(since=since, window_s=options.window)
    if options.json:
        print(json.dumps([_pair_json(pair) for pair in pairs], indent=2))
        return PROBLEMS if pairs else DONE
    for pair in pairs:
        print(visible(repeated_line(pair)))
    count = {0: "no duplicates", 1: "1 duplicate"}.get(len(pairs), f"{len(pairs):,} duplicates")
    print(count, file=sys.stderr)
    return PROBLEMS if pairs else DONE


def _pair_json(pair: Repeated) -> dict[str, object]:
    def side(one: Create) -> dict[str, object]:
        return {
            "task_id": one.task_id, "job_id": one.job_id or None, "side": one.side,
            "sent_at": timestamp(datetime.fromtimestamp(one.sent_at, UTC)), "cost_usd": one.cost,
            "billing_transaction_id": one.billing_transaction_id,
        }  # fmt: skip

    second = pair.second
    return {
        "route": second.route, "org": second.org, "kind": pair.kind,
        "first": side(pair.first), "second": side(second),
    }  # fmt: skip


async def _poll(options: Namespace, book: JobBook, room: ApiKeys) -> int:
    async with room.tasks() as client:
        poller = TaskPoller(book, client, clock=time.time)
        while True:
            found = await poller.turn(partial(_print_polled, options))
            if options.once or any(polled.key_is_refused for polled in found):
                return PROBLEMS if any(polled.answer is None for polled in found) else DONE
            if not await asyncio.to_thread(book.to_poll, 1):
                return DONE
            await asyncio.sleep(max(poller.next_in_s(), 0.2))


def _print_polled(options: Namespace, polled: Polled) -> None:
    create, answer = polled.create, polled.answer
    state = "?" if answer is None else answer.state
    if options.json:
        line = {
            "route": create.route, "org": create.org, "task_id": create.task_id, "state": state,
            "progress": None if answer is None else answer.progress, "problem": polled.problem,
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        return
    progress = f" {answer.progress}%" if answer is not None and answer.progress else ""
    problem = f": {polled.problem}" if polled.problem else ""
    where = target_text(create.route, create.org)
    print(visible(f"{where}  {create.task_id}  {state}{progress}{problem}"), flush=True)


async def _cancel(options: Namespace, book: JobBook, room: ApiKeys) -> int:
    (row, *others) = _found(options.job, book, time.time())
    create = row.create
    if others:
        raise OperationError(f"{options.job!r} is of several jobs: give the task id of one")
    if why := why_not_cancel(row):
        raise OperationError(f"{options.job} cannot be cancelled: {why}")
    asks = f"cancel {create.task_id} of {target_text(create.route, create.org)}"
    if not options.yes and not agreed("cancel it", "nothing was cancelled", lines=[asks]):
        return PROBLEMS
    async with room.tasks() as client:
        answer = await cancel_task(book, client, create)
    if options.json:
        print(json.dumps({"task_id": create.task_id, "state": answer.state}))
    else:
        print(visible(f"{create.task_id}: {answer.state}"))
    return DONE if answer.state == "cancelled" else PROBLEMS


def _forget(options: Namespace, book: JobBook) -> int:
    options.access.require()
    rows = [
        row.create
        for row in book.find(options.job, time.time())
        if (row.create.route, row.create.org) == (options.route, options.org)
        and options.job in (row.create.job_id, row.create.create_id)
    ]
    if not rows:
        raise OperationError(
            f"route {options.route} has no job {options.job}"
            f"{f' of org {options.org}' if options.org else ' without an org; give --org'}"
        )
    lines = [f"job {options.job} of {target_text(options.route, options.org)} may be created again"]
    lines += [f"{one.task_id} on {one.side} is {one.state}" for one in rows if one.task_id]
    if not options.yes and not agreed("forget it", "nothing was changed", lines=lines):
        return PROBLEMS
    unnamed = [one for one in rows if not one.job_id]
    for one in unnamed:
        if one.state != "unknown":
            raise OperationError(f"{options.job} is {one.state}: there is nothing to forget")
        book.forget_create(one)
    if not unnamed:
        book.forget(options.route, rows[0].job_id, options.org)
    if options.json:
        print(json.dumps({"route": options.route, "org": options.org, "job_id": options.job}))
    else:
        print(visible(f"{options.job} is forgotten: it may be created again"))
    return DONE


_COMMANDS = {"show": _show, "forget": _forget, "duplicates": _duplicates}
