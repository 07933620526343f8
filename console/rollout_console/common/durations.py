"""Format targets, durations and ages for people, the same on the screen and in a shell."""


def target_text(route: str | None, org: str | None) -> str:
    """Return the target of a change: ``chat / acme``, ``chat``, or ``everything``."""
    return " / ".join(part for part in (route, org) if part) or "everything"


def spoken_change(action: str, route: str | None, org: str | None) -> tuple[str, str]:
    """Return action and target of a change in words; one of an alias or a flag is a plain set."""
    kind = action.removeprefix("set_")
    if kind in ("alias", "flag"):
        return "set", target_text(route, f"{kind} {org}")
    return action, target_text(route, org)


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
