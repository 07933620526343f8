"""The options of ``keys``."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rollout_console.cli.values import duration, whole
from rollout_console.common.durations import parse_duration

Add = Callable[..., argparse.ArgumentParser]


SORTS = ("name", "used", "limit", "created", "expires", "last-used", "status")
"""Sort orders, duplicated from ``key_values`` so that --help imports nothing; a test compares."""


def add_keys(parent: argparse.ArgumentParser, add_common: Callable[..., None]) -> None:
    """Add the ``keys`` commands to their parser."""
    commands = parent.add_subparsers(
        dest="keys_command", metavar="COMMAND", title="commands", required=True
    )

    def command(
        name: str, about: str, *, key: bool = False, changes: bool = False
    ) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=about, description=about)
        add_common(parser, top=False)
        parser.add_argument("--profile", default="", help="default: the rollout file's")
        parser.add_argument("--base-url", default="", help="default: the profile's")
        parser.add_argument(
            "--token-stdin", action="store_true",
            help="read the API key or management token from standard input",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print JSON")
        if key:
            parser.add_argument("key", help="the key's id, or its name")
        if changes:
            parser.add_argument("--yes", action="store_true", help="do not ask")
        return parser

    doctor = command("doctor", "say where each credential comes from, and why not from elsewhere")
    doctor.add_argument("profile_name", nargs="?", metavar="PROFILE")
    command("profiles", "list the local profiles")
    add = command("add", "keep a pasted credential for a profile (hidden input)")
    add.add_argument("profile_name", metavar="PROFILE")
    _add_place(add)
    remove = command("remove", "forget a profile's credentials", changes=True)
    remove.add_argument("profile_name", metavar="PROFILE")
    verify = command("verify", "prove the credentials with a real call")
    verify.add_argument("--model", default="", help="the model for one request of a few tokens")
    listed = command("list", "list the organisation's API keys")
    listed.add_argument("--filter", default="", metavar="TEXT", help="part of a name, id or model")
    listed.add_argument("--status", choices=("active", "inactive", "revoked"))
    listed.add_argument("--sort", choices=SORTS, default="name")
    listed.add_argument("--page", type=whole(1, 1000), default=1)
    listed.add_argument("--limit", type=whole(1, 1000), default=100, help="keys on a page")
    create = command("create", "make an API key; its secret is shown or kept once")
    create.add_argument("name")
    create.add_argument("--limit", default="none", metavar="USD", help="spending limit, or none")
    create.add_argument("--model", dest="models", action="append", default=[], metavar="ID",
                        help="allow this model; may be repeated (default: any)")  # fmt: skip
    create.add_argument("--expires", default="never", metavar="TIME",
                        help="30d, 2w, 2027-01-31, RFC 3339, or never")  # fmt: skip
    create.add_argument("--store", default="", metavar="PROFILE", help="keep the secret there")
    create.add_argument("--show-secret", action="store_true", help="print the secret, once")
    _add_place(create)
    rename = command("rename", "give a key another name", key=True, changes=True)
    rename.add_argument("name")
    limit = command("limit", "set a key's spending limit", key=True, changes=True)
    limit.add_argument("limit", metavar="USD", help="US dollars, or none")
    models = command("models", "set which models a key may use", key=True, changes=True)
    models.add_argument("models", nargs="*", metavar="ID", help="none given: any model")
    expire = command("expire", "set when a key expires", key=True, changes=True)
    expire.add_argument("expires", metavar="TIME", help="30d, 2w, 2027-01-31, RFC 3339, or never")
    command("deactivate", "stop a key until it is reactivated", key=True, changes=True)
    command("reactivate", "let a key work again", key=True, changes=True)
    command("revoke", "stop a key for ever", key=True, changes=True)
    rotate = command(
        "rotate", "replace a key step by step, or resume where it stopped", key=True, changes=True
    )
    rotate.add_argument("--model", default="", metavar="ID", help="proves the new key (to begin)")
    rotate.add_argument("--quiet-minutes", dest="quiet_s", metavar="TIME",
                        type=duration(60, 60_000, bare="m"), default=1800.0,
                        help="silence of the old key before it is deactivated: "
                        "2h; a number alone is minutes (default 30)")  # fmt: skip
    rotate.add_argument("--safe-hours", dest="safe_s", metavar="TIME",
                        type=duration(3600, 3_600_000, bare="h"), default=86_400.0,
                        help="time to reactivate it before it is revoked: 3d; "
                        "a number alone is hours (default 24)")  # fmt: skip
    rotate.add_argument("--force", action="store_true",
                        help="begin although the profile uses another key")  # fmt: skip
    rotate.add_argument("--abandon", action="store_true", help="stay with the old key")
    _add_place(rotate)
    command("rotations", "list the rotations under way")
    usage = command("usage", "what a key has cost, by model and day", key=True)
    usage.add_argument(
        "--start", type=_day, default="", metavar="DATE", help="inclusive; 7d is so long ago"
    )
    usage.add_argument("--end", type=_day, default="", metavar="DATE", help="inclusive")
    usage.add_argument("--model", default="", metavar="ID", help="of this model alone")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", choices=("keyring", "encrypted"), default="keyring",
        help="where it is kept: the system's keyring, or the encrypted store (default: keyring)",
    )  # fmt: skip


def _day(text: str) -> str:
    """Return a duration such as ``7d`` as the time so long ago; the API judges all other texts."""
    ago_s = parse_duration(text)
    if ago_s is None:
        return text
    try:
        return f"{datetime.now(UTC) - timedelta(seconds=ago_s):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text} ago is too far back") from None
