"""Pad and truncate text to a width in terminal cells."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from rollout_console.common.safe_text import visible
from rollout_gate.secret import redacted


def shown(text: str) -> str:
    """Return a text from outside as it may be shown: no control character, no credential."""
    return redacted(visible(text))


def fit(text: str, width: int) -> str:
    """Return ``text`` in exactly ``width`` cells: padded, or truncated with an ellipsis."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    return set_cell_size(text, width - 1) + "…"


def fit_middle(text: str, width: int) -> str:
    """As ``fit``, but truncated in the middle: names of one family differ at their ends."""
    if cell_len(text) <= width or width < 5:
        return fit(text, width)
    tail = (width - 1) // 2
    end = text[-tail:]
    while cell_len(end) > tail:
        end = end[1:]
    return fit(set_cell_size(text, width - 1 - cell_len(end)) + "…" + end, width)


def right(text: str, width: int) -> str:
    """As ``fit``, but padded on the left."""
    size = cell_len(text)
    return " " * (width - size) + text if size <= width else fit(text, width)


def first_clauses(text: str, width: int, marks: Sequence[str] = ("; ", ", ", " · ")) -> str:
    """Return as many of the first clauses of a sentence as fit: the first matters most.

    Clauses end at ``marks``: those at the first mark are left out before those at the next.
    """
    for mark in marks:
        while cell_len(text) > width and mark in text:
            text = text.rpartition(mark)[0]
    return fit(text, width).rstrip() if cell_len(text) > width else text


def wrap_in_two(
    pieces: Sequence[tuple[str, str]], width: int
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Break a line between two words of its last piece where it is wider than ``width`` cells.

    The second line, which is empty where the first fits, begins below the last piece.
    """
    *head, (text, style) = pieces or [("", "")]
    at = sum(cell_len(one) for one, _ in head)
    words = visible(text).split(" ")
    if at + cell_len(" ".join(words)) <= width or len(words) == 1:
        return tuple(pieces), ()
    fits = 1
    while at + cell_len(" ".join(words[: fits + 1])) <= width:
        fits += 1
    first, rest = " ".join(words[:fits]), " ".join(words[fits:])
    return (*head, (first, style)), ((" " * at, ""), (rest, style))


def copied_words(ids: Sequence[str]) -> str:
    """Return in a sentence that ids were copied."""
    what = ids[0] if len(ids) == 1 else f"{len(ids)} ids"
    return f"{what}: sent to the terminal's clipboard"
