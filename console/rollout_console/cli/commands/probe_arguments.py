"""The options of ``probe``."""

import argparse

from rollout_console.cli.commands.models_arguments import usd
from rollout_console.cli.values import duration


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``probe``."""
    parser.add_argument("route", nargs="*", help="default: every route but media")
    parser.add_argument("--side", choices=("both", "tokenlab", "previous"), default="both")
    parser.add_argument("--media", action="store_true", help="media too: once, on TokenLab")
    parser.add_argument("--no-stream", action="store_true", help="whole answers only")
    parser.add_argument("--ceiling", type=usd, default=None, metavar="USD",
                        help="send nothing if it may cost more (default 0.10)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what it would send and cost")
    parser.add_argument("--yes", action="store_true", help="do not ask before it costs")
    parser.add_argument("--every", type=duration(60, 86_400), metavar="TIME",
                        help="repeat until interrupted, 1m to 1d apart; never media")  # fmt: skip
