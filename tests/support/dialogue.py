"""A command that asks on a pseudo-terminal: wait for its question, answer it, and so on."""

import os
import pty
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import Command, Commands

CTRL_C, CTRL_D = b"\x03", b"\x04"


class Dialogue:
    """One command on a terminal of its own; ``said`` is all that it printed."""

    def __init__(self, command: Command, master: int) -> None:
        self.said = ""
        self._command = command
        self._master = master
        self._read_to = 0

    def answer(self, question: str, *answers: bytes | str) -> None:
        """Wait for a question, or another text, after the last one, then send the answers.

        A text is sent as a line, bytes as they are; CTRL_C is the signal that it makes.
        """
        end = time.monotonic() + 40
        while (found := self.said.find(question, self._read_to)) < 0:
            assert time.monotonic() < end, f"{question!r} was not asked:\n{self.said}"
            assert self._read(), f"it ended before it asked {question!r}:\n{self.said}"
        self._read_to = found + len(question)
        for answer in answers:
            if answer == CTRL_C:  # it has no controlling terminal, which would send the signal
                os.kill(self._command.pid, signal.SIGINT)
                continue
            data = answer if isinstance(answer, bytes) else answer.encode() + b"\n"
            os.write(self._master, data)

    def end(self) -> int:
        """Read to its end; return its exit code."""
        while self._read():
            pass
        return self._command.wait()

    def _read(self) -> bool:
        """Read some of what it prints, if it does so soon; return whether its terminal is open."""
        if not select.select([self._master], [], [], 1)[0]:
            return True
        try:
            piece = os.read(self._master, 4096)
        except OSError:
            return False
        self.said += piece.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(piece)


@contextmanager
def dialogue(
    commands: Commands, words: Sequence[str], env: Mapping[str, str], folder: Path
) -> Iterator[Dialogue]:
    """Run ``rollout-console`` with these words on a terminal."""
    master, slave = pty.openpty()
    try:
        command = commands.start(
            words, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=folder
        )
    finally:
        os.close(slave)
    try:
        with command:
            yield Dialogue(command, master)
    finally:
        os.close(master)
