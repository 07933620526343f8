"""The console on a pty at 120x40, with the demo's traffic: start-up, bytes to the terminal, CPU."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

MINIMAL = "from textual.app import App\nclass A(App): pass\nA().run()"
WARM_S, MEASURED_S = 8.0, 30.0


def main() -> None:
    """Print start-up against a minimal Textual app, kB a second, and CPU."""
    _console_start()  # once for the byte code
    starts = [(_first_frame([sys.executable, "-c", MINIMAL]), _console_start()) for _ in range(5)]
    minimal = sorted(one for one, _ in starts)[2]
    ours = sorted(other for _, other in starts)[2]
    print(
        f"start to first frame: minimal app {minimal:.2f} s, console {ours:.2f} s, "
        f"ratio {ours / minimal:.2f} (target 1.4)"
    )
    pid, master = _spawn([sys.executable, "-m", "rollout_console", "demo"])
    _drain(master, WARM_S)
    before = _cpu(pid)
    sent = _drain(master, MEASURED_S)
    cpu = (_cpu(pid) - before) / MEASURED_S
    _quit(pid, master)
    print(
        f"home screen live, 120x40: {sent / MEASURED_S / 1000:.2f} kB/s (target 3), "
        f"CPU {100 * cpu:.1f}% of a core (target 2)"
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
