"""From the key that confirms a change to the file on each server, beside a bare put and watch.

A cluster of three members, and one or 20 services on one machine, each a process of its own;
Debian's ``etcd-server`` is needed. A put is durable once it is acknowledged (by a majority). The
floor is a bare put and a bare watch of the same key: a console plans, verifies and records a
change, and a mirror reads the key after the watch's word, parses, records, writes and syncs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.history.actor import Actor
from rollout_console.history.rows import NewChange
from tests.support.etcd import cluster
from tests.support.waiting import until

MIRRORS = (1, 20)
"""On two cores, 20 services want the processor at once; on servers each has its own."""
CHANGES = 20
_FILE = """\
schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
model = "m"
default_percent = {percent}
"""


def main() -> None:
    """Print the table."""
    if shutil.which("etcd") is None:
        print("mirrors are not measured: there is no etcd here")
        return
    for count in MIRRORS:
        _measure(count)


def _measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        found = stack.enter_context(cluster(folder / "etcd", 3))
        address = found.address()
        etcd = stack.enter_context(EtcdClient(address_of(address)))
        seen: list[float] = []
        watcher = stack.enter_context(EtcdClient(address_of(address)))
        threading.Thread(target=_watch, args=(watcher, seen), daemon=True).start()
        paths = []
        for number in range(count):
            path = folder / f"gw-{number:02}" / "rollout.toml"
            path.parent.mkdir()
            paths.append(path)
            process = subprocess.Popen(
                [sys.executable, "-m", "rollout_console", "mirror", address, str(path)],
                env={**os.environ, "ROLLOUT_STATE_DIR": str(path.parent / "state")},
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.kill)
        etcd.put(etcd.address.key, _FILE.format(percent=0).encode())
        until(lambda: all(path.exists() for path in paths))
        bare = [_bare(etcd, paths, seen, number) for number in range(1, CHANGES + 1)]
        os.environ["ROLLOUT_STATE_DIR"] = str(folder / "console")
        with EtcdClient(address_of(address)) as client:
            shared = SharedFile(client)
            switch = shared_switch(shared, Actor("jo", "gw-00"), WriteAccess())
            switch.open()
            pressed = [_pressed(switch, etcd, paths, seen, n) for n in range(1, CHANGES + 1)]
            shared.close()
    print(f"a change of {len(_FILE)} bytes, mirrors: {count}; the median of {CHANGES}, in ms")
    print(f"  {'':28} {'bare put':>9} {'console':>9}")
    for about, at in (
        ("durable in etcd", 0), ("a bare watch has it", 1), ("first mirror", 2),
        ("median mirror", 3), ("last mirror", 4), ("the console goes on", 5),
    ):  # fmt: skip
        cells = [1000 * median(row[at] for row in rows) for rows in (bare, pressed)]
        print(f"  {about:28} {cells[0]:9.1f} {cells[1]:9.1f}")


def _watch(etcd: EtcdClient, seen: list[float]) -> None:
    try:
        for _ in etcd.watch(etcd.address.key):
            seen.append(time.perf_counter())
    except Exception:  # the benchmark is over, and the cluster gone
        return


def _bare(etcd: EtcdClient, paths: list[Path], seen: list[float], number: int) -> list[float]:
    """Put a text; return the times of ``_times``."""
    data = _FILE.format(percent=number).encode()

    def put() -> float:
        etcd.put(etcd.address.key, data)
        return time.perf_counter()

    return _times(etcd, paths, seen, put)


def _pressed(
    switch: Switch, etcd: EtcdClient, paths: list[Path], seen: list[float], number: int
) -> list[float]:
    """Make a change as the confirming key does; return the times of ``_times``."""
    assert isinstance(switch.shared, SharedFile)
    shared, durable = switch.shared, [0.0]
    shared.sync()
    switch.refresh()

    def commit(changes: Sequence[NewChange]) -> None:
        SharedFile.commit(shared, changes)
        durable[0] = time.perf_counter()

    shared.commit = commit  # type: ignore[method-assign]

    def press() -> float:
        switch.apply(switch.planner.plan_set("chat", "*", 5000 + number))
        return durable[0]

    return _times(etcd, paths, seen, press)


def _times(
    etcd: EtcdClient, paths: list[Path], seen: list[float], change: Callable[[], float]
) -> list[float]:
    """Return when a change was durable, watched, in the first, median and last file, and over."""
    time.sleep(0.3)  # each change alone
    seen.clear()
    before = [path.read_bytes() for path in paths]
    begin = time.perf_counter()
    came: list[float] = []

    def look() -> None:
        left = list(zip(paths, before, strict=True))
        while left:
            left = [one for one in left if one[0].read_bytes() == one[1]]
            came.extend([time.perf_counter() - begin] * (len(paths) - len(left) - len(came)))

    looker = threading.Thread(target=look)
    looker.start()
    durable = change() - begin
    over = time.perf_counter() - begin
    looker.join()
    until(lambda: seen)
    return [durable, seen[0] - begin, came[0], median(came), came[-1], over]


if __name__ == "__main__":
    main()
