"""From arguments to an exit code.

Textual is loaded only where the console itself is opened, the vault only where a credential may be
needed: a rollback from a shell waits for neither.
"""

import os
import sys
from argparse import Namespace
from pathlib import Path

from console.cli import changing, reading
from console.cli.codes import CONFLICT, DONE, PROBLEMS, UNREACHABLE, USAGE
from console.cli.parser import build_parser
from console.gate.secret import redacted
from console.history.errors import HistoryError
from console.history.history import History, default_path
from console.history.who import whoami
from console.operations.errors import OperationError
from console.operations.switch import Switch
from console.rollout.errors import RolloutError
from console.store.errors import Conflict
from console.tokenlab.errors import ApiError, Refused, Unsafe
from console.vault.errors import VaultError


def run(arguments: list[str]) -> int:
    """Run one command; every error becomes one sentence on stderr and an exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return _dispatch(options)
    except Conflict as error:
        return _fail(error, CONFLICT)
    except OperationError as error:
        return _fail(error, PROBLEMS)
    except (RolloutError, HistoryError, VaultError) as error:
        return _fail(error, USAGE)
    except ApiError as error:
        return _fail(error, PROBLEMS if isinstance(error, (Refused, Unsafe)) else UNREACHABLE)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return 130


def _dispatch(options: Namespace) -> int:
    if options.command == "demo":
        from console.cli.demo import run_demo

        return run_demo(options)
    if options.command == "sim":
        from console.cli.demo import run_sim

        return run_sim(options)
    path = file_path(options)
    if options.command == "keys" or (options.command == "check" and not options.offline):
        return _with_credentials(options, path)
    if options.command == "check":
        return reading.check(options, path)
    if options.command in ("show", "history", "decide"):
        return reading.COMMANDS[options.command](options, make_switch(options, path))
    if options.command is None:
        from console.cli.console import run_console
        from console.cli.credentials import given_on, make_vault

        vault = make_vault(given_on(options), asks=False)
        return run_console(make_switch(options, path), vault)
    return changing.change(options, make_switch(options, path))


def _with_credentials(options: Namespace, path: Path) -> int:
    from console.cli.credentials import given_on, make_key_room, make_vault
    from console.cli.keys import keys

    room = make_key_room(options, make_vault(given_on(options), asks=True), path)
    return keys(options, room) if options.command == "keys" else reading.check(options, path, room)


def file_path(options: Namespace) -> Path:
    """Return the rollout file: flag, environment, then the usual name here."""
    return Path(options.file or os.environ.get("ROLLOUT_FILE") or "rollout.toml")


def make_switch(options: Namespace, path: Path) -> Switch:
    """Return the switch on ``path`` with this user's history."""
    return Switch(path, History(default_path()), whoami(), read_only=options.read_only)


def _fail(error: Exception, code: int) -> int:
    print(f"rollout-console: {redacted(str(error))}", file=sys.stderr)
    return code
