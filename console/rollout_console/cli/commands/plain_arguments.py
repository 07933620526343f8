"""The options of ``--plain``."""

import argparse


def add_plain(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Add the options of the console as lines; SUPPRESS keeps a value given before a command."""
    default = False if top else argparse.SUPPRESS
    parser.add_argument(
        "--plain", action="store_true", default=default,
        help="without a screen: print the state, then a line for each change; changes nothing",
    )  # fmt: skip
    parser.add_argument(
        "--json", dest="plain_json", action="store_true", default=default,
        help="with --plain: a JSON object for each line",
    )  # fmt: skip
