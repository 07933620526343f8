"""Stacked column chart as text; series differ in fill character, never by colour alone."""

from collections.abc import Sequence


def stacked(columns: Sequence[Sequence[int]], fills: str, height: int, top: float) -> list[str]:
    """Return ``height`` lines, top first, with one cell for every column.

    A column has a count for each of ``fills``, bottom first; ``top`` is the value at the upper
    edge. A count above 0 gets at least one cell as long as there are enough: that there is one
    refused credential matters more than whether it is a twentieth of the column.
    """
    height = max(height, 0)
    drawn = [_column(counts, fills, height, top) for counts in columns]
    return ["".join(column[row] for column in drawn) for row in range(height - 1, -1, -1)]


def _column(counts: Sequence[int], fills: str, height: int, top: float) -> str:
    """Return one column, bottom first, padded with blanks to ``height``."""
    known = [max(count, 0) for count in counts]
    total, kinds = sum(known), sum(count > 0 for count in known)
    if not total or not height:
        return " " * height
    cells = min(max(round(total * height / max(top, 1e-9)), kinds), height)
    text = "".join(fill * size for fill, size in zip(fills, _shares(known, cells), strict=True))
    return text[:height].ljust(height)


def _shares(counts: Sequence[int], cells: int) -> list[int]:
    """Apportion cells by largest remainder, after one for every count above 0."""
    sizes = [0] * len(counts)
    by_size = sorted(range(len(counts)), key=lambda i: -counts[i])
    for index in by_size[:cells]:
        sizes[index] = int(counts[index] > 0)
    total = sum(counts)
    while sum(sizes) < cells:
        # Give the next cell to the count with the largest deficit against its exact quota.
        index = max(by_size, key=lambda i: counts[i] * cells / total - sizes[i])
        sizes[index] += 1
    return sizes
