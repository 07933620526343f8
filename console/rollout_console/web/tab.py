"""One console process for one browser tab, and the packets from and to it."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

GRACE_S = 3.0
"""Seconds in which a console ends when it is told to, before it is killed."""
_STARTS = b"__GANGLION__\n"
_MOST_STDERR = 64 * 1024
_MOST_PACKET = 64 * 1024 * 1024
_OURS = "rollout-console: "
_NOT_PASSED_ON = ("SSH_CONNECTION",)
"""Variables that describe the terminal of the server, which is not that of its tabs."""
_IS_SHOWN = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
"""The browser has every sign, whatever locale and terminal the server was started in."""


class Tab(AppService):
    """Starts the console, passes on what it draws and what is typed, and ends it with the tab.

    Of what the process may ask of a browser (to open an address, to save a file) nothing is passed
    on: it has no such request, and could be made to send one only by a fault.
    """

    def __init__(
        self,
        command: Sequence[str],
        credentials: Mapping[str, str],
        write_bytes: Callable[[bytes], Awaitable[None]],
    ) -> None:
        super().__init__(
            " ".join(command),
            write_bytes=write_bytes,
            write_str=_to_nobody,
            close=_close_nothing,
            download_manager=DownloadManager(),
        )
        self._words = command
        self._credentials = credentials
        self._said = b""
        self._is_shown = True

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        """Start the console, in a process group of its own, and hand the credentials over.

        They are the first line of its standard input: an environment can be read from outside.
        """
        process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True,
            env=self._build_environment(width, height),
        )  # fmt: skip
        assert process.stdin is not None
        self._process, self._stdin = process, process.stdin
        process.stdin.write(json.dumps(self._credentials).encode() + b"\n")
        return process

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        """Return the server's environment without Textual's switches, some of which write files."""
        drawn = super()._build_environment(width, height)
        kept = {
            name: value
            for name, value in drawn.items()
            if not name.startswith("TEXTUAL") and name not in _NOT_PASSED_ON
        }
        return kept | {"TEXTUAL_COLOR_SYSTEM": drawn["TEXTUAL_COLOR_SYSTEM"]} | _IS_SHOWN

    async def run(self) -> None:
        """Pass on what the console draws, until it closes its standard output."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        errors = asyncio.create_task(self._read_errors(process))
        try:
            if await process.stdout.readline() == _STARTS:
                while True:
                    kind = await process.stdout.readexactly(1)
                    size = int.from_bytes(await process.stdout.readexactly(4), "big")
                    if size > _MOST_PACKET:
                        break
                    payload = await process.stdout.readexactly(size)
                    if kind == b"D" and self._is_shown:
                        await self.on_data(payload)
        except (asyncio.IncompleteReadError, ValueError):  # its end, or a line that is no packet
            pass
        await errors

    async def on_data(self, payload: bytes) -> None:
        """Send a packet to the browser; what is for one that has gone is dropped."""
        try:
            await self.remote_write_bytes(payload)
        except (ConnectionError, RuntimeError):
            self._is_shown = False

    async def _read_errors(self, process: Process) -> None:
        assert process.stderr is not None
        while data := await process.stderr.read(4096):
            self._said = (self._said + data)[-_MOST_STDERR:]

    async def ended(self) -> str:
        """Wait until the console has ended by itself; return a sentence for the page."""
        assert self._task is not None
        assert self._process is not None
        await asyncio.shield(self._task)
        code = await self._wait_or_kill(self._process)
        if code == 0:
            return "You have quit this tab's console; traffic stays as it is."
        said = self._said.decode("utf-8", "replace")
        sys.stderr.write(said)
        sys.stderr.flush()
        ours = [line for line in said.splitlines() if line.startswith(_OURS)]
        if code == 1 or not ours:
            return "This tab's console stopped by an error; the server's own output has the reason."
        return f"This tab's console has ended: {ours[-1].removeprefix(_OURS)}"

    async def stop(self) -> None:
        """End the console: ask it to quit, and kill it with its workers where it does not."""
        process, task = self._process, self._task
        if process is None:
            return
        self._is_shown = False
        if process.returncode is None:
            with suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(self.send_meta({"type": "quit"}), GRACE_S)
        await self._wait_or_kill(process)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _wait_or_kill(self, process: Process) -> int:
        with suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), GRACE_S)
        self.kill()
        return await process.wait()

    def kill(self) -> None:
        """Kill the console and its worker processes at once."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def _to_nobody(_text: str) -> None:
    """Send nothing: the server alone sends texts to the page."""


async def _close_nothing() -> None:
    """Close nothing: the server closes the connection once it has said why."""
