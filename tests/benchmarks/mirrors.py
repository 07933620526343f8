"""From a put in etcd to the file on each server, beside a bare watch of the same key.

A cluster of three members, and one or 20 services on one machine, each a process of its own;
Debian's ``etcd-server`` is needed. A put is durable once it is acknowledged (by a majority). What
a watch adds is the floor: a mirror reads the key after it, parses, records, writes and syncs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
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
        rows = [_change(etcd, paths, seen, number) for number in range(1, CHANGES + 1)]
    print(f"a change of {len(_FILE)} bytes, mirrors: {count}; the median of {CHANGES}, in ms")
    for about, at in (
        ("etcd: put acknowledged", 0), ("etcd: a bare watch has it", 1), ("first mirror", 2),
        ("median mirror", 3), ("last mirror", 4),
    ):  # fmt: skip
        print(f"  {about:28} {1000 * median(row[at] for row in rows):6.1f}")


def _watch(etcd: EtcdClient, seen: list[float]) -> None:
    try:
        for _ in etcd.watch(etcd.address.key):
            seen.append(time.perf_counter())
    except Exception:  # the benchmark is over, and the cluster gone
        return


def _change(etcd: EtcdClient, paths: list[Path], seen: list[float], number: int) -> list[float]:
    """Return when it was acknowledged, watched, and in the first, median and last file."""
    data = _FILE.format(percent=number).encode()
    time.sleep(0.3)  # each change alone
    seen.clear()
    begin = time.perf_counter()
    etcd.put(etcd.address.key, data)
    put = time.perf_counter() - begin
    left, times = list(paths), []
    while left:
        for path in [one for one in left if one.read_bytes() == data]:
            left.remove(path)
            times.append(time.perf_counter() - begin)
    until(lambda: seen)
    return [put, seen[0] - begin, times[0], median(times), times[-1]]


if __name__ == "__main__":
    main()
