"""``rollout-console web`` as a process of its own, with its output and its consoles."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import until


class View:
    """A server that was started."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has printed on stderr."""
        return self._err.read_text()

    @property
    def url(self) -> str:
        """The address that it printed first."""
        return self.out.splitlines()[0]

    @property
    def port(self) -> int:
        """Its port on loopback."""
        return int(re.findall(r"http://[^/ ]*:([0-9]+)/", self.out)[-1])

    def consoles(self) -> list[int]:
        """Return the processes of its tabs, oldest first."""
        pid = self.process.pid
        # In the kernel's order, not sorted: process ids begin again at the largest (pid_max).
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def web_view(file: Path | str, folder: Path, *words: str, **environ: str) -> Iterator[View]:
    """Serve a rollout file on a free port; its state and output are in ``folder``."""
    folder.mkdir(exist_ok=True)
    out, err = folder / "out.txt", folder / "err.txt"
    own = {"ROLLOUT_STATE_DIR": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [sys.executable, "-m", "rollout_console", "-f", str(file), "web", "--port=0", *words],
            stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err, cwd=folder,
            env={**os.environ, **own, **environ},
        )  # fmt: skip
    view = View(process, out, err)
    try:
        until(lambda: "ctrl+c ends it" in view.out or process.poll() is not None)
        assert process.poll() is None, view.err
        yield view
    finally:
        if process.poll() is None:  # its consoles too: one that a test has stopped would stay
            for pid in (*view.consoles(), process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet (a zombie) has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
