"""Identify a process by pid and start time, as a pid alone is reused after the process ends."""

import os
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def process_id() -> str:
    """Return an id that is unique among all processes of this machine, across reboots."""
    pid = os.getpid()
    return f"{pid}-{_started(pid) or 'x'}"


def may_live(identity: str) -> bool:
    """Return whether the process of an identity may still be running.

    Without a start time in the identity, or without /proc, only the pid is checked.
    """
    number, _, started = identity.partition("-")
    if not number.isdigit():
        return False
    pid = int(number)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    now = _started(pid)
    return not started or started == "x" or now is None or now == started


def _started(pid: int) -> str | None:
    """Return boot id and start time of a process (proc_pid_stat(5), field 22), None if unknown."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{_boot()}.{int(after_name[19])}"
    except (OSError, IndexError, ValueError):
        return None


@cache
def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()[:8]
    except OSError:
        return "x"
