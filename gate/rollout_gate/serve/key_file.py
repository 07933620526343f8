"""A credential in a file, read again when the file changes, so that it can be rotated."""

import logging
from pathlib import Path

from rollout_gate.http.credentials import checked

log = logging.getLogger("rollout_gate")

MOST_BYTES = 16_384


class KeyFile:
    """Returns the credential in a file; for the event loop's thread.

    A file that is gone, empty or unreadable later leaves the last good credential in force, and
    the logger ``rollout_gate`` says so once. Raises OSError or ValueError, without the credential
    in it, where the first read fails.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        self._path = Path(path)
        self._name = name
        self._seen = self._stat()
        self._value = self._read()
        self._trouble = ""

    def __call__(self) -> str:
        """Return the credential."""
        try:
            seen = self._stat()
            if seen != self._seen:
                self._value = self._read()
                self._seen = seen
            self._trouble = ""
        except (OSError, ValueError) as error:
            trouble = (
                error.strerror or type(error).__name__ if isinstance(error, OSError) else error
            )
            if str(trouble) != self._trouble:
                log.warning(
                    "%s: %s cannot be used, the credential read before stays in force: %s",
                    self._name, self._path, trouble,
                )  # fmt: skip
            self._trouble = str(trouble)
        return self._value

    def _stat(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> str:
        with self._path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"{self._name} is longer than {MOST_BYTES} bytes")
        return checked(data.decode("utf-8", "replace"), self._name)
