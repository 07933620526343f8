"""Checks of a Prometheus that has the figures: its settings, and what each query answers."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.condemned import OTHERS
from rollout_console.readiness.checks.result import Result, result_of
from rollout_gate.file.model import PrometheusSource, RolloutFile

if TYPE_CHECKING:
    from rollout_console.health.prometheus.answers import Series
    from rollout_console.health.prometheus.client import PrometheusClient
    from rollout_console.health.prometheus.counting import Counting

_LEAST_STEPS = 4
_STEPS = 10
_ANSWER_S = 10.0
_MOST_SHOWN, _MOST_SHOWN_NAME = 5, 40
_WHERE = "health.prometheus"


def check_settings(file: RolloutFile) -> Iterator[Result]:
    """Check what needs no network: that the guard's windows have steps enough."""
    source = file.prometheus
    if source is None:
        return
    for name, route in file.routes.items():
        window_s, least_s = route.guard.window_s, _LEAST_STEPS * source.step_s
        yield result_of(
            "health.window", f"routes.{name}.guard.window",
            f"is {window_s} s, which has less than {_LEAST_STEPS} of Prometheus' steps of"
            f" {source.step_s} s" if window_s < least_s else "",
            f"{window_s} s are {window_s // source.step_s} steps of Prometheus",
            f'make it at least "{least_s}s", or prometheus_step shorter',
        )  # fmt: skip


async def check_answers(file: RolloutFile, folder: Path) -> list[Result]:
    """Ask Prometheus each query, and check that its answer can be used."""
    source = file.prometheus
    if source is None:
        return []
    return await asyncio.to_thread(lambda: list(_ask(file, source, folder)))


def _ask(file: RolloutFile, source: PrometheusSource, folder: Path) -> Iterator[Result]:
    from rollout_console.health.prometheus.client import PrometheusClient
    from rollout_console.health.prometheus.errors import PrometheusError
    from rollout_console.health.prometheus.login import login_of, tls_of

    try:
        client = PrometheusClient(
            source.url, login_of(source, folder), tls_of(source, folder), answer_s=_ANSWER_S
        )
    except PrometheusError as error:
        fix = "give it by prometheus_token_file or $ROLLOUT_PROMETHEUS_TOKEN, over https"
        yield Result("health.prometheus", False, _WHERE, str(error), fix)
        return
    try:
        yield from _answers(file, source, client)
    finally:
        client.close()


def _answers(
    file: RolloutFile, source: PrometheusSource, client: "PrometheusClient"
) -> Iterator[Result]:
    from rollout_console.health.prometheus.counting import Counting
    from rollout_console.health.prometheus.errors import PrometheusError
    from rollout_console.health.prometheus.queries import COUNTED, queries_of

    step_s = source.step_s
    until = floor((time.time() - 1) / step_s) * step_s
    counting = Counting()
    for name, query in queries_of(source).items():
        where = f"health.queries.{name}"
        fix = "correct the query; docs/prometheus.md says what it is to answer"
        try:
            found = client.range(query.promql(step_s), until - _STEPS * step_s, until, step_s)
        except PrometheusError as error:
            if error.is_late:
                fix = "let it read fewer series: fewer orgs, or fewer buckets (le=~...)"
            yield Result(f"health.{name}", False, where, visible(str(error)), fix)
            continue
        problem = f"is answered in part: {found.warning}" if found.warning else ""
        if name in COUNTED:
            before = counting.unusable.lines
            counting.add(name, found.series, query.share(step_s))
            if counting.unusable.lines > before:
                lines = counting.unusable.lines - before
                problem = problem or (
                    f"{lines:,} of {counted(len(found.series), 'series', 'series')} cannot be used;"
                    f" the first: {counting.unusable.why}"
                )
            good = f"{counted(len(found.series), 'series', 'series')} with a request in"
            good += f" {_STEPS * step_s} s"
        else:
            times = {at: text for one in found.series for at, text in one.values}
            problem = problem or (_newest_problem(times, step_s, until) if name == "newest" else "")
            good = "it is scraped" if name == "newest" else "every server can be scraped"
            if name == "down":
                problem = problem or _down_problem(found.series, until)
                fix = "mend what scrapes them: no verdict is ok meanwhile"
        yield result_of(f"health.{name}", where, visible(problem), good, fix)
    yield _clock(client.skew_s, step_s)
    yield from _routes(file, counting)
    yield from _limits(file, counting)


def _down_problem(series: "Iterable[Series]", until: float) -> str:
    """Return which servers cannot be scraped, added up over all series; empty if all can be."""
    from rollout_console.health.prometheus.answers import number_of

    numbers = [number_of(text) for one in series for at, text in one.values if at == until]
    if None in numbers:
        return "the answer is no number of servers"
    down = sum(max(number or 0.0, 0.0) for number in numbers)
    return f"{down:g} of the servers cannot be scraped now" if down else ""


def _clock(skew_s: float, step_s: int) -> Result:
    from rollout_console.health.prometheus.reader import skew_problem

    return result_of(
        "health.clock", _WHERE, skew_problem(skew_s, step_s), "its clock is as this host's",
        "set the clocks: every verdict holds meanwhile",
    )  # fmt: skip


def _routes(file: RolloutFile, counting: "Counting") -> Iterator[Result]:
    """Check that routes have the same names in the metrics as in the file."""
    counted_routes = {route for _, (route, _, _) in counting.amounts}
    unknown = sorted(counted_routes - file.routes.keys() - {OTHERS})
    for name in file.routes:
        if counted_routes and name not in counted_routes and unknown:
            named = ", ".join(one[:_MOST_SHOWN_NAME] for one in unknown[:_MOST_SHOWN])
            yield Result(
                "health.routes", False, f"routes.{name}",
                visible(f"there is no request of it, but of routes that the file does not have:"
                        f" {named}"),
                "give both the same name, in the file or by label_replace() in the query",
            )  # fmt: skip


def _newest_problem(times: dict[float, str], step_s: int, until: int) -> str:
    from rollout_console.health.prometheus.answers import number_of

    numbers = [number for text in times.values() if (number := number_of(text)) is not None]
    if not numbers:
        return "has no value: there is no such metric, or nothing is scraped"
    age = until - max(numbers)
    if age > 2 * step_s + 5:
        return f"the newest sample is {age:.0f} s old: nothing is scraped"
    if len(set(numbers)) <= len(times) // 2 and len(times) > 2:
        return (
            f"there are {counted(len(set(numbers)), 'scrape')} in {len(times)} steps of {step_s} s:"
            " make prometheus_step at least the scrape interval"
        )
    return ""


def _limits(file: RolloutFile, counting: "Counting") -> Iterator[Result]:
    """Check that latency limits are bounds of the histogram's buckets, else say how they count."""
    from rollout_console.health.prometheus.counting import above

    bounds = [one for name in ("duration", "duration_ms") for one in counting.bounds.get(name, ())]
    for name, route in file.routes.items():
        limit = route.guard.max_p95_ms
        over = above(limit, bounds)
        said = f"{limit} ms is a bound of the buckets" if bounds else "there is no latency yet"
        problem = ""
        if over == float("inf"):
            problem = f"{limit} ms is above the last bound of the histogram: none is surely slower"
        elif over > limit:
            said = f"{limit} ms is inside of a bucket: a raise is judged by its upper bound," \
                   f" a rollback by what is over {over:.0f} ms"  # fmt: skip
        yield result_of(
            "health.latency_limit", f"routes.{name}.guard.max_p95_ms", problem, said,
            "lower the limit, or give the histogram a bucket above it",
        )  # fmt: skip
