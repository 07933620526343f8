"""Where the figures come from: the access log, or a Prometheus in place of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_console.common.folders import folder_of
from rollout_console.health.log.multi_file import Log, open_log
from rollout_gate.file.model import PrometheusSource, RolloutFile

if TYPE_CHECKING:
    from rollout_console.health.prometheus.feed import PrometheusFeed

MOST_WINDOW_S = 3600
"""The guard's window is no longer than this."""
_BEYOND = 1.05
"""A latency above a histogram's last bound counts as this much over the highest limit."""

NOT_TOLD = "Prometheus has counts, and no single requests; the access logs of the servers have them"

Place = tuple[Path, PrometheusSource | None]
"""What is followed: the path of the access log, or a Prometheus."""


def place_of(path: Path, file: RolloutFile) -> Place:
    """Return what a rollout file names; the figures start anew where it is another."""
    return (folder_of(path) / file.access_log).absolute(), file.prometheus


def open_source(
    place: Place,
    path: Path,
    file: RolloutFile,
    *,
    cold_bytes: int,
    history_s: float,
    older_bytes: int,
) -> tuple[Log, "PrometheusFeed | None"]:
    """Open what a rollout file names, as a log; a Prometheus once more, as what it is."""
    from rollout_console.health.prometheus.login import take_from_environment

    take_from_environment()  # also for a Prometheus that the file names only later
    log_path, source = place
    if source is None:
        log = open_log(
            log_path, start="tail", tail_bytes=cold_bytes, history_s=history_s,
            older_bytes=older_bytes,
        )  # fmt: skip
        return log, None
    from rollout_console.health.prometheus.feed import PrometheusFeed

    guards = [file.guard, *(route.guard for route in file.routes.values())]
    window_s = min(max(one.window_s for one in guards), MOST_WINDOW_S)
    limit_ms = max(max(one.max_p95_ms, one.max_ttft_p95_ms) for one in guards)
    feed = PrometheusFeed(source, folder_of(path).absolute(), window_s, _BEYOND * limit_ms)
    return feed, feed


def drawn_points(window_s: float, points: int, step_s: int) -> int:
    """Return how many points a time series can have that are no narrower than a step."""
    return min(points, max(int(window_s // step_s), 1))


def spread(values: Sequence[float | None], points: int) -> Sequence[float | None]:
    """Return the values of a series for more points: each has the value of its step."""
    return [values[index * len(values) // points] for index in range(points)]
