"""The options of ``reconcile``."""

import argparse

from rollout_console.cli.values import duration, past_time, whole

PILES = ("matched", "billed-only", "logged-only", "settling", "no-id")
"""The piles, duplicated from ``reconcile.piles``: --help imports nothing; a test compares."""

_WEEK_S = 7 * 86_400


def add_reconcile(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``reconcile``."""
    parser.add_argument(
        "--since", type=past_time, metavar="TIME",
        help="where the period begins: 24h or 30d ago, 2026-11-01, 14:05, 2026-11-28T14:05:00Z; a "
        "time without a zone is this machine's (default 24h)",
    )  # fmt: skip
    parser.add_argument(
        "--until", type=past_time, metavar="TIME", help="where it ends, exclusive (default: now)"
    )
    parser.add_argument("--route", default="", help="lines of this route alone")
    parser.add_argument("--org", default="", help="lines of this org alone")
    parser.add_argument(
        "--key", default="", metavar="KEY", help="records of this API key alone: its id or name"
    )
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
    parser.add_argument("--profile", default="", help="default: the rollout file's")
    parser.add_argument("--base-url", default="", help="default: the profile's")
    parser.add_argument(
        "--token-stdin", action="store_true",
        help="read the management token from standard input",
    )  # fmt: skip
