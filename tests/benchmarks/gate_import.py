"""Importing the gate against importing what it needs of others, in fresh interpreters."""

import os
import subprocess
import sys
import time
from statistics import median

TARGET = 2.0

_OTHERS = "import mmh3, msgspec"
_OURS = "import rollout_gate"
_CLIENTS = "import rollout_gate.http"


def main() -> None:
    """Print the medians, less what an interpreter takes that imports nothing."""
    found = import_seconds(_OTHERS, _OURS, _CLIENTS)
    others = found[_OTHERS]
    for statement, target in ((_OURS, f"target {TARGET:g}"), (_CLIENTS, "no target")):
        print(
            f"{statement}: {1000 * found[statement]:.0f} ms; {_OTHERS}: {1000 * others:.0f} ms; "
            f"ratio {found[statement] / others:.2f} ({target})"
        )


def import_seconds(*statements: str, times: int = 25) -> dict[str, float]:
    """Return the median seconds of each import, in turn, less that of a bare interpreter."""
    taken: dict[str, list[float]] = {statement: [] for statement in ("", *statements)}
    for statement in taken:
        _seconds(statement)  # byte code is written
    for _ in range(times):
        for statement, samples in taken.items():
            samples.append(_seconds(statement))
    start = median(taken[""])
    return {statement: median(taken[statement]) - start for statement in statements}


def _seconds(statement: str) -> float:
    # Where no byte code may be written, what was edited last would be compiled each time.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
