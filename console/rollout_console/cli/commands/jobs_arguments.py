"""The options of ``jobs``."""

import argparse
from collections.abc import Callable

from rollout_console.cli.values import duration, past_time, whole

STATES = (
    "trouble", "unknown", "lost", "late", "open", "sending", "failed", "cancelled", "completed",
)  # fmt: skip
"""The standings of a job, duplicated from ``job_book`` so that --help imports nothing; a test
compares. ``trouble`` is the first three together."""


def add_jobs(parent: argparse.ArgumentParser, add_common: Callable[..., None]) -> None:
    """Add the ``jobs`` commands to their parser."""
    commands = parent.add_subparsers(
        dest="jobs_command", metavar="COMMAND", title="commands", required=True
    )

    def command(name: str, about: str, *, key: bool = False) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=about, description=about)
        add_common(parser, top=False)
        parser.add_argument("--json", action="store_true", help="print JSON")
        if key:
            parser.add_argument("--profile", default="", help="default: the rollout file's")
            parser.add_argument("--base-url", default="", help="default: the profile's")
            parser.add_argument(
                "--token-stdin", action="store_true", help="read the API key from standard input"
            )
        return parser

    listed = command("list", "list the async jobs, those in trouble first")
    listed.add_argument(
        "--state", choices=STATES, action="append", default=[], help="may be repeated"
    )
    listed.add_argument("--route", default="")
    listed.add_argument("--org")
    _add_since(listed, "those that have ended: sent since (default 24h)")
    listed.add_argument("--limit", type=whole(1, 1000), default=50, help="how many (default 50)")
    show = command("show", "all that is known of one job")
    show.add_argument("job", help="its task id or job id")
    poll = command("poll", "ask TokenLab about its open tasks until all have ended", key=True)
    poll.add_argument("--once", action="store_true", help="ask about each once")
    cancel = command("cancel", "cancel a task that is queued yet", key=True)
    cancel.add_argument("job", help="its task id or job id")
    cancel.add_argument("--yes", action="store_true", help="do not ask")
    forget = command("forget", "let a job be created again, once it is known to have no task")
    forget.add_argument("route")
    forget.add_argument("job", help="the job id, or the id of a create without one")
    forget.add_argument("--org", default="", help="whom the job was for; none without it")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    again = command("duplicates", "jobs that were perhaps made twice, with both task ids")
    _add_since(again, "made since (default 24h)")
    again.add_argument(
        "--window", type=duration(1, 86_400, bare="s"), default=600, metavar="TIME",
        help="the same request within this time is a repetition (default 10m)",
    )  # fmt: skip


def _add_since(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument(
        "--since", type=past_time, metavar="TIME", help=f"{about}; 14:05, 2026-11-28, 2h or 7d ago"
    )
