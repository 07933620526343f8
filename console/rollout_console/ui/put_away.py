"""Notices that this user has put away for good, by profile: a small file in the state folder."""

import json
from contextlib import suppress
from pathlib import Path

from rollout_console.common.files import write_private

_MOST_BYTES = 64 * 1024


class PutAway:
    """Remembers, by profile, the notice of a missing credential that is not told again.

    Another reason for the same lack is told. A file that cannot be read remembers nothing, and one
    that cannot be written lasts for this run: neither is worth a notice of its own. The methods
    block for a small file, which is read once. Without ``keeps`` it is never written.
    """

    def __init__(self, path: Path, *, keeps: bool = True) -> None:
        self._path = path
        self._keeps = keeps
        self._kept: dict[str, str] | None = None

    def has(self, profile: str, sentence: str) -> bool:
        """Return whether this notice of a profile was put away."""
        return self._read().get(profile) == sentence

    def add(self, profile: str, sentence: str) -> None:
        """Put the notice of a profile away."""
        if not self.has(profile, sentence):
            self._write({**self._read(), profile: sentence})

    def discard(self, profile: str) -> None:
        """Tell it again when it is next true: the profile has a credential now."""
        if profile in self._read():
            self._write({name: one for name, one in self._read().items() if name != profile})

    def _read(self) -> dict[str, str]:
        if self._kept is None:
            self._kept = {}
            with suppress(OSError, ValueError, RecursionError), self._path.open("rb") as stream:
                table = json.loads(stream.read(_MOST_BYTES))
                found = table.get("no_credential", {}) if isinstance(table, dict) else {}
                if isinstance(found, dict):
                    self._kept = {k: v for k, v in found.items() if isinstance(v, str)}
        return self._kept

    def _write(self, kept: dict[str, str]) -> None:
        self._kept = kept
        if not self._keeps:
            return
        body = json.dumps({"version": 1, "no_credential": kept}, indent=2, sort_keys=True)
        with suppress(OSError):
            write_private(self._path, (body + "\n").encode())
