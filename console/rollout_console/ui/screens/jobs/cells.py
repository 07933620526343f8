"""Render a job as the cells of a row, and as the lines of its details."""

from collections.abc import Iterator, Mapping

from rollout_console.common.durations import seconds_text, target_text
from rollout_console.common.safe_text import visible
from rollout_console.jobs.job_book import JobRow, Repeated, Standing
from rollout_console.jobs.job_facts import REPEATED_WORDS, advice, known_facts, named
from rollout_console.ui.text import fit, fit_middle, shown
from rollout_console.ui.widgets.line_table import Cells

STYLES: Mapping[Standing, str] = {
    "unknown": "bad", "lost": "bad", "late": "warn", "failed": "warn", "open": "dim",
    "sending": "dim", "cancelled": "", "completed": "good",
}  # fmt: skip
"""Red asks to act, amber is over a limit or failed, dim waits: beside the word, which says it."""
_THEME = {"bad": "$error bold", "warn": "$warning", "dim": "$foreground 60%", "good": "$success"}
_STANDING, _TIME = 10, 10
_SIDE, _PROGRESS = 9, 5
_TASK = 40
"""The width of a whole task id, as TokenLab makes them."""
_MOST_PAIRS = 200


class JobCells:
    """The columns for one width; a narrow one has neither side, progress nor ids."""

    def __init__(self, width: int) -> None:
        is_narrow, is_broad, is_vast = width < 60, width >= 98, width >= 150
        side, progress = (0, 0) if is_narrow else (_SIDE, _PROGRESS)
        error = 0 if not is_broad else 22 if is_vast else 17
        polls = 6 if is_broad else 0
        model, host = (22, 14) if is_vast else (0, 0)
        left = width - _STANDING - _TIME - side - progress - error - polls - model - host
        name = max(left if is_narrow else min(32, left * 2 // 5), 8)
        ids = left - name
        task = 0 if is_narrow else min(_TASK, max(ids * 11 // 20, ids - 22))
        job = 0 if is_narrow else ids - task
        self._widths = (
            _STANDING, name, side, _TIME, progress, task, job, error, polls, model, host,
        )  # fmt: skip

    def header(self) -> Cells:
        """Return the names of the columns."""
        names = (
            "standing", "route / org", "side", "time", "done", "task id", "job id", "error",
            "polls", "model", "host",
        )  # fmt: skip
        cells = (
            fit(name, width - 1) + " "
            for name, width in zip(names, self._widths, strict=True) if width
        )  # fmt: skip
        return [(" " + "".join(cells), "table--head")]

    def row(self, row: JobRow, now: float) -> Cells:
        """Return a job's cells."""
        create, style = row.create, STYLES[row.standing]
        of_standing = f"table--{style}" if style else ""
        is_over = row.standing in ("completed", "failed", "cancelled")
        texts = (
            (row.standing, of_standing),
            (target_text(create.route, create.org), ""),
            (create.side, "table--dim"),
            (time_text(row, now), "" if is_over else of_standing),
            (progress_text(row), ""),
            (create.task_id or "–", "table--dim"),
            (create.job_id or "–", "table--dim"),
            (create.error or "", "table--warn"),
            (str(create.polls), "table--dim"),
            (create.model, "table--dim"),
            (create.host, "table--dim"),
        )
        return [
            (fit_middle(shown(text), width - 1) + " ", name)
            for (text, name), width in zip(texts, self._widths, strict=True)
            if width
        ]


def time_text(row: JobRow, now: float) -> str:
    """Return how old a job is, or how long it took once it has ended."""
    create = row.create
    if create.ended_at is not None:
        return seconds_text(create.ended_at - create.sent_at)
    # Whole seconds: tenths would differ, and be repainted, at every tick.
    age = max(now - create.sent_at, 0.0)
    return f"{age:.0f} s" if age < 10 else seconds_text(age)


def progress_text(row: JobRow) -> str:
    """Return the last progress that was told of a job that runs."""
    progress = row.create.progress
    return f"{progress}%" if progress is not None and row.create.state == "open" else ""


def count_pieces(counts: Mapping[Standing, int], width: int) -> Iterator[tuple[str, str]]:
    """Yield the counts by standing in the order given, each with its style."""
    gap = " " if width >= 100 else ""
    for standing, count in counts.items():
        yield f" {count:,} {standing}{gap}", _THEME.get(STYLES[standing], "")


def about_lines(row: JobRow, now: float) -> Iterator[tuple[str, str]]:
    """Yield two lines below the table, with what a narrow one cuts: ids, and what to do."""
    create = row.create
    task = f"task {create.task_id}" if create.task_id else "no task is known"
    job = f"  job {create.job_id}" if create.job_id else ""
    where = target_text(create.route, create.org)
    yield shown(f"{task}{job}"), "bold"
    if to_do := advice(row, with_keys=True):
        yield shown(f"{where}: {to_do}"), _THEME[STYLES[row.standing]]
    elif create.error:
        yield shown(f"{where}: error {create.error}"), "$warning"
    elif create.seen_at is not None:
        seen = seconds_text(max(now - create.seen_at, 0.0))
        yield shown(f"{where}: its state was last told {seen} ago"), "$foreground 60%"
    else:
        yield shown(where), "$foreground 60%"


def detail_lines(row: JobRow, now: float) -> list[str]:
    """Return everything that is known of a job, and what to do."""
    facts = [(name.replace("_", " "), text) for name, text in known_facts(row, now)]
    lines = [f"{name:<22} {shown(text)}" for name, text in facts]
    to_do = advice(row, with_keys=True)
    return [*lines, "", f"what to do: {shown(to_do)}"] if to_do else lines


def ids_of(row: JobRow) -> list[str]:
    """Return a job's ids, the one that is asked for first: task, job, request, billing."""
    create = row.create
    every = (create.task_id, create.job_id, create.request_id, create.billing_transaction_id)
    return [visible(one) for one in every if one]


def pair_lines(pairs: list[Repeated]) -> list[str]:
    """Return the lines about jobs that were perhaps made twice."""
    lines = []
    for pair in pairs[:_MOST_PAIRS]:
        first, second = pair.first, pair.second
        gap = seconds_text(second.sent_at - first.sent_at)
        where = target_text(second.route, second.org)
        lines.append(shown(f"{where}: {REPEATED_WORDS[pair.kind]}, after {gap}"))
        for create in (first, second):
            job = f"  job {create.job_id}" if create.job_id else ""
            lines.append(shown(f"    {named(create)}{job}"))
    if len(pairs) > _MOST_PAIRS:
        lines.append(f"… and {len(pairs) - _MOST_PAIRS:,} more: rollout-console jobs duplicates")
    return lines
