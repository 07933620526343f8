"""A share as a bar."""

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(points: int, width: int) -> str:
    """Return basis points as a bar of ``width`` cells, in eighths; anything above 0 shows."""
    eighths = points * width * 8 // 10_000
    if points > 0 and eighths == 0:
        eighths = 1
    full, rest = divmod(min(eighths, width * 8), 8)
    text = "█" * full + (_EIGHTHS[rest] if rest else "")
    return text + "░" * (width - len(text))
