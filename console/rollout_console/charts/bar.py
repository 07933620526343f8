"""A share as a horizontal bar of block characters."""

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(points: int, width: int) -> str:
    """Return basis points (0 to 10,000) as a bar of ``width`` cells, drawn in eighths of a cell.

    A value above 0 always shows at least one eighth.
    """
    eighths = points * width * 8 // 10_000
    if points > 0 and eighths == 0:
        eighths = 1
    full, rest = divmod(min(eighths, width * 8), 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return text + "░" * (width - len(text))
