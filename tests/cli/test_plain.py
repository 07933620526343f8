"""``--plain``: the console as lines, in a process of its own, on a pipe."""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest

from rollout_console.cli.commands.plain import _Ended, _Ending
from rollout_console.sim.incidents import start_incident
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_TOKEN
from rollout_gate import AccessLine, AccessLog, timestamp
from tests.support.commands import Command, Commands
from tests.support.waiting import PATIENCE_S, until


def traffic(
    file: Path, count: int, status: int = 200, *orgs: str, side: str = "tokenlab", ago_s: float = 0
) -> None:
    log, at = AccessLog(file.parent / "access.jsonl"), datetime.now(UTC) - timedelta(seconds=ago_s)
    for i in range(count):
        org = orgs[i % len(orgs)] if orgs else f"org-{i % 3}"
        log.append(
            AccessLine(ts=timestamp(at), route="chat", org=org, side=side, model="m",
                       status=status, latency_ms=50.0)
        )  # fmt: skip
    log.close()


class Lines:
    """What a process prints, as far as it was read."""

    def __init__(self, stream: IO[bytes], command: Command) -> None:
        self._stream = stream
        self.command = command
        self.data = b""

    def read(self) -> list[str]:
        """Read what is there; return all lines so far, without the times."""
        while select.select([self._stream], [], [], 0)[0]:
            some = os.read(self._stream.fileno(), 65536)
            if not some:
                break
            self.data += some
        whole, _, _ = self.data.rpartition(b"\n")
        lines = whole.decode().splitlines()
        return [line if line.startswith("{") else line.partition("  ")[2] for line in lines]

    def until(self, part: str) -> str:
        """Wait for a line with this part, and return it."""
        end = time.monotonic() + PATIENCE_S
        while True:
            lines = self.read()
            if found := [line for line in lines if part in line]:
                return found[0]
            assert time.monotonic() < end, f"no {part!r} in:\n" + "\n".join(lines)
            time.sleep(0.05)


@contextmanager
def plain(
    commands: Commands, file: Path, *words: str, **environ: str
) -> Iterator[Lines]:  # fmt: skip
    out, into = os.pipe()
    with open(out, "rb", buffering=0) as stream:
        with open(into, "wb") as pipe, open(os.devnull, "r+b") as nothing:
            command = commands.start(
                ["-f", str(file), "--plain", *words], stdin=nothing, stdout=pipe, stderr=nothing,
                env={**os.environ, **environ},
            )  # fmt: skip
        with command:
            yield Lines(stream, command)


