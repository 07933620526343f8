"""The argparse parser of ``rollout-console``: every command with its options."""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

from rollout_console.cli.commands.budgets_arguments import add_budgets
from rollout_console.cli.commands.completion_arguments import add_completion
from rollout_console.cli.commands.cost_arguments import add_cost
from rollout_console.cli.commands.export_arguments import add_export
from rollout_console.cli.commands.guard_arguments import add_guard
from rollout_console.cli.commands.init_arguments import add_init
from rollout_console.cli.commands.jobs_arguments import add_jobs
from rollout_console.cli.commands.keys_arguments import add_keys
from rollout_console.cli.commands.mirror_arguments import add_mirror
from rollout_console.cli.commands.models_arguments import add_models
from rollout_console.cli.commands.phases_arguments import add_phase, add_playbook, add_shadow
from rollout_console.cli.commands.plain_arguments import add_plain
from rollout_console.cli.commands.probe_arguments import add_probe
from rollout_console.cli.commands.reconcile_arguments import add_reconcile
from rollout_console.cli.commands.report_arguments import add_report
from rollout_console.cli.commands.web_arguments import add_web
from rollout_console.cli.values import days, duration, whole
from rollout_console.common.safe_text import visible
from rollout_gate.secret import redacted

EPILOG = """\
exit codes: 0 done, 1 problems found, 2 usage or bad file, 3 unreachable, 4 conflict
"""


_FREE_TEXTS = ("reason", "note")
_PATHS_AND_NAMES = (
    "file",
    "out",
    "output",
    "prompts",
    "route",
    "org",
    "from_litellm",
    "from_openai_log",
    "csv",
    "jsonl",
)
"""Arguments that may hold undecodable bytes: paths are bytes, odd names are refused as unknown."""


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors never echo a credential passed as an argument by mistake.

    Abbreviated options are refused: ``--y`` would be ``--yes`` today, and ambiguous tomorrow. The
    error for a misspelled name suggests the nearest one and shows the usage of its subcommand.
    """

    _mixes = False

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **given})

    def error(self, message: str) -> NoReturn:
        """Print the error, without any credential, and exit with code 2."""
        if redacted(message) != message:
            message = (
                "a credential is not given as an argument, where it stays in the shell's history "
                "and shows in the process list; that one should be revoked. Use --token-stdin, "
                "or paste it when asked"
            )
        super().error(visible(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an unknown argument is an error of this subparser, shown with its own usage."""
        words = sys.argv[1:] if args is None else list(args)
        # Refuse an unknown option before the subcommand here: argparse would take its value for
        # the subcommand, and report that instead.
        first = words[0].partition("=")[0] if words else ""
        if len(first) > 2 and first.startswith("--") and first not in self._option_string_actions:
            self._unknown([first], words)
        if self._mixes:  # a pass of parse_known_intermixed_args, which collects what is left
            return super().parse_known_args(words, namespace)
        if self._subparsers is None and "--" not in words:  # before 3.13 it would be lost
            self._mixes = True
            try:
                found, unknown = self.parse_known_intermixed_args(words, namespace)
            finally:
                self._mixes = False
        else:
            found, unknown = super().parse_known_args(words, namespace)
        if unknown:
            self._unknown(unknown, words)
        return found, unknown

    def _unknown(self, unknown: list[str], words: list[str]) -> NoReturn:
        if any(redacted(word) != word for word in words):
            self.error(" ".join(words))
        options = [word.partition("=")[0] for word in unknown if word.strip("-") and word[0] == "-"]
        if not options:
            self.error(f"there is no argument {unknown[-1]!r} here")
        known = [name for name in self._option_string_actions if name.startswith("--")]
        self.error(f"there is no option {options[0]!r} here{_nearest(options[0], known)}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Convert one value; invalid UTF-8 arrives as lone surrogates (PEP 383)."""
        if isinstance(action, argparse._SubParsersAction):
            return arg_string  # arguments of a subcommand: its own parser converts them
        text = arg_string.encode("utf-8", "replace").decode()
        if text != arg_string and action.dest in _FREE_TEXTS:
            arg_string = text  # an undecodable reason must not fail a rollback
        elif text != arg_string and action.dest not in _PATHS_AND_NAMES:
            raise argparse.ArgumentError(action, "it is not UTF-8")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(choice) for choice in action.choices]
            among = _nearest(str(value), names) or f"; there are {', '.join(names)}"
            kind = "command" if isinstance(action, argparse._SubParsersAction) else "choice"
            raise argparse.ArgumentError(
                None if kind == "command" else action, f"there is no {kind} {value!r}{among}"
            )


