"""Locate the history of a rollout file: next to it, shared by all operators of the file."""

import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rollout_console.common.files import real_path
from rollout_console.common.folders import folder_of, state_folder
from rollout_console.history.history import History
from rollout_gate.file.read import read_regular
from rollout_gate.paths import LEDGER_NAME

_NAMED = r"""(?ms)^\s*\[history\][^\[]*?^\s*path\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')"""


def history_of(file: Path) -> History:
    """Return the history of a rollout file.

    It is ``rollout.history.sqlite3`` next to ``rollout.toml``, or at ``[history] path``, relative
    to the file; where it does not exist and its folder is not writable, it is in this user's state
    folder (``$ROLLOUT_STATE_DIR`` overrides the platform's). A path that is another file of the
    rollout is ignored, see ``misplaced``.
    """
    target = real_path(file)
    named, others = _places(target)
    path = named if named not in others else None
    path = path or target.with_name(f"{target.stem}.history.sqlite3")
    own = state_folder() / "history.sqlite3"
    found = History(path, like=target, older=[own])
    return found if found.is_there or os.access(path.parent, os.W_OK) else History(own)


def misplaced(file: Path) -> str:
    """Return what is wrong with ``[history] path``, empty where nothing is.

    SQLite treats an empty file as a new database, and so would overwrite an empty access log.
    """
    named, others = _places(real_path(file))
    return f"is {others[named]}: it is ignored" if named in others else ""


def companions(file: Path) -> Mapping[Path, str]:
    """Return the paths, resolved, of a rollout file and of all that belongs to it, each in words.

    The access log's rotated files, and the files of a pattern, are those that exist now.
    """
    target = real_path(file)
    _, log = _named(target)
    _, others = _places(target)
    found = {path: kind for path, kind in others.items() if path is not None}
    history = history_of(file).path
    for suffix in ("", "-wal", "-shm", "-journal"):
        found[history.with_name(history.name + suffix)] = "the history"
    if log:
        from glob import escape  # lazy: no start of the console needs it

        path = _beside(target, log)
        with suppress(OSError, ValueError):
            logs = {*path.parent.glob(path.name), *path.parent.glob(f"{escape(path.name)}*")}
            found |= dict.fromkeys(logs, "the access log")
        found[path.with_name(LEDGER_NAME)] = "the ledger of media jobs"
        found[path.with_name("rollout-ids.sqlite3")] = "the gate's file of ids"
    found[target.with_name(f"{target.stem}.spending.json")] = "what was spent of budgets"
    return {Path(os.path.realpath(path)): kind for path, kind in found.items()}


def _places(target: Path) -> tuple[Path | None, Mapping[Path | None, str]]:
    """Return the history path that the file names, and the paths that it must not be."""
    named, log = _named(target)
    others: dict[Path | None, str] = {target: "the rollout file itself"}
    if log:
        others[_beside(target, log)] = "the access log"
    for kind in ("guard", "plan"):
        others[target.with_name(f"{target.stem}.{kind}.toml")] = f"the {kind}'s file"
    return (_beside(target, named) if named else None), others


def _beside(target: Path, path: str) -> Path:
    return Path(os.path.normpath(folder_of(target).absolute() / path))


def _named(file: Path) -> tuple[str, str]:
    """Return the paths of history and access log, even where the file is invalid elsewhere."""
    try:
        text = read_regular(file)[0].decode("utf-8", "replace")
    except OSError:
        return "", ""
    try:
        table = tomllib.loads(text)
        found = table.get("history", {}).get("path", "")
        log = table.get("health", {}).get("access_log", "access.jsonl")
    except (ValueError, AttributeError, RecursionError):
        match, log = re.search(_NAMED, text), ""
        found = (match[1] or match[2] or "") if match is not None else ""
    return _path_text(found), _path_text(log)


def _path_text(value: object) -> str:
    return value if isinstance(value, str) and "\0" not in value else ""
