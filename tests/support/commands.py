"""Commands, each a process of its own, without waiting for Python's imports.

A server that has imported the console, or the gate, forks for each command: what the command does,
its streams, environment, folder, exit code and memory are those of a process. What belongs to the
start of one (the entry point, import hygiene, the command line that ``ps`` shows, a terminal) is
tested with ``sys.executable -m rollout_console``.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.command_server import NUMBER

_SERVER = Path(__file__).with_name("command_server.py")


class Command:
    """A command that was started; as a context manager it is killed at the end, if it still runs.

    Like ``subprocess.Popen`` it has ``pid``, ``returncode``, ``poll``, ``wait``, ``kill`` and
    ``send_signal``.
    """

    def __init__(self, words: Sequence[str], told: int) -> None:
        self.words = list(words)
        self.returncode: int | None = None
        self._told = told
        try:
            self.pid = self._next(60)
        except BaseException:
            os.close(told)
            raise

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end; return the exit code, or minus the signal. Raises TimeoutExpired."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(self._next(timeout))
            os.close(self._told)
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()

    def _next(self, timeout: float) -> int:
        """Return the next number that the server tells of it."""
        if not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.words, timeout)
        data = os.read(self._told, NUMBER.size)
        if not data:
            raise RuntimeError("the command server has ended; its traceback is on stderr")
        number: int = NUMBER.unpack(data)[0]
        return number


class Commands:
    """A server of a program's commands; it ends with this object, or with the process it is in.

    The program is ``rollout-console`` or ``rollout-gate``.
    """

    def __init__(self, program: str = "rollout-console") -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-P", _SERVER, str(theirs.fileno()), program],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._server.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server, and what it has started."""
        self._control.close()
        self._server.wait(20)

    def start(
        self, words: Sequence[str], *, stdin: IO[bytes] | int, stdout: IO[bytes] | int,
        stderr: IO[bytes] | int, env: Mapping[str, str], cwd: Path | None = None, script: str = "",
    ) -> Command:  # fmt: skip
        """Start the program with these words, or the Python in ``script`` in its place."""
        umask = os.umask(0)
        os.umask(umask)
        message = {
            "words": list(words), "env": dict(env), "cwd": str(cwd or Path.cwd()),
            "script": script, "umask": umask,
        }  # fmt: skip
        data = json.dumps(message).encode()
        streams = [one if isinstance(one, int) else one.fileno() for one in (stdin, stdout, stderr)]
        told, tells = os.pipe()
        try:
            socket.send_fds(self._control, [NUMBER.pack(len(data))], [*streams, tells])
            self._control.sendall(data)
        except OSError:
            os.close(told)
            raise
        finally:
            os.close(tells)
        return Command(words, told)

    def run(
        self, words: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None,
        input: str = "",  # noqa: A002 -- as subprocess.run has it
        timeout: float = 60, script: str = "",
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run one command to its end, and return what it wrote, as ``subprocess.run`` does."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given, gives = os.pipe()
            with open(given, "rb") as stdin, open(gives, "wb") as pipe:
                pipe.write(input.encode())  # less than a pipe holds
                pipe.flush()
                pipe.close()
                started = self.start(
                    words, stdin=stdin, stdout=out, stderr=err, env=env, cwd=cwd, script=script
                )
            with started as command:
                code = command.wait(timeout)
            for stream in (out, err):
                stream.seek(0)
            return subprocess.CompletedProcess(
                [*words], code, out.read().decode(), err.read().decode()
            )
