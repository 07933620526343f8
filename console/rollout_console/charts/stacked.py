"""Stacked columns as text: told apart by their fill, so that colour is never the only sign."""

from collections.abc import Sequence


def stacked(columns: Sequence[Sequence[int]], fills: str, height: int, top: float) -> list[str]:
    """Return ``height`` lines, the highest first, each a cell for every column.

    A column has a count for each of ``fills``, the lowest first; ``top`` is the value at the upper
    edge. Whatever is above 0 has a cell of its own wherever there are cells enough: that there is
    one refused credential matters more than whether it is a twentieth of the column.
    """
    height = max(height, 0)
    drawn = [_column(counts, fills, height, top) for counts in columns]
    return ["".join(column[row] for column in drawn) for row in range(height - 1, -1, -1)]


def _column(counts: Sequence[int], fills: str, height: int, top: float) -> str:
    """Return one column from the bottom up, filled up with blanks."""
    known = [max(count, 0) for count in counts]
    total, kinds = sum(known), sum(count > 0 for count in known)
    if not total or not height:
        return " " * height
    cells = min(max(round(total * height / max(top, 1e-9)), kinds), height)
    text = "".join(fill * size for fill, size in zip(fills, _shares(known, cells), strict=True))
    return text[:height].ljust(height)


def _shares(counts: Sequence[int], cells: int) -> list[int]:
    """Share out cells by largest remainder, with one for every count above 0 before that."""
    sizes = [0] * len(counts)
    by_size = sorted(range(len(counts)), key=lambda i: -counts[i])
    for index in by_size[:cells]:
        sizes[index] = int(counts[index] > 0)
    total = sum(counts)
    while sum(sizes) < cells:
        # The one that is furthest from what it should have.
        index = max(by_size, key=lambda i: counts[i] * cells / total - sizes[i])
        sizes[index] += 1
    return sizes
