"""The options of ``cost``."""

import argparse

from rollout_console.cli.commands.pull_arguments import add_no_pull, add_period, add_source
from rollout_console.cli.values import duration, whole

VIEWS = ("route", "org", "model", "key", "day")
"""The views, duplicated from ``cost.bill``: --help imports nothing; a test compares."""

_YEAR_S = 366 * 86_400


def add_cost(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``cost``."""
    parser.add_argument(
        "--by", choices=VIEWS, help="one view, with all its rows (default: the first ones of each)"
    )
    add_period(parser)
    parser.add_argument(
        "--against", type=duration(3600, _YEAR_S, bare="d"), metavar="TIME",
        help="explain the difference to the same period so long before, such as 7d: price, volume, "
        "mix, tokens per request, retries, new orgs",
    )  # fmt: skip
    parser.add_argument("--route", default="", help="this route; the others are one row")
    parser.add_argument("--org", default="", help="this org; the others are one row")
    parser.add_argument(
        "--limit", type=whole(1, 10**6), metavar="N", default=0, help="rows of --by (default all)"
    )
    parser.add_argument(
        "--csv", metavar="PATH", default="", help="export the rows of all views, or of --by"
    )
    add_no_pull(parser)
    add_source(parser)
