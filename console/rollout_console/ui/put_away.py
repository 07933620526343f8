"""Notices that this user has put away for good, by profile: a small file in the state folder."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rollout_console.common.files import write_private
from rollout_console.common.flock import best_effort_lock

_MOST_BYTES = 64 * 1024
_LOCK_WAIT_S = 0.05
"""How long another console that writes the file is waited for, in seconds: the loop is blocked."""


class PutAway:
    """Remembers, by profile, the notice of a missing credential that is not told again.

    Another reason for the same lack is told. A file that cannot be read remembers nothing, and one
    that cannot be written lasts for this run: neither is worth a notice of its own. The methods
    block for a small file, which is read once, and again before each write, as several consoles
    put notices away. Without ``keeps`` it is never written.
    """

    def __init__(self, path: Path, *, keeps: bool = True) -> None:
        self._path = path
        self._keeps = keeps
        self._kept: dict[str, str] | None = None
        self._is_saved = True

    def has(self, profile: str, sentence: str) -> bool:
        """Return whether this notice of a profile was put away."""
        return self._read().get(profile) == sentence

    def add(self, profile: str, sentence: str) -> None:
        """Put the notice of a profile away."""
        if not self.has(profile, sentence):
            self._change(profile, sentence)

    def discard(self, profile: str) -> None:
        """Tell it again when it is next true: the profile has a credential now."""
        if profile in self._read():
            self._change(profile, None)

    def _change(self, profile: str, sentence: str | None) -> None:
        if not self._keeps:
            self._kept = _with(self._read(), profile, sentence)
            return
        with best_effort_lock(self._path.parent, _LOCK_WAIT_S):
            # After a write that failed the file lacks what is known here.
            known = self._load() if self._is_saved else None
            kept = self._kept = _with(self._read() if known is None else known, profile, sentence)
            body = json.dumps({"version": 1, "no_credential": kept}, indent=2, sort_keys=True)
            self._is_saved = False
            with suppress(OSError):
                write_private(self._path, (body + "\n").encode())
                self._is_saved = True

    def _read(self) -> dict[str, str]:
        if self._kept is None:
            self._kept = self._load() or {}
        return self._kept

    def _load(self) -> dict[str, str] | None:
        """Return what the file has; None where it cannot be read."""
        with suppress(OSError, ValueError, RecursionError), self._path.open("rb") as stream:
            table = json.loads(stream.read(_MOST_BYTES))
            found = table.get("no_credential", {}) if isinstance(table, dict) else {}
            if isinstance(found, dict):
                return {k: v for k, v in found.items() if isinstance(v, str)}
        return None


def _with(kept: Mapping[str, str], profile: str, sentence: str | None) -> dict[str, str]:
    others = {name: one for name, one in kept.items() if name != profile}
    return others if sentence is None else {**others, profile: sentence}
