"""What is said of the selected row below the table, and all that is known of one record."""

from collections.abc import Iterator, Mapping

from rollout_console.common.listing import counted
from rollout_console.cost.difference import EVERYWHERE, Item
from rollout_console.cost.worker_protocol import CauseSum, CostRow, PileSum
from rollout_console.reconcile.money import plain
from rollout_console.reconcile.piles import Row
from rollout_console.reconcile.text import ADVICE
from rollout_console.ui.screens.money.cells import time_text, title_of
from rollout_console.ui.screens.money.columns import dollars, price_text
from rollout_console.ui.screens.money.head import QUIET
from rollout_console.ui.screens.money.state import Level, MoneyRow
from rollout_console.ui.text import shown

LOOK_AT: Mapping[str, str] = {
    "price": "the prices then and now; fewer cached input tokens look like this too",
    "volume": "the org: growth, a loop, a raise of its share (history)",
    "mix": "who changed the model",
    "tokens per request": "longer prompts or answers",
    "retries and duplicates": "timeouts shorter than answers; the pile billed, not logged",
    "new org or route": "a raise, or a key in other hands",
    "gone org or route": "a rollback, or an org that has left",
    "refunds": "what was paid back",
}
"""What to look at, by the cause of a difference."""


def about_lines(row: MoneyRow, level: Level, keys: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return two lines on a row, with what a narrow column cuts."""
    match row:
        case CostRow():
            return [*_about_cost(row, level)]
        case PileSum():
            return [*_about_pile(row)]
        case Row():
            return [*_about_record(row, keys)]
        case CauseSum():
            amount = dollars(row.amount, signed=True)
            about = f"{row.cause} {amount}, {counted(row.parts, 'part')}"
            look = f"look at: {LOOK_AT[row.cause]}"
            if row.largest.where.startswith(EVERYWHERE):
                look = "not by route and org: the log does not go back through both periods"
            return [(about, "bold"), (look, QUIET)]
        case Item():
            amount = dollars(row.amount, signed=True)
            return [(shown(f"{amount}  {row.where}"), "bold"), (shown(row.why), "")]


def _about_cost(row: CostRow, level: Level) -> Iterator[tuple[str, str]]:
    one = row.figures
    where = " / ".join((*level.path, row.label))
    yield shown(f"{where}  {dollars(one.cost)}"), "bold"
    refunds = f", {counted(one.refunds, 'refund')}" if one.refunds else ""
    tokens = f"{one.tokens_in:,} tokens in, {one.tokens_out:,} out"
    side = row.side
    if side is None or not side.previous.requests:
        price = f"; {price_text(one.per_million)} per 1M tokens" if one.tokens else ""
        yield f"{counted(one.requests, 'request')}{refunds}, {tokens}{price}", QUIET
        return
    left = side.previous.requests - side.priced
    lacking = f"; {counted(left, 'request')} without tokens left out" if left else ""
    theirs = f"previous {price_text(side.per_million)} of {counted(side.priced, 'request')}"
    yield (
        f"per 1M tokens {price_text(one.per_million)}, {theirs}{lacking}; {tokens}{refunds}",
        QUIET,
    )


def _about_pile(row: PileSum) -> Iterator[tuple[str, str]]:
    figures = row.figures
    parts = [f"{counted(figures.records, 'record')} of {dollars(figures.cost)}"] * bool(
        figures.records
    )
    tokens = figures.tokens_in + figures.tokens_out
    parts += [f"{counted(figures.lines, 'line')} of {tokens:,} tokens"] * bool(figures.lines)
    yield f"{title_of(row.pile, row.reason)}: {'; '.join(parts) or 'nothing'}", "bold"
    advice = ADVICE.get(row.reason or row.pile, "")
    if not (figures.records or figures.lines):
        advice = ""
    elif row.is_gap and not advice:
        advice = "its parts below say what to do"
    elif row.pile == "matched" and not row.reason:
        advice = "billed and logged: nothing to do"
    yield advice, "$warning" if row.is_gap else QUIET


def _about_record(row: Row, keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    ids = (("request", row.request_id), ("transaction", row.billing_id), ("task", row.task_id))
    said = [f"{name} {text}" for name, text in ids if text]
    yield shown("  ".join(said) or "it has no id"), "bold"
    if row.reason in ADVICE:
        yield ADVICE[row.reason], "$warning"
    else:
        key = keys.get(row.key_id, row.key_id)
        parts = [f"{row.tokens_in:,} tokens in, {row.tokens_out:,} out"]
        parts += [f"key {key}"] * bool(key) + [row.reason] * bool(row.reason)
        parts += [f"matched by {row.matched_by.replace('_', ' ')}"] * bool(row.matched_by)
        yield shown(", ".join(parts)), QUIET


def record_lines(row: Row, keys: Mapping[str, str]) -> list[str]:
    """Return everything that is known of a record or a line, and what to do."""
    key = keys.get(row.key_id, "")
    facts = (
        ("pile", title_of(row.pile, "")),
        ("reason", row.reason),
        ("matched by", row.matched_by.replace("_", " ")),
        ("billed at", time_text(row.at) if row.at is not None else ""),
        ("logged at", time_text(row.line_at) if row.line_at is not None else ""),
        ("cost", "" if row.cost is None else f"${plain(row.cost)}"),
        ("quantity", f"{row.quantity} {row.unit}".strip()),
        ("tokens", f"{row.tokens_in:,} in, {row.tokens_out:,} out"),
        ("route / org", f"{row.route} / {row.org}" if row.route else ""),
        ("model", row.model),
        ("scene", row.scene),
        ("API key", f"{key} ({row.key_id})" if key and key != row.key_id else row.key_id),
        ("status", "" if row.status is None else str(row.status)),
        ("attempt", str(row.attempt) if row.attempt > 1 else ""),
        ("request id", row.request_id),
        ("billing transaction id", row.billing_id),
        ("task id", row.task_id),
    )
    lines = [f"{name:<22} {shown(text)}" for name, text in facts if text]
    advice = ADVICE.get(row.reason or row.pile, "")
    return [*lines, "", f"what to do: {advice}"] if advice else lines


def ids_of(row: MoneyRow) -> list[str]:
    """Return the ids of a row, the one that support asks for first."""
    match row:
        case Row():
            ids = [row.billing_id, row.request_id, row.task_id]
        case CostRow():
            ids = [row.name or ""]
        case _:
            ids = []
    return [shown(one) for one in ids if one]
