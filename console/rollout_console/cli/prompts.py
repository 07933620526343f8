"""Questions on the terminal: one line each, with a default, validated at once."""

import sys
from collections.abc import Callable

from rollout_console.cli.line_input import read_line
from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible
from rollout_gate.secret import redacted


class InputEnded(OperationError):
    """The terminal's input ended (ctrl+d) before the question was answered."""

    def __init__(self) -> None:
        super().__init__("the input ended; nothing was written")


def can_ask() -> bool:
    """Return whether there is a terminal to ask on, and one to print the questions on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: str = "") -> None:
    """Print a line to stderr, beside the data on stdout, safely for a terminal; "" is a blank one.

    Credentials are left out, and untrusted characters are shown as dots.
    """
    print(visible(redacted(text)), file=sys.stderr)


def ask(question: str, default: str = "", *, problem: Callable[[str], str] = lambda _: "") -> str:
    """Ask until the answer has no ``problem``; an empty answer is the default.

    ``problem`` returns the end of a sentence that begins with the answer. Raises InputEnded, and
    KeyboardInterrupt on ctrl+c.
    """
    shown = f" [{visible(default)}]" if default else ""
    while True:
        print(f"{visible(question)}{shown}: ", end="", file=sys.stderr, flush=True)
        try:
            line = read_line()
        except UnicodeDecodeError:
            say("  that is not UTF-8; type it again")
            continue
        if not line:
            print(file=sys.stderr)
            raise InputEnded
        answer = line.strip() or default
        wrong = problem(answer)
        if not wrong:
            return answer
        say(f"  {answer[:60] or 'an empty answer'} {wrong}")


def ask_yes(question: str, *, default: bool = False) -> bool:
    """Ask for yes or no; an empty answer is the default."""
    said = ask(
        f"{question} (yes or no)", "yes" if default else "no",
        problem=lambda answer: "" if _is_yes(answer) is not None else "is neither yes nor no",
    )  # fmt: skip
    return _is_yes(said) is True


def _is_yes(answer: str) -> bool | None:
    word = answer.lower()
    return True if word in ("y", "yes") else False if word in ("n", "no") else None
