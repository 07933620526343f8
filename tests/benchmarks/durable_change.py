"""One durable change against the floor: write the same bytes, fsync, rename, fsync the folder."""

import tempfile
import tomllib
from itertools import count
from pathlib import Path

import tomlkit

from rollout_console.changes.edits import SetPercent, SetRolledBack
from rollout_console.changes.file_store import RolloutStore
from tests.benchmarks.timing import durable_write, in_turn, seconds

TARGET = 5.0


def main() -> None:
    """Print the ratios at 1,000, 10,000 and 100,000 orgs."""
    for orgs in (1_000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), orgs)


def _measure(folder: Path, orgs: int) -> None:
    lines = "".join(f"org-{i} = {i % 101}  # since {i}\n" for i in range(orgs))
    head = 'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "image"\n'
    text = f"{head}[routes.chat.orgs]\n{lines}"
    path = folder / "rollout.toml"
    path.write_text(text)
    store = RolloutStore(path)
    store.open()
    numbers = count(1)
    data = text.encode()

    def change() -> None:
        store.write(store.prepare([SetPercent("chat", "org-77", next(numbers) % 10_000)]))

    def roll_back() -> None:
        latch = next(numbers) % 2 == 0
        stamp = "2026-11-23T19:31:04Z jo@gw-01: 5xx 4.2%"
        store.write(store.prepare([SetRolledBack(latch, "chat", "org-78", stamp)]))

    base, ours, latch = in_turn(lambda: durable_write(folder, data), change, roll_back, times=25)
    print(
        f"durable change, {orgs:>7,} orgs: floor {1e3 * base:.2f} ms, set {1e3 * ours:.2f} ms "
        f"(ratio {ours / base:.2f}), rollback {1e3 * latch:.2f} ms (ratio {latch / base:.2f}), "
        f"target {TARGET:g}"
    )
    if orgs == 10_000:
        whole = seconds(lambda: tomllib.loads(text))
        kit = seconds(lambda: tomlkit.dumps(tomlkit.parse(text)))
        print(f"  beside: tomllib {1e3 * whole:.0f} ms, tomlkit both ways {1e3 * kit:.0f} ms")
