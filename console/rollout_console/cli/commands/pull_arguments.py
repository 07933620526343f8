"""The options of what pulls usage records: the period, and where they are pulled from."""

import argparse

from rollout_console.cli.values import past_time


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add --since and --until."""
    parser.add_argument(
        "--since", type=past_time, metavar="TIME",
        help="where the period begins: 24h or 30d ago, 2026-11-01, 14:05, 2026-11-28T14:05:00Z; a "
        "time without a zone is this machine's (default 24h)",
    )  # fmt: skip
    parser.add_argument(
        "--until", type=past_time, metavar="TIME", help="where it ends, exclusive (default: now)"
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the API key whose records are meant, and the profile that they are pulled with."""
    parser.add_argument(
        "--key", default="", metavar="KEY", help="records of this API key alone: its id or name"
    )
    parser.add_argument("--profile", default="", help="default: the rollout file's")
    parser.add_argument("--base-url", default="", help="default: the profile's")
    add_token(parser)


def add_token(parser: argparse.ArgumentParser) -> None:
    """Add --token-stdin."""
    parser.add_argument(
        "--token-stdin", action="store_true",
        help="read the management token from standard input",
    )  # fmt: skip


def add_no_pull(parser: argparse._ActionsContainer) -> None:
    """Add --no-pull, and --offline as its other name."""
    parser.add_argument(
        "--no-pull", "--offline", dest="offline", action="store_true",
        help="ask no network: use what was pulled before",
    )  # fmt: skip