def is_caught(pid: int, number: int) -> bool:
    """Whether a process has a handler of a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


def end(lines: Lines, number: int = signal.SIGTERM) -> int:
    os.kill(lines.command.pid, number)
    return lines.command.wait()


@pytest.mark.slow
def test_a_storm_its_rollback_and_the_proof(commands: Commands, file: Path) -> None:
    traffic(file, 200, ago_s=10)  # before the file was changed: a step
    before = sorted(file.parent.iterdir())
    with plain(commands, file) as lines:
        lines.until("start: no alarm")
        assert lines.read()[:4] == [
            lines.until(f"start: {file}, revision "),
            "guard: mode hold, no guard is running",
            "route: chat: hold: no data since the step; (default) 0%, 3 orgs 10% to 25%,"
            " 1 rolled back",
            "route: claude: hold: no data; (default) 0%, 1 org 1%",
        ]
        traffic(file, 60, 503)
        assert "5xx" in lines.until("alarm: chat: rollback: ")
        assert sorted(file.parent.iterdir()) == before, "it writes nothing"
        done = commands.run(
            ["-f", str(file), "rollback", "chat", "--yes", "--reason", "5xx at 3"], env=os.environ
        )
        assert done.returncode == 0
        assert lines.until("file: ").endswith(": rollback chat (5xx at 3)")
        traffic(file, 3, 200, side="previous")
        lines.until("drained: chat: drained in ")
        told = [line for line in lines.read() if line.startswith(("alarm: chat", "file", "drai"))]
        assert len(told) == 3, told
        assert lines.data.isascii()
        assert b"\x1b" not in lines.data
        assert end(lines) == 0


def test_json_is_an_object_a_line(commands: Commands, file: Path) -> None:
    with plain(commands, file, "--json") as lines:
        traffic(file, 60, 503)
        lines.until('"level"')
        assert end(lines, signal.SIGINT) == 0
        found: list[dict[str, Any]] = [json.loads(line) for line in lines.data.splitlines()]
    assert found[0]["kind"] == "start"
    assert len(found[0]["revision"]) == 64
    (alarm,) = [one for one in found if one["kind"] == "alarm" and one.get("route")]
    assert (alarm["route"], alarm["signal"], alarm["level"]) == ("chat", "gateway", "alarm")
    assert all(one["at"].endswith("Z") for one in found)


def test_text_of_others_cannot_steer_the_terminal(commands: Commands, file: Path) -> None:
    wild = "wi\x1b[2Jld\n\u202eé€"
    traffic(file, 150)
    with plain(commands, file) as lines:
        lines.until("start: no alarm")
        traffic(file, 40, 503, wild)
        assert "alarm: chat / wi·[2Jld··é€: " in lines.until("alarm: chat / wi")
        assert end(lines) == 0
        assert b"\x1b" not in lines.data
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "-f", str(file), "--plain"],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        line = next(one for one in child.stdout if b"chat / wi" in one)
        assert b"wi.[2Jld..\\xe9\\u20ac" in line
        child.terminate()
        assert child.wait() == 0


def test_the_balance_comes_from_the_api_and_is_low(
    commands: Commands, file: Path, sim: SimServer
) -> None:
    text = file.read_text().replace("https://api.tokenlab.sh", sim.base_url)
    file.write_text(text.replace("min_balance_usd = 50.0", "min_balance_usd = 999999.0"))
    with plain(commands, file, TOKENLAB_MANAGEMENT_TOKEN=DEMO_TOKEN) as lines:
        assert "is under $999,999.00" in lines.until("alarm: balance $")
        assert lines.until("balance: $")
        assert end(lines, signal.SIGHUP) == 0


def test_it_ends_with_its_reader(commands: Commands, file: Path) -> None:
    out, into = os.pipe()
    with open(into, "wb") as pipe, open(os.devnull, "r+b") as nothing:
        command = commands.start(
            ["-f", str(file), "--plain"], stdin=nothing, stdout=pipe, stderr=nothing,
            env=os.environ,
        )  # fmt: skip
    with command:
        os.read(out, 10)
        os.close(out)
        assert command.wait() == 0, "though there was nothing to write"


def test_a_signal_ends_it_while_nobody_empties_the_pipe(commands: Commands, file: Path) -> None:
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(into, False)
    os.write(into, b"x" * 4096)
    os.set_blocking(into, True)
    with open(into, "wb") as pipe, open(os.devnull, "r+b") as nothing:
        command = commands.start(
            ["-f", str(file), "--plain"], stdin=nothing, stdout=pipe, stderr=nothing,
            env=os.environ,
        )  # fmt: skip
    with command, open(out, "rb"):
        until(lambda: is_caught(command.pid, signal.SIGTERM))
        os.kill(command.pid, signal.SIGTERM)
        assert command.wait() == 0


def test_a_full_disk_is_an_error(commands: Commands, file: Path) -> None:
    with open("/dev/full", "wb") as full, open(os.devnull, "r+b") as nothing:
        command = commands.start(
            ["-f", str(file), "--plain"], stdin=nothing, stdout=full, stderr=nothing,
            env=os.environ,
        )  # fmt: skip
    with command:
        assert command.wait() == 1


def test_a_closed_standard_output_is_refused(file: Path) -> None:
    script = f'"{sys.executable}" -m rollout_console -f "{file}" --plain >&-'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard output is closed" in done.stderr


def test_without_a_terminal_plain_is_named_and_not_taken(commands: Commands, file: Path) -> None:
    done = commands.run(["-f", str(file)], env=os.environ)
    assert done.returncode == 2
    assert "no terminal; --plain prints" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plain", "show"], "--plain is the console as lines: without show"),
        (["--json"], "--json goes with --plain"),
        (["--json", "show"], "--json goes with --plain"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(
    commands: Commands, file: Path, words: list[str], said: str
) -> None:
    done = commands.run(["-f", str(file), *words], env=os.environ)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_second_signal_does_not_end_the_cleanup_after_the_first() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        ending = _Ending()
        ending.is_writing = True
        with pytest.raises(_Ended):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert ending.stop.is_set()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
def test_real_requests_of_the_demo_and_an_incident(commands: Commands, tmp_path: Path) -> None:
    out, into = os.pipe()
    with open(out, "rb", buffering=0) as stream:
        with open(into, "wb") as pipe, open(os.devnull, "r+b") as nothing:
            command = commands.start(
                ["demo", "--plain"], stdin=nothing, stdout=pipe, stderr=nothing,
                env={**os.environ, "TMPDIR": str(tmp_path)},
            )  # fmt: skip
        with command:
            lines = Lines(stream, command)
            path = Path(lines.until("start: /").partition("start: ")[2].partition(",")[0])
            lines.until("balance: $")
            base = path.read_text().partition('base_url = "')[2].partition('"')[0]
            lines.until("log: the newest line is ")
            start_incident(base, "5xx storm")
            assert "5xx" in lines.until("alarm: ")
            assert end(lines) == 0
    assert not path.exists(), "the demo's folder is gone"
