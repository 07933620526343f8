"""Dispatch a command line to its command; return the exit code.

Imports are lazy: Textual is loaded only to open the console itself, the vault only where a
credential may be needed, so that a rollback from a shell waits for neither.
"""

import gc
import os
import sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import replace

from rollout_console.changes.errors import Conflict, NoFile, Uncertain
from rollout_console.changes.switch import Switch
from rollout_console.cli.arguments import build_parser
from rollout_console.cli.combinations import why_not_together
from rollout_console.cli.exit_codes import CONFLICT, DONE, PROBLEMS, UNREACHABLE, USAGE
from rollout_console.cli.outcome import said_if_slow
from rollout_console.cli.streams import Output
from rollout_console.common.errors import Misused, OperationError
from rollout_console.common.folders import is_working_copy
from rollout_console.common.safe_text import visible
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.etcd.address import is_etcd
from rollout_console.etcd.errors import BadAddress, EtcdError
from rollout_console.history.actor import whoami
from rollout_console.history.errors import HistoryError
from rollout_console.history.location import history_of
from rollout_console.tokenlab.errors import ApiError, Refused, Unsafe
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.read import Missing
from rollout_gate.secret import redacted

_TELLS = (
    "show",
    "history",
    "decide",
    "check",
    "models",
    "export",
    "playbook",
    "report",
    "reconcile",
    "cost",
    "budgets",
    "completion",
)
"""Commands whose only result is their output: if it cannot be written, they have failed."""
_LOOKS = ("show", "history", "decide", "check", "models", "export", "report", "jobs")
"""Commands that change nothing, and ask no credential."""
_CHANGES = ("set", "rollback", "resume", "undo", "restore")
"""Commands that make one change: interrupted before it is sent, they have made none."""


def run(arguments: list[str]) -> int:
    """Run one command; every error becomes one sentence on stderr and an exit code."""
    before = sys.stdout, sys.stderr
    out, err = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = out, err
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        for output in (out, err):
            output.fit_to_terminal(in_ascii=options.ascii)
        why_not = why_not_together(options)
        code = _fail(why_not, USAGE) if why_not else _run(options)
        out.flush()
        if out.lost is not None and not out.was_left:
            print(f"rollout-console: the output could not be written: {out.lost}", file=err)
            code = PROBLEMS if options.command in _TELLS and code == DONE else code
        err.flush()
        return code
    finally:
        sys.stdout, sys.stderr = before


def _run(options: Namespace) -> int:
    try:
        return _dispatch(options)
    except Conflict as error:
        return _fail(error, CONFLICT)
    except Uncertain as error:
        return _fail(error, UNREACHABLE)
    except Misused as error:
        return _fail(error, USAGE)
    except OperationError as error:
        return _fail(error, PROBLEMS)
    except (Missing, NoFile) as error:
        if options.shared is not None:
            first = "give another address, or put a first one there with init --from-file PATH"
            return _fail(f"{error}: {first}", USAGE)
        return _fail(f"{error}, or write a first one with rollout-console init", USAGE)
    except EtcdError as error:
        return _fail(error, USAGE if isinstance(error, BadAddress) else UNREACHABLE)
    except (RolloutError, HistoryError, VaultError) as error:
        return _fail(error, USAGE)
    except ApiError as error:
        return _fail(error, PROBLEMS if isinstance(error, (Refused, Unsafe)) else UNREACHABLE)
    except OSError as error:
        return _fail(_sentence(error), PROBLEMS)
    except KeyboardInterrupt:
        return _interrupted(options)


def _interrupted(options: Namespace) -> int:
    """Return the exit code of ctrl+c; before a change is sent, say that there is none."""
    if options.command in _CHANGES and not getattr(options, "is_sent", False):
        _fail("SIGINT: nothing was changed", 130)
    return 130


def _dispatch(options: Namespace) -> int:
    options.access = WriteAccess(read_only=options.read_only)
    options.shared = None
    if options.command is not None:
        gc.enable()  # __main__ turned it off, and the guard and the simulator run for long
    if options.command in ("demo", "sim"):
        from rollout_console.cli.commands.demo import run_demo, run_sim

        return (run_demo if options.command == "demo" else run_sim)(options)
    if options.command == "mirror":
        return _mirror(options)
    if (address := file_text(options)) is not None and is_etcd(address):
        return _on_etcd(options, address)
    path = file_path(options)
    if is_working_copy(path.absolute()):
        raise Misused(
            f"{path} is the working copy of a rollout file in etcd, and a change of it would reach"
            " no server: give its address, -f etcd://HOST:2379,.../KEY"
        )
    return _on_file(options, path)


def _on_etcd(options: Namespace, address: str) -> int:
    """Run a command on the working copy of a rollout file in etcd."""
    from rollout_console.fleet.opening import open_shared

    hurries = options.command == "rollback"
    with ExitStack() as stack:
        with said_if_slow(f"{address} is read: etcd has not answered"):
            shared = stack.enter_context(open_shared(address, os.environ, hurries=hurries))
        options.shared = shared
        if follows_changes(options):
            shared.follow()
        return _on_file(options, shared.path)


def follows_changes(options: Namespace) -> bool:
    """Return whether a command goes on for so long that the file may change meanwhile."""
    if options.command == "web":
        return bool(options.in_tab)
    if options.command == "probe":
        return bool(options.every)
    return options.command in (None, "guard", "export")


