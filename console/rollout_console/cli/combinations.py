"""Options that exclude each other, or would be ignored: refused with a sentence, before any work.

An option that is ignored in silence is taken for obeyed: ``--limit`` for a shorter list, ``--file``
for the file that is shown.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import datetime

from rollout_console.etcd.address import is_etcd

_MODEL_FILTERS = (
    "recommended_for", "category", "provider", "tag", "stage", "max_price", "search", "changed",
)  # fmt: skip


def why_not_together(options: Namespace) -> str:
    """Return the first reason why options cannot be combined so; empty where they can."""
    return next(_reasons(options), "")


def _reasons(options: Namespace) -> Iterator[str]:
    if options.plain and options.command not in (None, "demo"):
        yield f"--plain is the console as lines: without {options.command}"
    if options.plain_json and not options.plain:
        yield "--json goes with --plain, or after a command that prints data"
    of_command = _OF_COMMAND.get(options.command or "")
    if of_command is not None:
        yield from of_command(options)


def _simulated(options: Namespace) -> Iterator[str]:
    if options.file is not None:
        yield f"{options.command} has a rollout file of its own: give no --file"
    if options.command == "demo" and options.headless_seconds is not None:
        if options.plain:
            yield "--headless-seconds prints a summary, --plain lines: give one of them"
        if options.read_only:
            yield "--headless-seconds rolls its own file back: give no --read-only"


def _period(options: Namespace) -> Iterator[str]:
    since, until = options.since, options.until
    if since is not None and until is not None and since >= until:
        yield "the period ends before it begins: --since is to be the earlier of the two times"


def _reconcile(options: Namespace) -> Iterator[str]:
    yield from _period(options)
    if options.limit is not None and not options.pile:
        yield "--limit is how many rows of a pile are listed: say which with --pile"
    if options.offline and options.reread:
        yield "--reread asks the API, and --offline does not: give one of them"
    yield from _asking(options)


def _cost(options: Namespace) -> Iterator[str]:
    yield from _period(options)
    if options.limit and not options.by:
        yield "--limit is how many rows of a view are listed: say which with --by"
    if options.limit and options.json:
        yield "--limit is of the table: --json has all rows"
    yield from _asking(options)


def _asking(options: Namespace) -> Iterator[str]:
    if options.offline and options.token_stdin:
        yield "--token-stdin is for the API, and --no-pull or --offline asks none: give one of them"


def _report(options: Namespace) -> Iterator[str]:
    if options.json and options.out == "-":
        yield "--out - prints the Markdown, --json the figures: give one of them"


def _models(options: Namespace) -> Iterator[str]:
    if not options.model:
        return
    for name in _MODEL_FILTERS:
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            yield f"{option} chooses from the list: give it without the names of models"
    if options.mark_seen:
        yield "--mark-seen is of the whole list: give it without the names of models"


def _guard(options: Namespace) -> Iterator[str]:
    given = {"--once": options.once, "--every": options.every is not None}
    if options.once and given["--every"]:
        yield "--once looks once, --every again and again: give one of them"
    if options.put_back:
        given |= {"--notify-command": options.notify_command, "--json": options.json}
        for option in (name for name, is_given in given.items() if is_given):
            yield f"--put-back puts back and ends: give no {option}"
        if len(options.put_back) > 2:
            yield "--put-back takes a route, and one org at most"


def _phase(options: Namespace) -> Iterator[str]:
    asked = (options.tick, options.untick, options.owner, options.contact, options.to)
    if any(asked) and not options.route:
        yield "name the route that is meant"
    if options.note and not options.tick:
        yield "--note is kept with a tick: say of which check with --tick"
    if options.reason and not options.to:
        yield "--reason is kept with a move: say to which phase with --to, or use --note"


def _export(options: Namespace) -> Iterator[str]:
    if options.follow and options.form != "flagd":
        yield "--follow is of the flags, which change with the file: export flagd --follow"
    if options.follow and options.out is None:
        yield "--follow keeps a file current: say which with --out"


def _mirror(options: Namespace) -> Iterator[str]:
    if options.file is not None:
        yield "mirror is told its file after the address: give no --file"
    if options.list and (options.path or options.once):
        yield "--list looks at all mirrors: give the address alone"
    if options.forget and (options.path or options.once or options.list):
        yield "--forget is of one server: give the address and its name alone"
    if not (options.list or options.forget or options.path):
        yield "mirror needs the local file after the address (or --list)"
    if options.json and not options.list:
        yield "--json is of the list of mirrors: give it with --list"


def _probe(options: Namespace) -> Iterator[str]:
    if options.every and options.media:
        yield "media is made once, never by a schedule: --media without --every"
    if options.media and options.side == "previous":
        yield "media is made on TokenLab alone: --media without --side previous"


def _rollback(options: Namespace) -> Iterator[str]:
    if options.sick and options.org:
        yield "--sick finds the orgs itself: give a route at most"
    if options.sick and options.new:
        yield "--new is of a name that is given, and --sick finds the names itself"


def _set(options: Namespace) -> Iterator[str]:
    if options.all and (options.org or options.alias or options.flag):
        yield "--all is every org with a line: name no org, alias or flag"
    if options.all and options.new:
        yield "--new is of a name that is given, and --all is every org with a line"
    named = bool(options.org or "=" in options.percent)
    if sum((named, bool(options.alias), bool(options.flag))) > 1:
        yield "give one of an org, --alias and --flag"
    if not (named or options.all or options.alias or options.flag):
        yield 'give an org ("*" for those without a line), --all, --alias or --flag'


def _init(options: Namespace) -> Iterator[str]:
    if options.from_file and not is_etcd(options.file or os.environ.get("ROLLOUT_FILE")):
        yield "--from-file puts a file into etcd: give its address with -f etcd://..."
    given = {name for name, _ in options.answers or ()}
    if options.org_field and not (options.from_openai_log or "orgs-from" in given):
        yield "--org-field is of a file with orgs: give --from-openai-log or --orgs-from"


def _keys(options: Namespace) -> Iterator[str]:
    if options.keys_command == "create" and not (options.store or options.show_secret):
        yield (
            "say where the secret goes: --store PROFILE keeps it in the vault, "
            "--show-secret prints it once"
        )
    if options.keys_command == "usage":
        start, end = _day_of(options.start), _day_of(options.end)
        if start is not None and end is not None and start > end:
            yield "the period ends before it begins: --start is to be the earlier of the two"


def _day_of(text: str) -> str | None:
    """Return the date of a time in ISO 8601; None for what the API is to judge."""
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return None


_OF_COMMAND: dict[str, Callable[[Namespace], Iterator[str]]] = {
    "demo": _simulated, "sim": _simulated, "reconcile": _reconcile, "cost": _cost,
    "budgets": _asking, "export": _export, "mirror": _mirror,
    "report": _report, "models": _models, "guard": _guard, "phase": _phase, "probe": _probe,
    "rollback": _rollback, "set": _set, "init": _init, "keys": _keys,
}  # fmt: skip
