"""Let a process of its own count what was spent, now and then: it may take minutes.

``rollout-console budgets --if-due`` counts at low priority, one at a time on a host, and keeps what
it found; it gets the management token on its standard input, and this process starts and reaps it.
"""

import threading
import time
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from rollout_console.budgets.spending import Spending, note_failure, spending_path
from rollout_console.budgets.standing import EVERY_S, is_due
from rollout_console.common.child_process import reap, start_child
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.vault import Vault
from rollout_gate.file.model import RolloutFile

LOOK_EVERY_S = 20.0
"""How often ``turn`` is to be called, in seconds."""
MOST_S = 6 * 3600.0
"""After how long a process is taken for one that hangs, and ended; in seconds."""
_AGAIN_S = 60.0
_END_S = 5.0
_MOST_WORDS = 2_000


class BudgetCounter:
    """Has the spending of one rollout file counted; in read-only mode it does nothing.

    ``location`` is what ``--file`` takes for it, where that is not the path.
    """

    def __init__(self, path: Path, vault: Vault, access: WriteAccess, location: str = "") -> None:
        self._path = path.absolute()
        self._location = location or str(self._path)
        self._vault = vault
        self._access = access
        self._process: Popen[bytes] | None = None
        self._swap = threading.Lock()
        self._is_closed = False
        self._began = 0.0
        self._next_at = 0.0

    @property
    def process(self) -> int | None:
        """The id of the process that counts, None without one."""
        process = self._process
        return None if process is None else process.pid

    def turn(self, file: RolloutFile, spending: Spending | None, now: float) -> None:
        """Start a count where it is due, and reap one that has ended; never waits for one.

        The lookup of the credential (a keyring) may block for seconds. Why a count failed is kept
        with the spending, where every process sees it.
        """
        if self._process is not None and not self._has_ended(file, now):
            return
        if (
            self._is_closed
            or self._access.read_only
            or not file.asks_for_counts
            or time.monotonic() < self._next_at
        ):
            return
        if not is_due(file, spending, now):
            return
        self._next_at = time.monotonic() + _AGAIN_S
        credential = self._vault.resolve(file.profile, "management_token")
        if credential.secret is None:
            self._failed(file, credential.problem, now)
            return
        try:
            self._process = self._started(credential.secret.reveal())
        except OSError as error:
            self._failed(file, f"no process could be started: {error.strerror}", now)
        self._end_if_closed()

    def close(self) -> None:
        """End the process, finished or not, and start none any more: what it pulled is kept."""
        self._is_closed = True
        self._end()

    def _end_if_closed(self) -> None:
        """End a process that was started while another thread closed this."""
        if self._is_closed:
            self._end()

    def _end(self) -> None:
        with self._swap:
            process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        reap(process, _END_S)
        if process.stderr is not None:
            process.stderr.close()

    def _started(self, token: str) -> "Popen[bytes]":
        words = "-f", self._location, "budgets", "--if-due", "--token-stdin"
        process = start_child("rollout_console", *words, stdout=DEVNULL, stderr=PIPE)
        self._began = time.monotonic()
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(f"{token}\n".encode())
        return process

    def _has_ended(self, file: RolloutFile, now: float) -> bool:
        """Return whether the process has ended; one that failed leaves its reason."""
        process = self._process
        if process is not None and process.poll() is None:
            if time.monotonic() - self._began > MOST_S:
                self._end()
                self._failed(file, f"counting took over {MOST_S / 3600:.0f} h and was ended", now)
                return True
            return False
        with self._swap:
            process, self._process = self._process, None
        if process is None:
            return True
        said = b""
        if process.stderr is not None:
            with process.stderr as stream:
                said = stream.read(_MOST_WORDS)
        if process.returncode:
            words = said.decode(errors="replace").strip().splitlines()
            why = words[-1] if words else f"exit code {process.returncode}"
            self._failed(file, why.removeprefix("rollout-console: "), now)
        return True

    def _failed(self, file: RolloutFile, problem: str, now: float) -> None:
        self._next_at = time.monotonic() + EVERY_S
        note_failure(spending_path(state_folder(), self._path, file.profile), problem, now)
