"""Fitting text into cells, and saying durations."""

from rich.cells import cell_len, set_cell_size


def fit(text: str, width: int) -> str:
    """Return ``text`` in exactly ``width`` cells: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    return set_cell_size(text, width - 1) + "…"


def right(text: str, width: int) -> str:
    """As ``fit``, but padded on the left."""
    size = cell_len(text)
    return " " * (width - size) + text if size <= width else fit(text, width)


def seconds_text(seconds: float) -> str:
    """Return a duration as a person says it: ``0.4 s``, ``5 m``, ``3 h 20 m``, ``3d 4h``."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} m" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h" if days < 1000 else "over 1000 d"
