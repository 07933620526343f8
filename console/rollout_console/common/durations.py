"""Format and parse durations as people write them, the same on the screen and in a shell."""

import re
import time
from collections.abc import Callable

LIKE = "30d, 12h, 2w or 90 minutes"
"""Examples of what parse_duration takes, for hints and errors."""

_UNITS = {
    name: seconds
    for names, seconds in (
        (("s", "sec", "secs", "second", "seconds"), 1),
        (("m", "min", "mins", "minute", "minutes"), 60),
        (("h", "hr", "hrs", "hour", "hours"), 3600),
        (("d", "day", "days"), 86_400),
        (("w", "wk", "wks", "week", "weeks"), 7 * 86_400),
    )
    for name in names
}
_PART = re.compile(r"\s*([0-9]{1,7}(?:\.[0-9]{1,3})?)\s*([a-z]+)", re.ASCII | re.IGNORECASE)
_MOST_TEXT = 40


NO_ORG = '""'
"""How the org of requests that are of none is shown: as in the file, and not as nothing."""


def target_text(route: str | None, org: str | None) -> str:
    """Return the target of a change: ``chat / acme``, ``chat``, or ``everything``."""
    if route is None:
        return "everything"
    return route if org is None else f"{route} / {org or NO_ORG}"


def spoken_change(action: str, route: str | None, org: str | None) -> tuple[str, str]:
    """Return action and target of a change in words; one of an alias or a flag is a plain set."""
    kind = action.removeprefix("set_")
    if kind in ("alias", "flag"):
        return "set", target_text(route, f"{kind} {org}")
    return action, target_text(route, org)


def parse_duration(text: str, *, bare: str = "") -> float | None:
    """Parse a duration such as ``30d``, ``1h 30m`` or ``90 minutes`` into seconds.

    Return None for what is none: no sign is taken, and no month or year, which have no fixed
    length. A number alone is in the unit ``bare``, where one is given.
    """
    text = text.strip()
    if bare and re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", text, re.ASCII):
        text += bare
    if not text or len(text) > _MOST_TEXT:
        return None
    seconds, at = 0.0, 0
    while at < len(text):
        found = _PART.match(text, at)
        unit = _UNITS.get(found.group(2).lower()) if found else None
        if found is None or unit is None:
            return None
        seconds += float(found.group(1)) * unit
        at = found.end()
    return seconds


def seconds_text(seconds: float) -> str:
    """Format a duration in seconds for people: ``0.4 s``, ``5 m``, ``3 h 20 m``, ``3d 4h``."""
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


def set_back(at: float, now: float, by: float) -> float:
    """Return a time (epoch seconds) after the clock was set back to ``now`` by ``by`` seconds.

    One that would be in the future was told by the clock as it was: its age stays the same.
    """
    return at if at <= now else min(at - by, now)


def going_on(now: float) -> Callable[[], float]:
    """Return a clock that goes on from ``now`` (epoch seconds): that may be some time ago later."""
    began = time.time()
    return lambda: now + max(time.time() - began, 0.0)


def brief_seconds(seconds: float) -> str:
    """Format a duration in seconds in at most four characters: ``4.2s``, ``74s``, ``2.5m``."""
    for unit, width_s in (("s", 1), ("m", 60), ("h", 3600)):
        number = max(seconds, 0) / width_s
        if number < 99.5:
            return f"{number:.1f}{unit}" if number < 9.95 else f"{number:.0f}{unit}"
    return ">99h"
