"""The console on a pty at 120x40, with the demo's traffic: start-up, bytes to the terminal, CPU.

Both are measured many times, as a shared machine is noisy: start-up in pairs with the minimal app,
CPU in several spans of one demo.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from itertools import pairwise
from statistics import median

MINIMAL = "from textual.app import App\nclass A(App): pass\nA().run()"
WARM_S, SPAN_S, SPANS = 8.0, 10.0, 6
PAIRS = 21


def main() -> None:
    """Print start-up against a minimal Textual app, kB a second, and CPU."""
    _start_up()
    _live()


def _start_up() -> None:
    """Time both apps in turn; the median of the pairs' ratios is what the target is about."""
    minimal_command = [sys.executable, "-c", MINIMAL]
    for _ in range(2):  # for the byte code and the page cache
        _first_frame(minimal_command)
        _console_start()
    pairs = [(_first_frame(minimal_command), _console_start()) for _ in range(PAIRS)]
    minimal, ours = ([pair[side] for pair in pairs] for side in (0, 1))
    ratios = [console / minimal for minimal, console in pairs]
    print(
        f"start to first frame, {PAIRS} pairs: minimal app {median(minimal):.3f} s"
        f" (least {min(minimal):.3f}), console {median(ours):.3f} s (least {min(ours):.3f}),"
        f" ratio of the medians {median(ours) / median(minimal):.2f},"
        f" of the least {min(ours) / min(minimal):.2f},"
        f" median of the pairs' {median(ratios):.2f} (target 1.4)"
    )


def _live() -> None:
    """Measure the console's process alone, in spans one after the other."""
    pid, master = _spawn([sys.executable, "-m", "rollout_console", "demo"])
    _drain(master, WARM_S)
    used, sent = [_cpu(pid)], 0
    for _ in range(SPANS):
        sent += _drain(master, SPAN_S)
        used.append(_cpu(pid))
    _quit(pid, master)
    cpu = [100 * (after - before) / SPAN_S for before, after in pairwise(used)]
    print(
        f"home screen live, 120x40: {sent / SPANS / SPAN_S / 1000:.2f} kB/s (target 3), CPU of"
        f" {SPANS} spans of {SPAN_S:.0f} s: median {median(cpu):.1f}%, least {min(cpu):.1f}% of a"
        " core (target 2)"
    )


def _console_start() -> float:
    from tests.conftest import SAMPLE

    return _first_frame([sys.executable, "-m", "rollout_console", "-f", str(SAMPLE), "--read-only"])


def _first_frame(command: list[str]) -> float:
    """Seconds until the terminal has had a whole frame and then nothing for a moment."""
    start = time.perf_counter()
    pid, master = _spawn(command)
    last, seen = start, 0
    while time.perf_counter() - start < 10:
        ready, _, _ = select.select([master], [], [], 0.15)
        if not ready:
            if seen > 1500:
                break
            continue
        seen += len(os.read(master, 65_536))
        last = time.perf_counter()
    _quit(pid, master)
    return last - start


def _spawn(command: list[str]) -> tuple[int, int]:
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40")
        # Installed packages have their byte code; without this ours alone would be compiled anew.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.execvp(command[0], command)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    return pid, master


def _drain(master: int, for_s: float) -> int:
    end, total = time.monotonic() + for_s, 0
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([master], [], [], left)
        if ready:
            total += len(os.read(master, 65_536))
    return total


def _cpu(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stream:
        fields = stream.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _quit(pid: int, master: int) -> None:
    try:
        os.write(master, b"\x11")
        _drain(master, 0.5)
    except OSError:
        pass
    finally:
        os.close(master)
    for _ in range(50):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.1)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
