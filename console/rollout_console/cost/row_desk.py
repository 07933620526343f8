"""Answer requests for rows of matched costs: views, piles, causes, exports."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible
from rollout_console.common.word_filter import WordFilter
from rollout_console.cost import tables as cost_tables
from rollout_console.cost.bill import Figures, View, ViewRow
from rollout_console.cost.burn import Burn
from rollout_console.cost.costs import Costs, compared
from rollout_console.cost.difference import Difference, Item, Sample
from rollout_console.cost.difference_export import Periods, write_difference
from rollout_console.cost.side_by_side import sides_of_rows
from rollout_console.cost.text import name_of
from rollout_console.cost.worker_protocol import (
    Answer,
    CauseSum,
    CostOrder,
    CostPage,
    CostRow,
    CostRows,
    Explain,
    Explained,
    Export,
    Exported,
    Loaded,
    Parts,
    PartsPage,
    PilePage,
    PileRows,
    PileSum,
    Request,
)
from rollout_console.reconcile import tables as pile_tables
from rollout_console.reconcile.piles import PILES, Reconciled, Row
from rollout_console.reconcile.piles import Figures as PileFigures
from rollout_console.reconcile.reconciliation import Outcome
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted

if TYPE_CHECKING:
    from rollout_console.credentials.api_keys import ApiKeys

SCAN_S = 1.0
"""Seconds that rows are looked through for one page: another request may be waiting."""
SCANNED = 256
"""After so many rows it is looked whether the time is over."""
_BY_REASON = ("matched", "billed-only", "logged-only")
_NO_GAP = ("refund",)


class _Listing(msgspec.Struct):
    """The rows of a pile that are still to come, and how many were served and looked at."""

    of: tuple[str, ...]
    rows: Iterator[Row]
    served: int = 0
    scanned: int = 0


class RowDesk:
    """Answers for one reconciliation, whose snapshot is open as long as this is used.

    A pile is listed lazily: the next page goes on where the one before ended, so that memory does
    not grow with the pile.
    """

    def __init__(
        self, costs: Costs, outcome: Outcome, room: "ApiKeys", file: RolloutFile, path: Path,
        folder: Path, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._costs = costs
        self._outcome = outcome
        self._room = room
        self._file = file
        self._path = path
        self._folder = folder
        self._clock = clock
        self._listing: _Listing | None = None
        self._difference: Difference | None = None
        self._periods = Periods(0.0, 0.0, 0.0)

    @property
    def burn(self) -> Burn:
        """The burn of the last day that was read."""
        return self._costs.burn

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request; raises OperationError."""
        match request:
            case CostRows():
                return self._cost_rows(request)
            case PileRows():
                return self._pile_rows(request)
            case Explain():
                return self._explain(request)
            case Parts():
                return self._parts(request)
            case Export():
                return self._export(request)

    # -- views of cost ---------------------------------------------------------------------------

    def _cost_rows(self, request: CostRows) -> CostPage:
        wanted, costs = WordFilter.of(request.text), self._costs
        rows = costs.bill.by(request.view, request.fixed)
        labels = {id(row): name_of(costs, request.view, row) for row in rows}
        found = [row for row in rows if wanted.passes((labels[id(row)], row.name))]
        found = _ordered(found, request.order, request.view, labels)
        sums = Figures()
        for row in found:
            sums.merge(row.figures)
        page = found[request.skip : request.skip + request.limit]
        previous = self._outcome.piles.log.previous
        sides = sides_of_rows(self._file, previous, request.view, request.fixed, page)
        shown = [
            CostRow(None if row.is_rest else row.name, labels[id(row)], row.figures, side)
            for row in page
            for side in (None if row.is_rest else sides.get(row.name),)
        ]
        return CostPage(request.serial, shown, len(found), sums)

    # -- piles -----------------------------------------------------------------------------------

    def _pile_rows(self, request: PileRows) -> PilePage:
        of = (request.pile, request.reason, request.text, request.order)
        listing = self._listing
        if listing is None or listing.of != of or listing.served != request.skip:
            rows = self._outcome.piles.listing(request.pile, request.order)
            listing = self._listing = _Listing(of, rows)
            self._page(listing, request, request.skip, until=None)
        page, is_end = self._page(listing, request, request.limit, until=monotonic() + SCAN_S)
        if is_end:
            self._listing = None
        return PilePage(request.serial, page, listing.scanned, is_end)

    def _page(
        self, listing: _Listing, request: PileRows, most: int, *, until: float | None
    ) -> tuple[list[Row], bool]:
        """Return the next rows that are asked for, and whether the pile has no more."""
        wanted, found, looked = WordFilter.of(request.text), list[Row](), False
        while len(found) < most:
            looks = listing.scanned % SCANNED == SCANNED - 1
            if until is not None and looks and looked and monotonic() > until:
                return found, False
            looked = True
            row = next(listing.rows, None)
            if row is None:
                return found, True
            listing.scanned += 1
            if request.reason in ("", row.reason) and wanted.passes(self._texts(row)):
                found.append(row)
                listing.served += 1
        return found, False

    def _texts(self, row: Row) -> tuple[str, ...]:
        return (
            row.route, row.org, row.model, row.scene, row.key_id,
            self._outcome.key_name(row.key_id), row.request_id, row.billing_id, row.task_id,
            row.reason, row.matched_by,
        )  # fmt: skip

    # -- the difference --------------------------------------------------------------------------

    def _explain(self, request: Explain) -> Explained:
        asked, outcome = self._costs.asked, self._outcome
        samples = Sample(), Sample(places=False)
        for row in outcome.piles.rows():
            if row.cost is not None:
                for sample in samples:
                    sample.add(row)
        begins_later = outcome.piles.log.begins_at > asked.since
        found, is_by_place, words = compared(
            asked, request.shift_s, self._room, self._file, self._path, self._folder, self._clock,
            samples, begins_later,
        )  # fmt: skip
        self._difference = found
        self._periods = Periods(asked.since, asked.until, request.shift_s)
        causes = []
        for cause, amount in found.causes.items():
            parts = [item for item in found.items if item.cause == cause]
            if parts:
                causes.append(CauseSum(cause, amount, len(parts), parts[0]))
        return Explained(
            request.serial, asked.since - request.shift_s, asked.until - request.shift_s,
            found.earlier, found.now, causes, is_by_place, [_said(one) for one in words],
        )  # fmt: skip

    def _parts(self, request: Parts) -> PartsPage:
        wanted, found = WordFilter.of(request.text), list[Item]()
        if self._difference is not None:
            found = [
                item
                for item in self._difference.items
                if item.cause == request.cause and wanted.passes((item.where, item.why))
            ]
        page = found[request.skip : request.skip + request.limit]
        return PartsPage(request.serial, page, len(found))

    # -- exports ---------------------------------------------------------------------------------

    def _export(self, request: Export) -> Exported:
        target = Path(os.fsdecode(request.target))
        if request.why:
            if self._difference is None:
                raise OperationError("the periods are not compared yet: export again then")
            write_difference(
                target, self._difference, self._periods, request.kind, rollout_file=self._path
            )
            return Exported(request.serial)
        if request.view is not None:
            cost_tables.write_csv(target, self._costs, (request.view,), rollout_file=self._path)
            return Exported(request.serial)
        piles = PILES if request.pile is None else (request.pile,)
        write = pile_tables.write_csv if request.kind == "csv" else pile_tables.write_jsonl
        write(target, self._outcome, piles, rollout_file=self._path)
        return Exported(request.serial)


