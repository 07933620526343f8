"""Make docs/rollout-console.1 from the parser: ``python -m tests.support.manual_page``.

The form is man(7)'s, as groff and mandoc read it. The wheel installs the page below share/man.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from rollout_console.cli.arguments import build_parser
from rollout_gate.version import __version__

PATH = Path(__file__).resolve().parents[2] / "docs" / "rollout-console.1"

_EXIT = {
    "0": "done",
    "1": "problems found, or a change that could not be made",
    "2": "wrong usage, or a rollout file that cannot be used",
    "3": "TokenLab or a previous provider cannot be reached",
    "4": "conflict: the file was changed meanwhile; nothing was overwritten",
}
_ENVIRONMENT = {
    "ROLLOUT_FILE": "the rollout file, where --file is not given",
    "ROLLOUT_STATE_DIR": "the folder of state that cannot be beside the rollout file",
    "TOKENLAB_API_KEY, TOKENLAB_MANAGEMENT_TOKEN": "credentials; with _FILE added, a file of one",
    "OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, GOOGLE_API_KEY": (
        "credentials of the previous providers, for probes"
    ),
    "ROLLOUT_PROMETHEUS_TOKEN": "a bearer token for the Prometheus of the rollout file",
    "ROLLOUT_PROMETHEUS_USER, ROLLOUT_PROMETHEUS_PASSWORD": "or a user and a password for it",
    "ROLLOUT_VAULT_PASSPHRASE_FILE": "a file with the passphrase of the encrypted store",
    "ROLLOUT_WEBHOOK_URL": "where the guard posts its events",
    "NO_COLOR": "if set and not empty, the console uses no colour (see no-color.org)",
}
_FILES = {
    "rollout.toml": "the rollout file, in the working directory",
    "rollout.history.sqlite3": "beside it: who changed what, when and why",
    "~/.config/rollout-console/config.toml": "the console's theme and keys",
}


def made() -> str:
    """Return the page."""
    parser = build_parser()
    lines = [
        '.\\" Made from the parser by "python -m tests.support.manual_page"; do not edit.',
        f'.TH ROLLOUT-CONSOLE 1 "" "rollout-console {__version__}" "User Commands"',
        ".SH NAME",
        "rollout\\-console \\- move LLM traffic to TokenLab, org by org, and back",
        ".SH SYNOPSIS",
        *_synopsis(parser),
        ".SH DESCRIPTION",
        _text(parser.description or ""),
        "Without a command it opens the console.",
        ".SH OPTIONS",
        *_options(parser, set()),
        ".SH COMMANDS",
        *_commands(parser, {"help", "file", "read_only"}),
        *_section("EXIT STATUS", _EXIT),
        *_section("ENVIRONMENT", _ENVIRONMENT),
        *_section("FILES", _FILES),
    ]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser, known: set[str]) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                if not any(isinstance(one, argparse._SubParsersAction) for one in command._actions):
                    yield f".SS {_text(command.prog.partition(' ')[2])}"
                    yield from _synopsis(command)
                    yield ".PP"
                    yield _text(_sentence(command.description or ""))
                    yield from _options(command, known)
                yield from _commands(command, known)


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the usage; argparse's own differs from one Python version to the next."""
    yield ".ad l"
    yield ".nh"
    yield f".B {_text(parser.prog)}"
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and "-h" not in action.option_strings:
            word = _invocation(action, action.option_strings[:1])
            optional = action.option_strings and not action.required
            yield _text(f"[{word}]" if optional else word)
    yield ".hy"
    yield ".ad b"


def _options(parser: argparse.ArgumentParser, known: set[str]) -> Iterator[str]:
    for action in parser._actions:
        hidden = action.help == argparse.SUPPRESS or action.dest in known
        if hidden or isinstance(action, argparse._SubParsersAction):
            continue
        yield ".TP"
        yield f".B {_text(_invocation(action, sorted(action.option_strings, key=len)))}"
        about = parser._get_formatter()._expand_help(action) if action.help else "required"
        if action.help or not action.option_strings:
            yield _text(_sentence(about))


def _invocation(action: argparse.Action, options: Sequence[str]) -> str:
    """Return an argument as it is written: its options, and its value's name."""
    if isinstance(action, argparse._SubParsersAction):
        return f"{action.metavar} ..."
    choices = "{" + ",".join(str(one) for one in action.choices or ()) + "}"
    name = str(action.metavar or (choices if action.choices else action.dest))
    if action.nargs == 0:
        value = ""
    elif options and action.metavar is None and not action.choices:
        value = name.upper()
    else:
        value = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}.get(
            str(action.nargs), name
        )
    return f"{', '.join(options)} {value}".strip()


def _section(title: str, rows: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, about in rows.items():
        yield ".TP"
        yield f".B {_text(name)}"
        yield _text(_sentence(about))


def _sentence(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith(".") else f"{text}."


def _text(text: str) -> str:
    """Escape what roff takes for a request or an escape sequence."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    PATH.write_text(made(), encoding="utf-8")
