"""The options of ``guard``."""

import argparse

from rollout_console.cli.values import duration


def add_guard(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``guard``."""
    parser.add_argument("--once", action="store_true", help="look once, act, and end")
    parser.add_argument(
        "--every", type=duration(1, 60, bare="s"), metavar="SECONDS",
        help="how often to look, 1 to 60 (default 2)",
    )  # fmt: skip
    parser.add_argument(
        "--notify-command", default="", metavar="COMMAND",
        help="run for each event, which it gets as JSON on its standard input; no shell reads it",
    )  # fmt: skip
    parser.add_argument(
        "--put-back", nargs="+", metavar=("ROUTE", "ORG"),
        help="put an org, or all of a route, back into its ramp, and end",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON, an object for each event")
