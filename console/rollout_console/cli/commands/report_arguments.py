"""The options of ``report``."""

import argparse

from rollout_console.cli.values import past_time


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--rollback", metavar="REVISION", default="",
        help="the incident that this revision ended, from history (default: the latest rollback)",
    )  # fmt: skip
    which.add_argument(
        "--around", type=past_time, metavar="TIME",
        help="the incident of the rollback nearest to a time, or of the hour around it",
    )  # fmt: skip
    which.add_argument(
        "--since", type=past_time, metavar="TIME",
        help="what happened since a time: 14:05, 2026-11-28T14:05:00Z, 30m, 2h or 1d ago; a time "
        "without a zone is this machine's",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FOLDER", default="",
        help="where the files go (default: the working directory; - prints the Markdown alone)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="replace an earlier report, do not ask")
