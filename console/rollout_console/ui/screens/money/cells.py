"""The columns of the money screen: of costs, piles, records, causes and their parts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rollout_console.cost.difference import Item
from rollout_console.cost.worker_protocol import CauseSum, CostRow, PileSum
from rollout_console.reconcile.piles import Name, Row, time_of
from rollout_console.reconcile.store import KnownKey
from rollout_console.reconcile.text import TITLES
from rollout_console.ui.screens.money.columns import Column, Layout, dollars, price_text
from rollout_console.ui.screens.money.state import Level, MoneyRow
from rollout_console.ui.text import shown

DIM, WARN, BAD, GOOD, ROUTE = (
    "table--dim",
    "table--warn",
    "table--bad",
    "table--good",
    "table--route",
)
_NAME = 23
"""The width of the name of what is billed and not logged."""
_MOST_NAME = 48
"""The width from which a name is no wider: its figures are to be read next to it."""
Cell = tuple[str, str]


def layout_of(
    level: Level, width: int, whole: Decimal, keys: Mapping[str, str]
) -> Layout[MoneyRow]:
    """Return the layout of a list; ``whole`` is the bill, ``keys`` the names of the keys by id."""
    return Layout(_columns(level, whole, keys), level.rows, width)


def names_of(keys: Sequence[KnownKey]) -> Mapping[str, str]:
    """Return the names of the API keys by id; of those without a name the id."""
    return {key.id: key.name or key.id for key in keys}


def _columns(level: Level, whole: Decimal, keys: Mapping[str, str]) -> Sequence[Column[MoneyRow]]:
    if level.section == "cost":
        has_sides = any(
            isinstance(row, CostRow) and row.side is not None and row.side.previous.requests
            for row in level.rows
        )
        return _cost_columns(level, whole, has_sides=has_sides)
    if level.section == "piles":
        return _PILES if level.pile is None else _record_columns(level, keys)
    return _CAUSES if level.cause is None else _PARTS


# -- costs ---------------------------------------------------------------------------------------


def _cost_columns(level: Level, whole: Decimal, *, has_sides: bool) -> Sequence[Column[MoneyRow]]:
    def of(row: MoneyRow) -> CostRow:
        assert isinstance(row, CostRow)
        return row

    def name(row: MoneyRow) -> Cell:
        one = of(row)
        return shown(one.label), DIM if one.name is None else ""

    def part(row: MoneyRow) -> Cell:
        cost = of(row).figures.cost
        return (f"{cost * 100 / whole:.1f}%" if whole > 0 else "-"), DIM

    def theirs(row: MoneyRow) -> Cell:
        side = of(row).side
        return price_text(None if side is None else side.per_thousand), DIM

    def change(row: MoneyRow) -> Cell:
        side = of(row).side
        if side is None or side.change is None:
            return "", ""
        return f"{side.change:+.1f}%", WARN if side.change > 0 else GOOD

    def theirs_per_million(row: MoneyRow) -> Cell:
        side = of(row).side
        return price_text(None if side is None else side.per_million), DIM

    def per_thousand(row: MoneyRow) -> Cell:
        return price_text(of(row).figures.per_thousand), ""

    def per_million(row: MoneyRow) -> Cell:
        return price_text(of(row).figures.per_million), ""

    sides: tuple[Column[MoneyRow], ...] = (
        Column("previous", theirs, "point", spare=2),
        Column("change", change, "right", spare=2),
    )
    mine: tuple[Column[MoneyRow], ...] = (Column("prev. 1M", theirs_per_million, "point", spare=5),)
    return (
        Column(f"by {level.view}", name, "middle", weight=1, least=_NAME, most=_MOST_NAME),
        Column("cost", lambda row: (dollars(of(row).figures.cost), ""), "point"),
        Column("part", part, "right", spare=6),
        Column("requests", lambda row: (f"{of(row).figures.requests:,}", ""), "right", spare=3),
        Column("tokens", lambda row: (f"{of(row).figures.tokens:,}", DIM), "right", spare=7),
        Column("per 1,000", per_thousand, "point", spare=2),
        *(sides if has_sides else ()),
        Column("per 1M tok.", per_million, "point", spare=4),
        *(mine if has_sides else ()),
    )  # fmt: skip


# -- piles ---------------------------------------------------------------------------------------


def title_of(pile: Name, reason: str) -> str:
    """Return what a pile, or a part of it, is called."""
    return f"{TITLES[pile]}: {reason}" if reason else TITLES[pile]


def _sum(row: MoneyRow) -> PileSum:
    assert isinstance(row, PileSum)
    return row


def _pile_name(row: MoneyRow) -> Cell:
    one = _sum(row)
    if one.reason:
        return f"  {one.reason}", WARN if one.is_gap else ""
    return TITLES[one.pile], BAD if one.is_gap else ""


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"


def _pile_cost(row: MoneyRow) -> Cell:
    figures = _sum(row).figures
    return (dollars(figures.cost) if figures.records else "-"), ""


def _pile_tokens(row: MoneyRow) -> Cell:
    figures = _sum(row).figures
    return _count(figures.tokens_in + figures.tokens_out), DIM


def _is_gap(row: MoneyRow) -> Cell:
    return ("gap", BAD) if _sum(row).is_gap else ("", "")


_PILES: Sequence[Column[MoneyRow]] = (
    Column("pile", _pile_name, weight=1, least=22, most=40),
    Column("", _is_gap),
    Column("records", lambda row: (_count(_sum(row).figures.records), ""), "right", spare=1),
    Column("billed", _pile_cost, "point"),
    Column("lines", lambda row: (_count(_sum(row).figures.lines), ""), "right", spare=1),
    Column("their tokens", _pile_tokens, "right", spare=2),
)  # fmt: skip


def time_text(at: int | None) -> str:
    """Return a time in epoch microseconds in UTC, to the millisecond."""
    if at is None:
        return "-"
    whole, micros = divmod(at, 1_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}.{micros // 1000:03}Z"


def _record_columns(level: Level, keys: Mapping[str, str]) -> Sequence[Column[MoneyRow]]:
    def of(row: MoneyRow) -> Row:
        assert isinstance(row, Row)
        return row

    def at(row: MoneyRow) -> Cell:
        return time_text(time_of(of(row)))[5:19], DIM

    def cost(row: MoneyRow) -> Cell:
        found = of(row).cost
        return ("-" if found is None else dollars(found)), ""

    def tokens(row: MoneyRow) -> Cell:
        return f"{of(row).tokens_in + of(row).tokens_out:,}", DIM

    def whose(row: MoneyRow) -> Cell:
        one = of(row)
        if one.route:
            return shown(f"{one.route} / {one.org}"), ""
        return shown(f"key {keys.get(one.key_id, one.key_id)}"), ""

    def reason(row: MoneyRow) -> Cell:
        one = of(row)
        return one.reason or one.matched_by.replace("_", " "), WARN if one.reason else DIM

    def request(row: MoneyRow) -> Cell:
        return shown(of(row).request_id) or "-", DIM

    def billing(row: MoneyRow) -> Cell:
        return shown(of(row).billing_id) or "-", DIM

    reasons = Column("how, or why not", reason, spare=2, most=22)
    return (
        Column("time (UTC)", at),
        Column("cost", cost, "point"),
        Column("tokens", tokens, "right", spare=1),
        Column("whose", whose, "middle", weight=3, least=12, most=40),
        Column("model", lambda row: (shown(of(row).model), DIM), "middle", spare=3, most=22),
        *(() if level.reason or level.pile == "settling" else (reasons,)),
        Column("request id", request, "middle", spare=5, weight=2, least=16, most=40),
        Column("transaction", billing, "middle", spare=6, weight=2, least=16, most=40),
    )  # fmt: skip


# -- the difference ------------------------------------------------------------------------------


def _cause(row: MoneyRow) -> CauseSum:
    assert isinstance(row, CauseSum)
    return row


def _signed(amount: Decimal) -> Cell:
    return dollars(amount, signed=True), WARN if amount > 0 else GOOD


def _largest(row: MoneyRow) -> Cell:
    one = _cause(row)
    more = f"  and {one.parts - 1:,} more" if one.parts > 1 else ""
    return shown(f"{one.largest.where}: {one.largest.why}{more}"), DIM


_CAUSES: Sequence[Column[MoneyRow]] = (
    Column("cause", lambda row: (_cause(row).cause, "")),
    Column("more or less", lambda row: _signed(_cause(row).amount), "point"),
    Column("mostly", _largest, weight=1, least=12),
)


def _item(row: MoneyRow) -> Item:
    assert isinstance(row, Item)
    return row


_PARTS: Sequence[Column[MoneyRow]] = (
    Column("more or less", lambda row: _signed(_item(row).amount), "point"),
    Column("where", lambda row: (shown(_item(row).where), ""), "middle", weight=1, least=12),
    Column("from, to", lambda row: (shown(_item(row).why), DIM), weight=1, least=12),
)
