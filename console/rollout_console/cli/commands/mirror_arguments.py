"""The options of ``mirror``."""

import argparse


def add_mirror(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mirror``."""
    parser.add_argument(
        "address", help="the file in etcd, such as etcd://gw-01:2379,gw-02:2379/rollout/prod"
    )
    parser.add_argument("path", nargs="?", help="the local file, which applications read")
    parser.add_argument("--once", action="store_true", help="mirror one time, and end")
    parser.add_argument(
        "--forget",
        metavar="HOST",
        default="",
        help="a server that is no more, whose mirror is missed",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the mirrors: which have the version of now"
    )