def _on_file(options: Namespace, path: Path) -> int:
    if options.command == "init" and options.shared is not None:
        from rollout_console.cli.commands.init_shared import init_shared

        return init_shared(options, options.shared)
    if options.command == "init":
        from rollout_console.cli.commands.init import init

        return init(options, path)
    if options.command == "completion":
        from rollout_console.cli.commands.completion import completion

        return completion(options, build_parser(), path)
    online = ("keys", "probe", "shadow", "reconcile", "cost", "budgets")
    polls = options.command == "jobs" and options.jobs_command in ("poll", "cancel")
    if options.command in online or polls or (options.command == "check" and not options.offline):
        return _with_credentials(options, path)
    if options.command in _LOOKS:
        return _look(options, path)
    if options.command in ("phase", "playbook"):
        from rollout_console.cli.commands.phases import phase, write_playbook

        command = phase if options.command == "phase" else write_playbook
        return command(options, make_switch(options, path))
    if options.command == "guard":
        from rollout_console.cli.commands.guard import guard
        from rollout_console.history.actor import GUARD

        return guard(options, make_switch(options, path, user=GUARD))
    if options.command in (None, "web"):
        return _console(options, path)
    from rollout_console.cli.commands.changes import change

    return change(options, make_switch(options, path))


def _mirror(options: Namespace) -> int:
    from rollout_console.cli.commands.mirror import forget_server, mirror, mirrors

    if options.list:
        return mirrors(options)
    if options.forget:
        return forget_server(options)
    return mirror(options, make_switch(options, Path(options.path), user="mirror"))


def _console(options: Namespace, path: Path) -> int:
    if options.command == "web":
        from rollout_console.cli.commands.web import web

        options.access = WriteAccess(read_only=True)
        return web(options, make_switch(options, path))
    from rollout_console.cli.credentials import given_on, make_vault

    vault = make_vault(given_on(options), asks=False)
    if options.plain:
        from rollout_console.cli.commands.plain import plain

        gc.enable()
        options.access = WriteAccess(read_only=True)
        return plain(options, make_switch(options, path), vault)
    from rollout_console.cli.commands.console import run_console

    return run_console(make_switch(options, path), vault, in_ascii=options.ascii)


def _look(options: Namespace, path: Path) -> int:
    if options.command == "models":
        from rollout_console.cli.commands.models import models

        return models(options, path)
    if options.command == "export":
        from rollout_console.cli.commands.export import export

        return export(options, make_switch(options, path))
    if options.command == "report":
        from rollout_console.cli.commands.report import report

        return report(options, make_switch(options, path))
    if options.command == "jobs":
        from rollout_console.cli.commands.jobs import jobs

        return jobs(options, make_switch(options, path))
    from rollout_console.cli.commands.reading import COMMANDS, check

    if options.command == "check":
        return check(options, path)
    return COMMANDS[options.command](options, make_switch(options, path))


def _with_credentials(options: Namespace, path: Path) -> int:
    from rollout_console.cli.credentials import given_on, make_key_room, make_vault

    try:
        room = make_key_room(options, make_vault(given_on(options), asks=True), path)
    except RolloutError:
        if options.command != "check":
            raise
        return _look(options, path)  # check reports the bad file as a failed rule
    if options.command == "probe":
        from rollout_console.cli.commands.probe import run_probe

        return run_probe(options, path, room)
    if options.command == "shadow":
        from rollout_console.cli.commands.shadow import run as run_shadow

        return run_shadow(options, make_switch(options, path), room)
    if options.command == "jobs":
        from rollout_console.cli.commands.jobs import jobs

        return jobs(options, make_switch(options, path), room)
    if options.command == "reconcile":
        from rollout_console.cli.commands.reconcile import run as run_reconcile

        return run_reconcile(options, make_switch(options, path), room)
    if options.command == "cost":
        from rollout_console.cli.commands.cost import run as run_cost

        return run_cost(options, make_switch(options, path), room)
    if options.command == "budgets":
        from rollout_console.cli.commands.budgets import run as run_budgets

        return run_budgets(options, make_switch(options, path), room)
    if options.command == "keys":
        from rollout_console.cli.commands.keys import keys

        return keys(options, room)
    from rollout_console.cli.commands.reading import check

    return check(options, path, room)


def file_text(options: Namespace) -> str | None:
    """Return what is given as the rollout file: by --file, else by $ROLLOUT_FILE."""
    return options.file or os.environ.get("ROLLOUT_FILE") or None


def file_path(options: Namespace) -> Path:
    """Return the rollout file's path: --file, else $ROLLOUT_FILE, else ./rollout.toml.

    Raises RolloutError for a relative path where the working directory was deleted.
    """
    path = Path(file_text(options) or "rollout.toml")
    try:
        if not path.is_absolute():
            Path.cwd()
    except OSError:
        raise RolloutError(
            f"{path}: the working directory was deleted; change to another, or give --file an"
            " absolute path"
        ) from None
    return path


def make_switch(options: Namespace, path: Path, *, user: str = "") -> Switch:
    """Return the Switch for ``path`` and its history; ``user`` replaces the recorded user name."""
    who = whoami()
    who = replace(who, user=user) if user else who
    if options.shared is not None:
        from rollout_console.fleet.opening import shared_switch

        return shared_switch(options.shared, who, options.access)
    return Switch(path, history_of(path), who, access=options.access)


def _sentence(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}"


def _fail(error: Exception | str, code: int) -> int:
    print(f"rollout-console: {visible(redacted(str(error)))}", file=sys.stderr)
    return code
