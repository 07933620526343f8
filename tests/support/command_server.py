"""The process that ``tests.support.commands`` starts: it imports a program, and forks.

It is told by one socket, and dies with it: each message is a length, a JSON object, and with its
first byte four descriptors (the command's standard input, output and error, and the pipe where its
id and its wait status are written). Linux and macOS; nothing here starts a thread, as a fork after
that would not be safe.
"""

import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from importlib import import_module
from typing import Any

NUMBER = struct.Struct("!I")
LEFT_OUT = ("rollout_console.__main__", "rollout_console.ui", "rollout_console.sim")
"""Not imported: running it, Textual, the servers of the simulator; a command may still do it."""
ALSO = ("httpx", "keyring", "keyring.backends.fail", "pyrage", "tomlkit")
"""What the console itself imports where it is needed."""


def import_console() -> None:
    """Import every module of the console that a command may need."""
    for name in ALSO:
        import_module(name)
    _import_all("rollout_console")


def import_gate() -> None:
    """Import what ``rollout-gate serve`` does: the rest is imported where it is needed."""
    for name in ("httpx2", "uvicorn.lifespan.off", "uvicorn.supervisors", "rollout_gate.__main__"):
        import_module(name)
    _import_all("rollout_gate.serve")


def _import_all(package: str) -> None:
    """Import a package with all its modules, and keep the collector from the shared pages."""

    def walk(path: Any, prefix: str) -> None:
        for module in pkgutil.iter_modules(path, prefix):
            if module.name not in LEFT_OUT:
                found = import_module(module.name)
                if module.ispkg:
                    walk(found.__path__, f"{module.name}.")

    walk(import_module(package).__path__, f"{package}.")
    gc.collect()
    gc.freeze()  # so that a command's collections copy none of the shared pages


def _open_streams() -> None:
    """Make ``sys``'s streams anew, as the server's own may hold what was read or written."""
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(  # type: ignore[misc]
        2, "w", 1, errors="backslashreplace", closefd=False
    )


PROGRAMS = {
    "rollout-console": ("rollout_console.__main__", import_console),
    "rollout-gate": ("rollout_gate.__main__", import_gate),
}
"""By their names: the module whose ``main`` is run, and what imports all that it needs."""


def _exit_code(program: str, script: str) -> int:
    """Run the command, and what Python runs at its end; return its exit code.

    Left out is the taking apart of every module, which would copy most of the shared pages.
    """
    code: Any = 0
    try:
        if script:
            exec(script, {"__name__": "__main__"})
        else:
            import_module(PROGRAMS[program][0]).main()
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    return code or 0


class Server:
    """Forks a process for each command, and tells how it ended."""

    def __init__(self, program: str, control: socket.socket) -> None:
        self._program = program
        self._control = control
        self._running: dict[int, int] = {}
        self._ended, self._wake = os.pipe()
        for end in (self._ended, self._wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake)

    def serve(self) -> None:
        """Serve until the socket is closed; then nothing that was started goes on."""
        while True:
            told = self._control.fileno()
            ready, _, _ = select.select([told, self._ended], [], [])
            if self._ended in ready:
                self._reap()
            if told in ready:
                head, descriptors, _, _ = socket.recv_fds(self._control, NUMBER.size, 4)
                if not head:
                    os.killpg(0, signal.SIGKILL)  # this process leads the group
                self._start(self._message(head), descriptors)

    def _message(self, head: bytes) -> dict[str, Any]:
        (left,) = NUMBER.unpack(head)
        data = b""
        while len(data) < left:
            data += self._control.recv(left - len(data))
        message: dict[str, Any] = json.loads(data)
        return message

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(message, descriptors)
        *streams, told = descriptors
        for one in streams:
            os.close(one)
        os.write(told, NUMBER.pack(pid))
        self._running[pid] = told

    def _reap(self) -> None:
        os.read(self._ended, 4096)
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            told = self._running.pop(pid)
            os.write(told, NUMBER.pack(status))
            os.close(told)

    def _become(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Be the command, as if Python had been started for it; never returns."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, one in enumerate(descriptors[:3]):
            os.dup2(one, number)
        self._control.close()
        for one in (*descriptors, self._ended, self._wake, *self._running.values()):
            os.close(one)
        os.chdir(message["cwd"])
        os.umask(message["umask"])
        os.environ.clear()
        os.environ.update(message["env"])
        time.tzset()
        _open_streams()
        sys.argv = [self._program, *message["words"]]
        os._exit(_exit_code(self._program, message["script"]))


if __name__ == "__main__":
    PROGRAMS[sys.argv[2]][1]()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        Server(sys.argv[2], control).serve()
