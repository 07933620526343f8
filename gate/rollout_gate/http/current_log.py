"""Choose the access log of a process: as the current rollout file names it, or as it was given."""

import os
from pathlib import Path

from rollout_gate.access_log import AccessLog
from rollout_gate.file.model import RolloutFile
from rollout_gate.gate import Gate
from rollout_gate.paths import absolute


class CurrentLog:
    """The access log that the current rollout file of a gate names, or one that was given."""

    def __init__(self, gate: Gate, given: str | Path | None) -> None:
        self._gate = gate
        self._given = None if given is None else absolute(given)
        if self._given is not None and "\0" in str(self._given):
            raise ValueError("access_log is no path: it has a NUL")
        self._current: tuple[AccessLog, RolloutFile | None, int] | None = None
        if problem := self.problem():
            gate.report(("access log", str(self._path())), problem)

    def problem(self) -> str:
        """Return why no line can be written now, in a sentence; empty where one can.

        It is asked at the start, as a request would notice it too late; nothing is created.
        """
        if self._given is None and self._gate.file is None:
            return ""
        path = self._path()
        try:
            if path.is_dir():
                why = "it is a folder"
            elif path.exists():
                why = "" if os.access(path, os.W_OK) else "it may not be written"
            elif not path.parent.is_dir():
                why = f"there is no folder {path.parent}"
            else:
                can = os.access(path.parent, os.W_OK | os.X_OK)
                why = "" if can else "its folder may not be written"
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no path"
        return f"{path} cannot be written to: {why}; requests have no line in it" if why else ""

    def get(self) -> AccessLog:
        """Return the log to write to."""
        current, file, process = self._current, self._gate.file, os.getpid()
        if current is not None and current[1] is file and current[2] == process:
            return current[0]
        path, log = self._path(), None if current is None else current[0]
        if log is None or log.path != path:
            # The log before is closed by its finalizer, after the last request that writes to it.
            log = AccessLog(path, on_line=self._gate.line_appended)
        self._current = log, file, process
        return log

    def _path(self) -> Path:
        if self._given is not None:
            return self._given
        file = self._gate.file
        name = file.access_log if file is not None else "access.jsonl"
        # In a pattern for several writers, * is replaced: each process has a file of its own.
        return self._gate.path.parent / name.replace("*", _host_and_process())


def _host_and_process() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"
