"""Importing the gate against importing what it needs of others, in fresh interpreters."""

import subprocess
import sys
import time
from statistics import median

TARGET = 2.0

_OTHERS = "import mmh3, msgspec"
_OURS = "import console.gate"
_CLIENTS = "import console.gate.http"


def main(times: int = 25) -> None:
    """Print the medians, less what an interpreter takes that imports nothing."""
    for statement in ("", _OTHERS, _OURS, _CLIENTS):
        _seconds(statement)  # byte code is written
    taken: dict[str, list[float]] = {"": [], _OTHERS: [], _OURS: [], _CLIENTS: []}
    for _ in range(times):
        for statement, samples in taken.items():
            samples.append(_seconds(statement))
    start = median(taken[""])
    others = median(taken[_OTHERS]) - start
    for statement in (_OURS, _CLIENTS):
        ours = median(taken[statement]) - start
        print(
            f"{statement}: {1000 * ours:.0f} ms; {_OTHERS}: {1000 * others:.0f} ms; "
            f"ratio {ours / others:.2f} (target {TARGET:g})"
        )


def _seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
