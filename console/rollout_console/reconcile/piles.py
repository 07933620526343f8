"""The piles of a reconciliation: their rows, drilled into one by one, and their exact sums."""

import heapq
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec

from rollout_console.reconcile.log_lines import POSSIBLE, RELEASED, LogRead, Period
from rollout_console.reconcile.matching import BY_BILLING, BY_TRANSACTION
from rollout_console.reconcile.money import EXACT, ZERO, stored

Name = Literal["matched", "billed-only", "logged-only", "settling", "no-id"]
PILES: tuple[Name, ...] = get_args(Name)

Order = Literal["newest", "dearest", "oldest"]
ORDERS: tuple[Order, ...] = get_args(Order)
"""Orders of a pile's rows. The dearest lines, which have no cost, are those with most tokens."""

_BY_RECORD: Mapping[Order, str] = {
    "newest": "r.at DESC, r.id DESC",
    "dearest": "CAST(r.cost AS REAL) DESC, r.at DESC, r.id DESC",
    "oldest": "r.at, r.id",
}
_BY_LINE: Mapping[Order, str] = {
    "newest": "l.at DESC, l.id DESC",
    "dearest": "l.tokens_in + l.tokens_out DESC, l.at DESC, l.id DESC",
    "oldest": "l.at, l.id",
}

_HOW = {BY_BILLING: "billing_transaction_id", BY_TRANSACTION: "transaction"}
_RECORD = (
    "r.at, r.key_id, r.model, r.scene, r.request_id, r.billing_id, r.unit, r.quantity,"
    " r.tokens_in, r.tokens_out, r.cost, r.is_refund"
)


class Row(msgspec.Struct, frozen=True):
    """A record, a line, or a record with its line; times are epoch microseconds.

    ``cost`` is None for a line alone: the log has no cost. ``reason`` says why there is no partner
    or, of a matched one, what is special. ``attempt`` is 2 or more where the line is of a retry.
    """

    pile: Name
    at: int | None = None
    line_at: int | None = None
    key_id: str = ""
    route: str = ""
    org: str = ""
    model: str = ""
    scene: str = ""
    cost: Decimal | None = None
    unit: str = ""
    quantity: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    request_id: str = ""
    billing_id: str = ""
    task_id: str = ""
    status: int | None = None
    matched_by: str = ""
    reason: str = ""
    attempt: int = 1


def time_of(row: Row) -> int:
    """Return the time of a row in epoch microseconds: its record's, else its line's."""
    return row.at if row.at is not None else row.line_at or 0


class Figures(msgspec.Struct):
    """Counts and the exact cost of some rows; ``tokens`` are those of lines that have no cost."""

    records: int = 0
    lines: int = 0
    cost: Decimal = ZERO
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, row: Row) -> None:
        """Count a row."""
        if row.cost is None:
            self.lines += 1
            self.tokens_in += row.tokens_in
            self.tokens_out += row.tokens_out
        else:
            self.records += 1
            self.cost = EXACT.add(self.cost, row.cost)


Group = tuple[str, str, str, str]
"""Route, org, model and API key of a row; empty where it has none."""


