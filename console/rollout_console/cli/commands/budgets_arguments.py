"""The options of ``budgets``."""

import argparse

from rollout_console.cli.commands.pull_arguments import add_no_pull, add_token


def add_budgets(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``budgets``."""
    how = parser.add_mutually_exclusive_group()
    add_no_pull(how)
    how.add_argument(
        "--if-due", action="store_true",
        help="for a timer: count at low priority, only where nobody did for 10 minutes, and print "
        "nothing",
    )  # fmt: skip
    add_token(parser)
