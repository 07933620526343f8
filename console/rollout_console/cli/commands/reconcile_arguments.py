"""The options of ``reconcile``."""

import argparse

from rollout_console.cli.commands.pull_arguments import add_period, add_source
from rollout_console.cli.values import duration, whole

PILES = ("matched", "billed-only", "logged-only", "settling", "no-id")
"""The piles, duplicated from ``reconcile.piles``: --help imports nothing; a test compares."""

_WEEK_S = 7 * 86_400


def add_reconcile(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``reconcile``."""
    add_period(parser)
    parser.add_argument("--route", default="", help="lines of this route alone")
    parser.add_argument("--org", default="", help="lines of this org alone")
    parser.add_argument(
        "--settle", type=duration(0, _WEEK_S, bare="m"), metavar="TIME",
        help="how long a text request may be without a record before it is a gap (default 15m)",
    )  # fmt: skip
    parser.add_argument(
        "--settle-async", type=duration(0, _WEEK_S, bare="m"), metavar="TIME",
        help="the same of images, video, music, 3d and other tasks (default 2h)",
    )  # fmt: skip
    parser.add_argument("--pile", choices=PILES, help="list the rows of one pile")
    parser.add_argument(
        "--limit", type=whole(1, 10**9), metavar="N",
        help="rows of --pile (default 100; with --json all)",
    )  # fmt: skip
    parser.add_argument(
        "--csv", metavar="PATH", default="", help="export the rows of all piles, or of --pile"
    )
    parser.add_argument("--jsonl", metavar="PATH", default="", help="the same as JSON Lines")
    parser.add_argument(
        "--offline", action="store_true", help="ask no network: use what was pulled before"
    )
    parser.add_argument(
        "--reread", action="store_true", help="read every record of the period again"
    )
    add_source(parser)
