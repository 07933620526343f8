"""The line above the money screen's table, and what is said where there is no row."""

from collections.abc import Callable

from rollout_console.common.listing import counted
from rollout_console.cost.worker_protocol import Loaded
from rollout_console.ui.screens.money.cells import title_of
from rollout_console.ui.screens.money.columns import dollars
from rollout_console.ui.screens.money.feed import RowFeed
from rollout_console.ui.screens.money.head import QUIET, Pieces, clock
from rollout_console.ui.screens.money.state import MOST_ROWS, Level, MoneyView, Section
from rollout_console.ui.text import shown

_SECTIONS: tuple[tuple[Section, str], ...] = (("cost", "cost"), ("piles", "piles"), ("why", "why"))


def title_pieces(view: MoneyView, feed: RowFeed, key_of: Callable[[Section], str]) -> Pieces:
    """Return the sections, the one shown marked, and what is listed; ``key_of`` one is its key.

    Piles have a mark where something is billed and not logged, or the other way round.
    """
    pieces: Pieces = []
    for name, title in _SECTIONS:
        style = "$accent bold reverse" if name == view.section else QUIET
        pieces += [(" ", ""), (f" {key_of(name)} {title} ", style)]
        if name == "piles" and view.loaded is not None and view.loaded.has_gap:
            pieces.append(("▲gap", "$error bold"))
    if view.loaded is None or view.loaded.horizon is None:
        return pieces
    return [*pieces, ("  ", ""), *_listed(view, view.loaded, feed)]


def _listed(view: MoneyView, loaded: Loaded, feed: RowFeed) -> Pieces:
    level = view.level
    waits = [("  looking …", "$warning")] if feed.is_waiting or level.of != view.load else []
    if view.section == "piles" and level.pile is None:
        words = "no gap" if not loaded.has_gap else "something is billed or logged alone"
        lines = f"{counted(loaded.lines, 'line')} of TokenLab, {loaded.uncharged:,} cost nothing"
        edge = f", {loaded.edge_lines:,} belong to records outside" if loaded.edge_lines else ""
        return [
            (words, "$error bold" if loaded.has_gap else "$success"),
            (f"  {lines}{edge}", QUIET),
        ]
    if view.section == "why" and level.cause is None:
        return _difference(view) or waits
    if level.cause is not None:
        return [(f"{level.cause}  {_count(level)}", "bold"), *waits]
    if level.pile is not None:
        name = title_of(level.pile, level.reason)
        return [
            (f"{name}  {_count(level)}", "bold"),
            (f"  {level.order_name} first", QUIET),
            *waits,
        ]
    path = f"{shown(' ▸ '.join(level.path))} ▸ " if level.path else ""
    pieces: Pieces = [(f"{path}by {level.view}", "bold"), (f"  {_count(level)}", "")]
    if level.sums is not None and (level.path or level.text.strip()):
        pieces.append((f"  {dollars(level.sums.cost)}", ""))
    order = "newest first" if level.view == "day" else "by name"
    order = order if level.order_name == "name" else f"by {level.order_name}"
    return [*pieces, (f"  {order}", QUIET), *waits]


def _count(level: Level) -> str:
    """Return how many rows there are, or how many of them are listed so far."""
    listed = len(level.rows)
    if level.total is not None and listed >= level.total:
        return counted(listed, "row")
    if listed >= MOST_ROWS:
        return f"the first {listed:,} rows; an export has all"
    of = f" of {level.total:,}" if level.total is not None else ""
    return f"{listed:,}{of} rows, more below"


def _difference(view: MoneyView) -> Pieces:
    found = view.explained
    if found is None:
        return []
    amount = found.now - found.earlier
    percent = f" ({amount * 100 / found.earlier:+.1f}%)" if found.earlier > 0 else ""
    return [
        (f"{dollars(amount, signed=True)}{percent}", "$warning bold" if amount > 0 else "bold"),
        (f"  {dollars(found.earlier)} to {dollars(found.now)}", ""),
        (f"  against {clock(found.since)} to {clock(found.until)}", QUIET),
    ]


def empty_words(view: MoneyView, feed: RowFeed, pull_key: str) -> list[str]:
    """Return what to say in place of rows."""
    level, loaded, link = view.level, view.loaded, feed.link
    if loaded is None:
        return (
            ["reading what was pulled before, and the access log; a million lines take a minute …"]
            if link.is_coming
            else []
        )
    if loaded.horizon is None:
        if link.pulls:
            return [
                "The first usage records are being pulled; the bill is here once they are read."
            ]
        return [
            f"No usage record was pulled yet: {pull_key} pulls those of {view.period.name}, with a"
            " management token.",
            "Then the bill by route, org, model, key and day is here, how long balance and limits"
            " last, and what was billed and not logged. a on the keys screen (2) gives a token.",
        ]
    if feed.is_waiting or level.of != view.load or (link.is_coming and not link.is_ready):
        return ["looking …"]
    if level.text.strip():
        return ["No row has these words."]
    if view.section == "why":
        return ["Both periods cost the same: nothing differs."]
    return ["Nothing was billed in this period."]
