"""Why a bill differs, for machines: each part of a difference as a row of CSV or JSON Lines."""

import csv
import io
import json
from pathlib import Path
from typing import Literal, NamedTuple

from rollout_console.changes.output_file import PRIVATE, stream_output
from rollout_console.common.csv_cells import plain_cell
from rollout_console.cost.difference import Difference
from rollout_console.cost.tables import iso
from rollout_console.reconcile.money import plain
from rollout_gate.secret import redacted

_WHAT = "an earlier export of a difference"
COLUMNS = (
    "cause", "amount_usd", "where", "why", "since", "until", "earlier_since", "earlier_until",
)  # fmt: skip


class Periods(NamedTuple):
    """The period, and how much earlier the one is that it is compared with, in seconds."""

    since: float
    until: float
    shift_s: float


def write_difference(
    path: Path,
    found: Difference,
    periods: Periods,
    kind: Literal["csv", "jsonl"],
    *,
    rollout_file: Path,
) -> None:
    """Write every part, atomically and for the owner alone; amounts add up to the difference.

    An earlier export of the same kind is replaced, and nothing else. Raises OperationError.
    """
    shift_s = periods.shift_s
    times = [
        iso(at)
        for at in (
            periods.since, periods.until, periods.since - shift_s, periods.until - shift_s,
        )
    ]  # fmt: skip
    rows = [
        [one.cause, plain(one.amount), redacted(one.where), redacted(one.why), *times]
        for one in found.items
    ]
    if kind == "csv":
        data, head = _csv(rows), ",".join(COLUMNS)
    else:
        objects = (dict(zip(COLUMNS, row, strict=True)) for row in rows)
        data = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in objects)
        head = f'{{"{COLUMNS[0]}":"'
    stream_output(
        path, lambda stream: stream.write(data.encode("utf-8", "backslashreplace")),
        rollout_file=rollout_file, what=_WHAT,
        is_what=lambda known: known.startswith(head.encode()), mode=PRIVATE,
    )  # fmt: skip


def _csv(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cause, amount, where, why, *times in rows:
        writer.writerow([cause, amount, plain_cell(where), plain_cell(why), *times])
    return buffer.getvalue()
