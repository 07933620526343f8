"""Where the history of a rollout file is: beside it, for all who work on it."""

import os
import re
import tomllib
from pathlib import Path

from console.folders import state_folder
from console.gate.load import read_regular
from console.history.history import History

_NAMED = re.compile(
    r"""^\s*\[history\][^\[]*?^\s*path\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')""", re.M | re.S
)


def history_of(file: Path) -> History:
    """Return the history of a rollout file.

    It is ``rollout.history.sqlite3`` beside ``rollout.toml``, or where ``[history] path`` says,
    relative to the file; where its folder cannot have one, this user's state folder
    (``$ROLLOUT_STATE_DIR`` overrides the platform's).
    """
    target = file.resolve()
    named = _named(target)
    path = target.parent / named if named else target.with_name(f"{target.stem}.history.sqlite3")
    own = state_folder() / "history.sqlite3"
    found = History(path, like=target, older=[own])
    return found if found.is_there or os.access(path.parent, os.W_OK) else History(own)


def _named(file: Path) -> str:
    """Return the path that the file names, also where the file is broken elsewhere."""
    try:
        text = read_regular(file)[0].decode("utf-8", "replace")
    except OSError:
        return ""
    try:
        found = tomllib.loads(text).get("history", {}).get("path", "")
    except (ValueError, AttributeError, RecursionError):
        match = _NAMED.search(text)
        found = (match[1] or match[2] or "") if match is not None else ""
    return found if isinstance(found, str) and "\0" not in found else ""
