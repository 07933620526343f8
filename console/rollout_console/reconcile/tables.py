"""A reconciliation for machines: a JSON object, rows of JSON, and exports as CSV and JSON Lines."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from rollout_console.changes.output_file import stream_output
from rollout_console.common.csv_cells import plain_cell
from rollout_console.reconcile.money import plain
from rollout_console.reconcile.piles import PILES, Figures, Name, Pile, Row
from rollout_console.reconcile.reconciliation import Outcome
from rollout_gate.secret import redacted

COLUMNS = (
    "pile", "at", "line_at", "key_id", "key", "route", "org", "model", "scene", "cost_usd", "unit",
    "quantity", "tokens_in", "tokens_out", "request_id", "billing_transaction_id", "task_id",
    "status", "matched_by", "reason",
)  # fmt: skip
_NAMES = frozenset(
    ("key_id", "key", "route", "org", "model", "scene", "unit", "request_id",
     "billing_transaction_id", "task_id")
)  # fmt: skip
"""Columns whose texts are from outside."""
_LISTS = ("route", "org", "model", "key")
_WHAT = "an earlier export of reconcile"


def row_json(row: Row, outcome: Outcome) -> dict[str, Any]:
    """Return a row as a JSON object, with the columns of an export; null is what it has not."""
    values = (
        row.pile, _iso(row.at), _iso(row.line_at), row.key_id or None,
        outcome.key_name(row.key_id) or None, row.route or None, row.org or None,
        row.model or None, row.scene or None, None if row.cost is None else plain(row.cost),
        row.unit or None, row.quantity or None, row.tokens_in, row.tokens_out,
        row.request_id or None, row.billing_id or None, row.task_id or None, row.status,
        row.matched_by or None, row.reason or None,
    )  # fmt: skip
    return {
        name: redacted(value) if name in _NAMES and isinstance(value, str) else value
        for name, value in zip(COLUMNS, values, strict=True)
    }


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object that ``reconcile --json`` prints; amounts are decimal strings."""
    piles, asked = outcome.piles, outcome.asked
    matched = piles.piles["matched"]
    return {
        "ok": piles.is_ok,
        "since": _iso_s(asked.since),
        "until": _iso_s(asked.until),
        "profile": outcome.profile,
        "base_url": outcome.base_url,
        "keys": [
            {"id": key.id, "name": redacted(key.name), "status": key.status, "listed": key.listed}
            for key in outcome.keys
        ],
        "read_until": _iso_s(outcome.horizon),
        "requests": outcome.requests,
        "pulled": outcome.pulled,
        "records": _figures(piles.records),
        "lines": {
            "tokenlab": piles.log.lines,
            "not_charged": piles.log.uncharged,
            "of_records_outside": piles.edge_lines,
        },
        "piles": {
            "matched": {
                **_pile(matched, outcome, ("route", "org", "model", "key")),
                "by_billing_transaction_id": matched.how["billing_transaction_id"],
                "by_request_id": matched.how["request_id"],
                "by_transaction": matched.how["transaction"],
            },
            "billed_only": _pile(piles.piles["billed-only"], outcome, ("model", "key")),
            "logged_only": _pile(piles.piles["logged-only"], outcome, ("route", "org", "model")),
            "settling": _pile(piles.piles["settling"], outcome, ("model",)),
            "no_id": _pile(piles.piles["no-id"], outcome, ("route", "org", "model")),
        },
        "elsewhere": _figures(piles.elsewhere) if piles.of_some_lines else None,
        "without_ids": [
            {"model": redacted(model), "lines": lines.lines, "unmatched_records": records.records,
             "cost_usd": plain(records.cost)}
            for model, (lines, records) in piles.without_ids().items()
        ],
        "warnings": [redacted(one) for one in outcome.words],
    }  # fmt: skip


def _pile(pile: Pile, outcome: Outcome, lists: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = _figures(pile.all)
    found["reasons"] = {reason: _figures(one) for reason, one in sorted(pile.special.items())}
    for name in lists:
        place = _LISTS.index(name)
        found[f"by_{name}"] = [
            {name: redacted(outcome.key_name(text) if name == "key" else text), **_figures(one)}
            for text, one in pile.by(place).items()
        ]
    return found


def _figures(one: Figures) -> dict[str, Any]:
    return {
        "records": one.records, "cost_usd": plain(one.cost), "lines": one.lines,
        "tokens_in": one.tokens_in, "tokens_out": one.tokens_out,
    }  # fmt: skip


def write_csv(
    path: Path, outcome: Outcome, piles: tuple[Name, ...] = PILES, *, rollout_file: Path
) -> None:
    """Write the rows of some piles as CSV, atomically and for the owner alone.

    An earlier export is replaced, and nothing else. Raises OperationError.
    """
    head = ",".join(COLUMNS).encode()
    _write(path, lambda: _csv(outcome, piles), rollout_file, lambda data: data.startswith(head))


def write_jsonl(
    path: Path, outcome: Outcome, piles: tuple[Name, ...] = PILES, *, rollout_file: Path
) -> None:
    """Write the rows of some piles as JSON Lines, as ``write_csv`` does."""
    encode = msgspec.json.Encoder().encode
    _write(
        path,
        lambda: (encode(row_json(row, outcome)) + b"\n" for row in outcome.piles.rows(*piles)),
        rollout_file,
        lambda data: data.startswith(b'{"pile":"'),
    )


def _write(
    path: Path, parts: Callable[[], Iterator[bytes]], rollout_file: Path,
    is_what: Callable[[bytes], bool],
) -> None:  # fmt: skip
    def write(stream: BinaryIO) -> None:
        for part in parts():
            stream.write(part)

    stream_output(path, write, rollout_file=rollout_file, what=_WHAT, is_what=is_what)


def _csv(outcome: Outcome, piles: tuple[Name, ...]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in outcome.piles.rows(*piles):
        writer.writerow(
            "" if value is None else plain_cell(value) if name in _NAMES else value
            for name, value in row_json(row, outcome).items()
        )
        if buffer.tell() > 64 * 1024:
            yield buffer.getvalue().encode("utf-8", "backslashreplace")
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode("utf-8", "backslashreplace")


def _iso(at: int | None) -> str | None:
    if at is None:
        return None
    whole, rest = divmod(at, 1_000_000)
    text = datetime.fromtimestamp(whole, UTC).replace(microsecond=rest)
    return text.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _iso_s(at: float) -> str | None:
    return _iso(round(at * 1e6))
