"""Confirmation prompts on the terminal."""

import sys
from collections.abc import Iterable

from rollout_console.cli.line_input import read_line
from rollout_console.common.safe_text import visible


def agreed(verb: str, refused: str, *, wanted: str = "yes", lines: Iterable[str] = ()) -> bool:
    """Print ``lines``, ask for ``wanted`` to be typed; without a terminal, refuse and name --yes.

    ``verb`` completes the prompt, such as ``send``; ``refused`` is printed after any other answer.
    """
    if not sys.stdin.isatty():
        print(f"rollout-console: no terminal to ask on; add --yes to {verb}", file=sys.stderr)
        return False
    for line in lines:
        print(visible(line.rstrip("\r\n")), file=sys.stderr)
    print(f"type {visible(wanted)} to {verb}: ", end="", file=sys.stderr, flush=True)
    if read_line().strip() == wanted:
        return True
    print(refused, file=sys.stderr)
    return False
