"""Memory of the windows for 10,000 orgs, hour by hour, beside that of an empty Textual app."""

import gc
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.windows import Windows

TARGET = 3.0

_EMPTY_APP = """
import asyncio
from pathlib import Path
from textual.app import App
async def main():
    async with App().run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
asyncio.run(main())
"""
_START = datetime(2026, 11, 23, tzinfo=UTC)
_STEP_S = 10


def main(orgs: int = 10_000, per_s: int = 500, hours: int = 4) -> None:
    """Print how many MB the windows take after each hour, by /proc (Linux only)."""
    done = subprocess.run([sys.executable, "-c", _EMPTY_APP], capture_output=True, check=True)
    empty = int(done.stdout) / 1e6
    rng = random.Random(1)
    names = [f"org-{i}" for i in range(orgs)]
    sides: list[Literal["tokenlab", "previous"]] = ["tokenlab", "previous"]
    windows = Windows()
    gc.collect()
    before = _resident_mb()
    for second in range(0, hours * 3600, _STEP_S):
        at = _START + timedelta(seconds=second)
        now = at.timestamp() + _STEP_S
        windows.add(
            [
                AccessRecord(
                    at + timedelta(seconds=rng.random() * _STEP_S), "chat", rng.choice(names),
                    rng.choice(sides), 200 if rng.random() < 0.99 else 503,
                    round(rng.lognormvariate(6, 0.5), 1), "gpt-5.4",
                )
                for _ in range(per_s * _STEP_S)
            ],
            now,
        )  # fmt: skip
        if (second + _STEP_S) % 3600 == 0:
            ours = _resident_mb() - before
            kept_h = windows.kept_s("org-1", now) / 3600
            print(
                f"{orgs:,} orgs on both sides, {per_s} requests a second, hour "
                f"{(second + _STEP_S) // 3600}: windows {ours:.0f} MB, "
                f"{(ours + empty) / empty:.1f}x an empty app ({empty:.0f} MB) with it "
                f"(target {TARGET:g}); single orgs reach {kept_h:.1f} h back"
            )


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:4]))
