"""Keep an export of the rollout file current: written again after each change of either."""

from collections.abc import Callable
from pathlib import Path

from rollout_console.common.errors import OperationError
from rollout_console.common.stop_signal import StopSignal
from rollout_console.etcd.errors import EtcdError
from rollout_console.export.outputs import Output
from rollout_gate import Gate
from rollout_gate.file.model import RolloutFile

TICK_S = 0.2
"""The interval at which both files are looked at, in seconds."""
RETRY_S = 2.0
"""How long after a failed write the next one is tried, in seconds."""


class ExportFollower:
    """Writes an export whenever the file that is in force, or the export itself, has changed.

    The file is read as the gate reads it: while it is missing, torn or invalid the export of the
    last good version stays. ``write`` writes the export of a file and returns what it did in
    words; it raises OperationError or EtcdError. ``say`` gets that, and each trouble once.
    """

    def __init__(
        self,
        path: Path,
        out: Output,
        write: Callable[[RolloutFile], str],
        say: Callable[[str], None],
    ) -> None:
        self._out = out
        self._write = write
        self._say = say
        self._troubles: list[str] = []
        self._gate = Gate(path, poll_s=TICK_S, on_trouble=self._trouble)
        self._written: tuple[str, object] | None = None
        self._failed = ""

    def run(self, stop: StopSignal, beat: Callable[[str], None]) -> None:
        """Follow until ``stop``; ``beat`` is told how it stands, every two seconds or sooner."""
        while not stop.is_set():
            while self._troubles:
                self._say(self._troubles.pop(0))
            self.turn()
            beat(self._failed or self._gate.trouble or "the export is current")
            stop.wait(RETRY_S if self._failed else TICK_S)

    def turn(self) -> None:
        """Write the export unless it is current."""
        file = self._gate.file
        if file is None or self._written == (file.revision, self._out.identity()):
            return
        try:
            said = self._write(file)
        except (OperationError, EtcdError) as error:
            if str(error) != self._failed:
                self._say(str(error))
            self._failed = str(error)
            return
        self._failed = ""
        self.wrote(file)
        self._say(said)

    def wrote(self, file: RolloutFile) -> None:
        """Note that the export of a file has just been written, if nobody has replaced it since."""
        identity = self._out.identity()  # before it is read: what comes after it is another one
        self._written = (file.revision, identity) if self._out.is_as_written() else None

    def close(self) -> None:
        """Stop following."""
        self._gate.close()

    def _trouble(self, text: str) -> None:
        """Keep a trouble for ``run``: the caller is the gate's thread, and its constructor."""
        self._troubles.append(text or "the file can be used again")