def _nearest(wrong: str, known: Iterable[str]) -> str:
    """Return a "did you mean" suffix with up to 3 close matches; empty without one."""
    from difflib import get_close_matches  # lazy import: only errors need it

    names = {name.lstrip("-"): name for name in known}
    near = [names[name] for name in get_close_matches(wrong.lstrip("-"), names, 3, 0.7)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


Add = Callable[[argparse.ArgumentParser], None]
"""Adds the options of a command to its parser."""


class _CommandParser(_Parser):
    """A subparser that is set up lazily, when it is first used, with what ``add`` adds to it.

    One command of forty is used; to set up the parsers of all took longer than a command itself.
    """

    _late: tuple[Add, dict[str, Any]] | None = None

    def __init__(self, *, add: Add | None = None, **given: Any) -> None:
        if add is None:
            super().__init__(**given)
        else:
            self._late = add, given

    def __getattr__(self, name: str) -> Any:
        """Set the parser up: an attribute is missing, as it has none before."""
        if self._late is None:
            raise AttributeError(name)
        (add, given), self._late = self._late, None
        super().__init__(**given)
        add(self)
        return getattr(self, name)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``rollout-console``."""
    parser: argparse.ArgumentParser = _Parser(
        prog="rollout-console",
        description="Move LLM traffic to TokenLab, org by org, and back with one key.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show program's version number and exit"
    )
    _add_common(parser, top=True)
    add_plain(parser, top=True)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_CommandParser
    )

    def command(name: str, about: str, *adds: Add, changes: bool = False) -> None:
        def add(to: argparse.ArgumentParser) -> None:
            _add_common(to, top=False)
            for one in (_add_change, *adds) if changes else adds:
                one(to)

        commands.add_parser(name, help=about, description=about, add=add)

    command("demo", "the console on a simulator, to try and to practise", _add_demo)
    command("sim", "the simulator alone; its base URL is the first line printed", _add_sim)
    command(
        "init", "write a first rollout file, from answers or what you have", add_init, _add_json
    )
    command("show", "print the rollout file as it is read", _add_json)
    command("set", "set the percent of orgs on a route", _add_set, changes=True)
    command("rollback", "latch to the previous side", _add_rollback, changes=True)
    command("resume", "end a latch; percents are what they were", _add_resume, changes=True)
    command("undo", "take the last change back", _add_override, changes=True)
    command("restore", "restore an earlier version of the file", _add_restore, changes=True)
    command("history", "list the changes, newest first", _add_history, _add_json)
    command("decide", "say where one request would go, and why", _add_decide, _add_json)
    command("check", "check the file before traffic depends on it", _add_check, _add_json)
    command("models", "browse the models that TokenLab offers", add_models, _add_json)
    about = "send one minimal real request per route, on both sides"
    command("probe", about, add_probe, _add_json)
    about = "a sample of prompts through both sides, to be judged"
    command("shadow", about, add_shadow, _add_json)
    command("phase", "how far a route is, and what is missing", add_phase, changes=True)
    command("playbook", "write the support playbook in Markdown", add_playbook)
    about = "an incident as Markdown, with charts and figures"
    command("report", about, add_report, _add_json)
    about = "what TokenLab billed against what the access log has, to the last digit"
    command("reconcile", about, add_reconcile, _add_json)
    about = "the bill by route, org, model, key and day; burn, runway, why it differs"
    command("cost", about, add_cost, _add_json)
    about = "what was spent of each budget of the file, and what that holds"
    command("budgets", about, add_budgets, _add_json)
    command("guard", "watch without a screen: raise, hold, roll back, tell", add_guard)
    about = "keep a local file as it is in etcd; which servers have it"
    command("mirror", about, add_mirror, _add_json)
    command("export", "print the file in another tool's format", add_export)
    command("web", "the console in a browser, to look at: always read-only", add_web)
    command("completion", "print a completion script for a shell", add_completion)
    about = "async media jobs: how each stands, duplicates, polling, cancelling"
    add = partial(add_jobs, add_common=_add_common)
    commands.add_parser("jobs", help=about, description=about, add=add)
    about = "profiles and their credentials, and the organisation's API keys"
    add = partial(add_keys, add_common=_add_common)
    commands.add_parser("keys", help=about, description=about, add=add)
    return parser


def _add_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept in the history")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="print the diff, change nothing")
    _add_json(parser)


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route")
    parser.add_argument(
        "org", nargs="*", help='one or more, or "*" for orgs without a line of their own'
    )
    parser.add_argument(
        "percent", help="0 to 100, at most two decimals; or each org with its own: ORG=PERCENT ..."
    )
    parser.add_argument("--all", action="store_true", help="every org that has a line on the route")
    parser.add_argument(
        "--alias", metavar="NAME", default="", help="the share by an API key's alias, not an org's"
    )
    parser.add_argument(
        "--flag", metavar="NAME", default="", help="the share by a feature flag, not an org's"
    )
    _add_new(parser)
    _add_override(parser)


def _add_rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", nargs="?")
    parser.add_argument("org", nargs="*", help="one or more; the route without")
    parser.add_argument(
        "--sick", action="store_true", help="every route and org that asks for a rollback now"
    )
    _add_new(parser)


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", nargs="?")
    parser.add_argument("org", nargs="?")
    _add_override(parser)


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revision", help="from history; its first 7 digits or more")
    _add_override(parser)


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=whole(1, 1000), default=20, help="how many (default 20)")


def _add_decide(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route")
    parser.add_argument("--org", required=True)
    parser.add_argument("--key", help="the sticky id of the subject (default: the org)")
    parser.add_argument("--key-alias", help="the API key's alias, for [routes.X.keys]")
    parser.add_argument("--flag", action="append", default=[], help="may be repeated")


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="only what needs no network")
    parser.add_argument(
        "--plan-days", type=days(0, 3650), default=90, metavar="DAYS",
        help="how long the rollout will take, 90 or 12w: no model may end before that (default 90)",
    )  # fmt: skip


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--new", action="store_true", help="make a line for a name that file and log do not have"
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    add_plain(parser, top=False)
    parser.add_argument(
        "--headless-seconds", type=duration(5, 3600, bare="s"), metavar="TIME",
        help="run so many seconds, or 10m, without a terminal, and print a JSON summary",
    )  # fmt: skip


def _add_sim(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=whole(0, 65_535), default=0, help="default: a free one")
    parser.add_argument("--realistic", action="store_true", help="latencies as in production")


def _add_common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Add the options accepted before and after the subcommand.

    SUPPRESS keeps a subparser's default from overwriting a value given before the subcommand.
    """
    default = None if top else argparse.SUPPRESS
    parser.add_argument(
        "--file", "-f", metavar="PATH", type=_path, default=default,
        help="the rollout file, or its address in etcd, etcd://HOST:2379,.../rollout/prod"
        " (default: $ROLLOUT_FILE, else ./rollout.toml)",
    )  # fmt: skip
    parser.add_argument(
        "--read-only", action="store_true", default=False if top else argparse.SUPPRESS,
        help="change nothing, whatever is asked",
    )  # fmt: skip
    parser.add_argument(
        "--ascii", action="store_true", default=False if top else argparse.SUPPRESS,
        help="draw and print ASCII alone, as by itself in a C locale and on TERM=linux",
    )  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--override-guard",
        action="store_true",
        help="raise although the guard holds; needs --reason",
    )


class _Version(argparse.Action):
    """Looks up the version lazily: importlib.metadata takes longer than parsing the arguments."""

    def __call__(self, parser: argparse.ArgumentParser, *_arguments: Any, **_more: Any) -> None:
        """Print the version and exit."""
        print(_version())
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"rollout-console {version('rollout-console')}"
    except PackageNotFoundError:
        return "rollout-console (not installed)"


def _path(text: str) -> str:
    if not text:  # such as an unset shell variable: do not fall back to ./rollout.toml
        raise argparse.ArgumentTypeError("it is empty; give the path of a rollout file")
    return text
