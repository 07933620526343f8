"""The options of ``export``."""

from argparse import ArgumentParser


def add_export(parser: ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument(
        "form",
        choices=["flagd", "schema"],
        help="flagd: one flag for each route; schema: the file's JSON Schema, for editors",
    )
    parser.add_argument(
        "--out", metavar="PATH",
        help="a file, or a key of etcd such as etcd://gw-01:2379/flags (default: print it)",
    )  # fmt: skip
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on, and write --out again within a second of each change, until a signal",
    )