def loaded_from(costs: Costs, outcome: Outcome) -> Loaded:
    """Return what is known at once of matched costs."""
    asked, piles = costs.asked, outcome.piles
    return Loaded(
        asked.since, asked.until, costs.now, costs.horizon, costs.is_settling, costs.bill.all,
        costs.bill.settling, costs.burn, costs.keys, list(_sums(piles)), piles.has_gap,
        piles.log.lines, piles.log.uncharged, piles.edge_lines, outcome.pulled,
        [_said(one) for one in costs.words],
    )  # fmt: skip


def nothing_pulled(span_s: float, now: float) -> Loaded:
    """Return what is known before the first pull."""
    none = Figures()
    return Loaded(
        now - span_s, now, now, None, False, none, none, Burn(now, none.cost, {}), (), (), False, 0,
        0, 0, 0, (),
    )  # fmt: skip


def _sums(piles: Reconciled) -> Iterator[PileSum]:
    """Yield each pile, and under it the parts that have a reason."""
    for name in PILES:
        pile = piles.piles[name]
        is_gap = {
            "billed-only": pile.all.records > pile.special.get("refund", PileFigures()).records,
            "logged-only": pile.all.lines > 0,
            "no-id": name == "no-id" and piles.unexplained > 0,
        }.get(name, False)
        yield PileSum(name, "", pile.all, is_gap)
        if name in _BY_REASON:
            for reason, figures in sorted(pile.special.items()):
                gap = name != "matched" and reason not in _NO_GAP
                yield PileSum(name, reason, figures, gap)


def _ordered(
    rows: list[ViewRow], order: CostOrder, view: View, labels: dict[int, str]
) -> list[ViewRow]:
    """Return rows in an order; the rests are last in each."""
    named = [row for row in rows if not row.is_rest]
    rests = [row for row in rows if row.is_rest]
    if order == "name":
        named.sort(key=lambda row: labels[id(row)].casefold(), reverse=view == "day")
    elif order == "requests":
        named.sort(key=lambda row: (-row.figures.requests, labels[id(row)]))
    elif order == "cost":
        named.sort(key=lambda row: (-row.figures.cost, labels[id(row)]))
    else:
        named.sort(key=lambda row: (-(row.figures.per_thousand or 0), labels[id(row)]))
    return [*named, *rests]


def _said(text: str) -> str:
    return redacted(visible(text))
