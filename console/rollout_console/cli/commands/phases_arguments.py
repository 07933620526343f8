"""The options of ``phase``, ``playbook`` and ``shadow``."""

import argparse

from rollout_console.cli.commands.models_arguments import usd
from rollout_console.cli.values import whole
from rollout_gate.file.model import PHASES


def add_phase(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``phase``."""
    parser.add_argument("route", nargs="?", help="default: every route")
    parser.add_argument("--to", choices=PHASES, metavar="PHASE", help="move on, or back")
    parser.add_argument("--tick", metavar="CHECK", help="say that an exit check is done")
    parser.add_argument("--untick", metavar="CHECK", help="take a tick away")
    parser.add_argument("--note", default="", metavar="TEXT", help="kept with the tick")
    parser.add_argument("--owner", metavar="NAME", help="who owns the route and its bill")
    parser.add_argument("--contact", action="append", metavar="TEXT", help="may be repeated")


def add_playbook(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``playbook``."""
    parser.add_argument(
        "--output", "-o", metavar="PATH", default="",
        help="where to (default: NAME.playbook.md beside the rollout file; - is standard output)",
    )  # fmt: skip


def add_shadow(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``shadow``."""
    parser.add_argument("route")
    parser.add_argument("prompts", help='a JSONL file of {"prompt": "..."}')
    parser.add_argument("--sample", type=whole(1, 200), default=20, metavar="N", help="default 20")
    parser.add_argument("--max-tokens", type=whole(16, 4096), default=256, metavar="N",
                        help="default 256")  # fmt: skip
    parser.add_argument("--ceiling", type=usd, default=None, metavar="USD",
                        help="send nothing if it may cost more (default 1.00)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what it would send and cost")
    parser.add_argument("--yes", action="store_true", help="do not ask before it costs")
