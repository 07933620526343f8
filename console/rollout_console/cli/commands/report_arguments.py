"""The options of ``report``."""

import argparse
from datetime import UTC, datetime, timedelta

from rollout_console.common.durations import parse_duration


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--rollback", metavar="REVISION", default="",
        help="the incident that this revision ended, from history (default: the latest rollback)",
    )  # fmt: skip
    which.add_argument(
        "--around", type=time_ago, metavar="TIME",
        help="the incident of the rollback nearest to a time, or of the hour around it",
    )  # fmt: skip
    which.add_argument(
        "--since", type=time_ago, metavar="TIME",
        help="what happened since a time: 14:05, 2026-11-28T14:05:00Z, 30m, 2h or 1d ago; a time "
        "without a zone is this machine's",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FOLDER", default="",
        help="where the files go (default: the working directory; - prints the Markdown alone)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="replace an earlier report, do not ask")


def time_ago(text: str, now: datetime | None = None) -> float:
    """Return a time in epoch seconds: how long ago, a time of day, or a date and a time."""
    here = datetime.now().astimezone() if now is None else now
    text = text.strip()
    try:
        ago_s = parse_duration(text)
        if ago_s is not None:
            return (here - timedelta(seconds=ago_s)).timestamp()
        if "-" not in text[:8]:
            of_day = datetime.fromisoformat(f"{here:%Y-%m-%d}T{text}")
            at = of_day if of_day.tzinfo is not None else of_day.replace(tzinfo=here.tzinfo)
            # A time of day that is still to come is yesterday's.
            return (at if at <= here else at - timedelta(days=1)).timestamp()
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=here.tzinfo) if now is not None else at.astimezone()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give 14:05, 2026-11-28T14:05:00Z, or how long ago: 30m, 2h, 1d"
        ) from None
    if at.astimezone(UTC) > here.astimezone(UTC):
        raise argparse.ArgumentTypeError(f"{text} is still to come")
    return at.timestamp()
