"""Timing two things in turn, so that a noisy machine hits both alike; and what they all do."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median


def seconds(run: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(*runs: Callable[[], object], times: int = 15) -> list[float]:
    """Return the median time of each, measured alternately, after one call to warm up."""
    for run in runs:
        run()
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(times):
        for samples, run in zip(taken, runs, strict=True):
            samples.append(seconds(run))
    return [median(samples) for samples in taken]


def durable_write(folder: Path, data: bytes) -> None:
    """Write bytes, fsync, rename, and fsync the folder: the floor of a durable change."""
    temp = folder / "floor.tmp"
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
    temp.rename(folder / "floor.toml")
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