class Pile(msgspec.Struct):
    """The sums of a pile, and of its groups; ``special`` are by the reasons of its rows."""

    all: Figures = msgspec.field(default_factory=Figures)
    groups: dict[Group, Figures] = msgspec.field(default_factory=dict)
    special: dict[str, Figures] = msgspec.field(default_factory=dict)
    how: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Count a row."""
        self.all.add(row)
        group = row.route, row.org, row.model, row.key_id
        self.groups.setdefault(group, Figures()).add(row)
        if row.reason:
            self.special.setdefault(row.reason, Figures()).add(row)
        if row.matched_by:
            self.how[row.matched_by] += 1

    def by(self, place: int) -> dict[str, Figures]:
        """Return the sums by one part of the groups: 0 route, 1 org, 2 model, 3 key."""
        found: dict[str, Figures] = {}
        for group, figures in self.groups.items():
            one = found.setdefault(group[place], Figures())
            one.records += figures.records
            one.lines += figures.lines
            one.tokens_in += figures.tokens_in
            one.tokens_out += figures.tokens_out
            one.cost = EXACT.add(one.cost, figures.cost)
        return dict(sorted(found.items(), key=lambda pair: (-pair[1].cost, pair[0])))


class Cutoffs(msgspec.Struct, frozen=True):
    """The times (epoch seconds) from which on a partner may still be to come."""

    text: float
    tasks: float


class Reconciled:
    """The rows and sums of one reconciliation, on an open snapshot of the store.

    Every record of the period is in exactly one of matched, billed-only and settling, and every
    charged line in exactly one of matched, logged-only, settling and no-id.
    """

    def __init__(
        self, db: sqlite3.Connection, period: Period, log: LogRead, cutoffs: Cutoffs, *,
        margins: tuple[int, int],
        key_id: str = "", of_some_lines: bool = False,
    ) -> None:  # fmt: skip
        self.period = period
        self.log = log
        self.cutoffs = cutoffs
        self.of_one_key = bool(key_id)
        self.of_some_lines = of_some_lines
        self._db = db
        since, until = period.micros
        self._given = {"since": since, "until": until, "key": key_id}
        self._key = "AND r.key_id = :key" if key_id else ""
        self.piles: Mapping[Name, Pile] = {name: Pile() for name in PILES}
        self.elsewhere = Figures()
        for row in self.rows():
            self.piles[row.pile].add(row)
        if of_some_lines:
            for row in self._unmatched_records():
                self.elsewhere.add(row)
        self._margins = margins
        self.edge_lines = self._edge_lines()

    def rows(self, *piles: Name) -> Iterator[Row]:
        """Yield the rows of some piles, or of all: those with a record first, by time."""
        wanted = piles or PILES
        if "matched" in wanted:
            yield from self._matched()
        # Which route and org an unmatched record is of nobody can say.
        if not self.of_some_lines:
            yield from (row for row in self._unmatched_records() if row.pile in wanted)
        # Which API key an unmatched line used the log does not say.
        if not self.of_one_key:
            yield from (row for row in self._unmatched_lines() if row.pile in wanted)

    def listing(self, pile: Name, order: Order) -> Iterator[Row]:
        """Yield the rows of one pile in an order, lazily: by time the first come without a sort.

        The dearest records come before all lines, which have no cost.
        """
        records: Iterator[Row] = iter(())
        if pile == "matched":
            records = self._matched(order)
        elif not self.of_some_lines:
            records = (row for row in self._unmatched_records(order) if row.pile == pile)
        lines: Iterator[Row] = iter(())
        if pile != "matched" and not self.of_one_key:
            lines = (row for row in self._unmatched_lines(order) if row.pile == pile)
        if order == "dearest":
            yield from records
            yield from lines
        else:
            yield from heapq.merge(records, lines, key=time_of, reverse=order == "newest")

    @property
    def records(self) -> Figures:
        """The records of the period: the sum of the piles."""
        found = Figures()
        for pile in self.piles.values():
            found.records += pile.all.records
            found.cost = EXACT.add(found.cost, pile.all.cost)
        return found

    @property
    def has_gap(self) -> bool:
        """Whether something was billed and not logged, or logged and not billed.

        A refund of what the log does not have is told, and is no gap.
        """
        billed = self.piles["billed-only"]
        refunds = billed.special.get("refund", Figures()).records
        missing = self.piles["logged-only"].all.lines + self.unexplained
        return billed.all.records > refunds or missing > 0

    @property
    def is_ok(self) -> bool:
        """Whether there is no gap, by a log that could be read."""
        return not self.has_gap and not self.log.unreadable

    @property
    def unexplained(self) -> int:
        """How many lines without an id have no unmatched record of their model either."""
        return sum(
            max(lines.lines - records.records, 0) for lines, records in self.without_ids().values()
        )

    def without_ids(self) -> dict[str, tuple[Figures, Figures]]:
        """Return, by model, the lines without an id, and the records without a line.

        Which belongs to which cannot be told; whether there are as many of both can.
        """
        lines = self.piles["no-id"].by(2)
        records = self.piles["billed-only"].by(2)
        return {model: (one, records.get(model, Figures())) for model, one in lines.items()}

    def _matched(self, order: Order = "oldest") -> Iterator[Row]:
        found = self._db.execute(
            f"SELECT {_RECORD}, l.at, l.route, l.org, l.status, l.task_id, l.kind, l.outcome,"  # noqa: S608
            " m.how, l.attempt"
            # CROSS JOIN keeps this order: by time from an index, without sorting all rows.
            " FROM main.records r CROSS JOIN log.matches m ON m.record = r.id"
            " CROSS JOIN log.lines l ON l.id = m.line"
            f" WHERE r.at >= :since AND r.at < :until {self._key} ORDER BY {_BY_RECORD[order]}",
            self._given,
        )
        for (
            *record, is_refund, line_at, route, org, status, task_id, kind, outcome, how, attempt,
        ) in found:  # fmt: skip
            reason = ""
            if is_refund:
                reason = "refund"
            elif kind == RELEASED or (
                kind == POSSIBLE and (not 200 <= status < 300 or outcome not in (None, "ok"))
            ):
                reason = "failed"
            yield _row(
                "matched", record, reason, line_at, route, org, status, task_id,
                _HOW.get(how, "request_id"), attempt,
            )  # fmt: skip

    def _unmatched_records(self, order: Order = "oldest") -> Iterator[Row]:
        found = self._db.execute(
            f"SELECT {_RECORD}, EXISTS (SELECT 1 FROM log.lines l"  # noqa: S608
            " WHERE l.request_id = substr(r.request_id, 1, 200))"
            " FROM main.records r WHERE r.at >= :since AND r.at < :until"
            " AND NOT EXISTS (SELECT 1 FROM log.matches m WHERE m.record = r.id)"
            f" {self._key} ORDER BY {_BY_RECORD[order]}",
            self._given,
        )
        for *record, is_refund, is_known in found:
            at = record[0] / 1e6
            if at >= self.cutoffs.text:
                yield _row("settling", record)
                continue
            if is_refund:
                reason = "refund"
            elif is_known:
                reason = "charged again"
            elif at < self.log.begins_at:
                reason = "before the log"
            elif record[4] is None and record[5] is None:
                reason = "no id"
            else:
                reason = "not in the log"
            yield _row("billed-only", record, reason)

    def _unmatched_lines(self, order: Order = "oldest") -> Iterator[Row]:
        found = self._db.execute(
            "SELECT l.at, l.route, l.org, l.model, l.status, l.request_id, l.billing_id, l.task_id,"  # noqa: S608
            " l.tokens_in, l.tokens_out, l.is_async FROM log.lines l"
            " WHERE l.inside = 1 AND l.kind = 0"
            " AND NOT EXISTS (SELECT 1 FROM log.matches m WHERE m.line = l.id)"
            " AND NOT EXISTS (SELECT 1 FROM log.lines k JOIN log.matches m ON m.line = k.id"
            f" WHERE k.billing_id = l.billing_id) ORDER BY {_BY_LINE[order]}"
        )
        for (
            at, route, org, model, status, request_id, billing_id, task_id, tokens_in, tokens_out,
            is_async,
        ) in found:  # fmt: skip
            pile: Name = "logged-only"
            reason = "billing id unknown" if billing_id else "request id unknown"
            if at / 1e6 >= (self.cutoffs.tasks if is_async else self.cutoffs.text):
                pile, reason = "settling", ""
            elif request_id is None and billing_id is None:
                pile, reason = "no-id", ""
            yield Row(
                pile, line_at=at, route=route, org=org, model=model, status=status,
                tokens_in=tokens_in, tokens_out=tokens_out, request_id=request_id or "",
                billing_id=billing_id or "", task_id=task_id or "", reason=reason,
            )  # fmt: skip

    def _edge_lines(self) -> int:
        """Count the lines of the period whose record is of the time before or after it."""
        found = self._db.execute(
            "SELECT count(DISTINCT l.id) FROM main.records r"
            " CROSS JOIN log.matches m ON m.record = r.id CROSS JOIN log.lines l ON l.id = m.line"
            " WHERE l.inside = 1 AND (r.at >= :least AND r.at < :since"
            " OR r.at >= :until AND r.at < :most)",
            {**self._given, "least": self._margins[0], "most": self._margins[1]},
        ).fetchone()
        return int(found[0])


def _row(
    pile: Name, record: Sequence[Any], reason: str = "", line_at: int | None = None,
    route: str = "", org: str = "", status: int | None = None, task_id: str | None = None,
    matched_by: str = "", attempt: int = 1,
) -> Row:  # fmt: skip
    (
        at, key_id, model, scene, request_id, billing_id, unit, quantity, tokens_in, tokens_out,
        cost,
    ) = record  # fmt: skip
    return Row(
        pile, at=at, line_at=line_at, key_id=key_id, route=route, org=org, model=model,
        scene=scene, cost=stored(cost), unit=unit, quantity=quantity, tokens_in=tokens_in,
        tokens_out=tokens_out, request_id=request_id or "", billing_id=billing_id or "",
        task_id=task_id or "", status=status, matched_by=matched_by, reason=reason,
        attempt=attempt,
    )  # fmt: skip
