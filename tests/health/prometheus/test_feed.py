"""The feed against a real Prometheus: exact counts, resets, gaps, restarts, new servers."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollout_console.health.prometheus.feed import PrometheusFeed
from rollout_console.health.windows.codes import BUCKETS, KINDS
from rollout_console.health.windows.count_batch import CountBatch
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.model import PrometheusSource
from tests.support.prometheus import Exporter, Prometheus, next_scrape, next_step, scraped
from tests.support.waiting import until

STEP_S = 1
REQUESTS = "rollout_gate_requests_total"
DURATION = "rollout_gate_request_duration_seconds"


pytestmark = pytest.mark.slow


class Read:
    """A feed and the windows that it fills."""

    def __init__(self, url: str, **queries: str) -> None:
        self.windows = Windows()
        source = PrometheusSource(url, STEP_S, queries=queries)
        self.feed = PrometheusFeed(source, Path(), 60, 0.0, answer_s=2.0)

    def go_on(self) -> None:
        self.feed.poll()
        while True:
            found = self.feed.take()
            if found:
                now = time.time()
                self.windows.take(CountBatch(self.windows.kept.levels, now, found))
            if not self.feed.behind:
                return

    def count(self, route: str, cls: str = "", org: str | None = None) -> int:
        """Return the requests of a route on TokenLab so far, of a class or all."""
        self.go_on()
        of = self.windows.by_class(time.time(), 900, route, org)
        return sum(n for one, n in of.items() if cls in ("", one.value))

    def settle(self) -> None:
        """Wait until the steps up to now were read, and once more what came late."""
        begin = time.time()
        until(lambda: self._until() > begin + STEP_S)

    def _until(self) -> float:
        self.go_on()
        return 0.0 if self.feed.state is None else self.feed.state.until

    @property
    def has_past(self) -> bool:
        self.go_on()
        return not self.feed.reads_past

    def trouble(self) -> str:
        self.go_on()
        return self.feed.trouble_at(time.time())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Exporter]]:
    with scraped(tmp_path_factory.mktemp("world")) as (prometheus, (exporter,)):
        # What is on a server that was scraped before counts from 0.
        exporter.count(REQUESTS, labels("warm"))
        until(lambda: prometheus.has(REQUESTS))
        yield prometheus, exporter


@pytest.fixture
def read(world: tuple[Prometheus, Exporter]) -> Iterator[Read]:
    made = Read(world[0].url)
    yield made
    made.feed.close()


def labels(
    route: str, cls: str = "ok", org: str = "acme", side: str = "tokenlab"
) -> dict[str, str]:
    outcome = "ok" if cls == "ok" else "error"
    return {"route": route, "org": org, "side": side, "class": cls, "outcome": outcome}


def test_each_request_is_counted_once_whenever_it_is_scraped(
    world: tuple[Prometheus, Exporter], read: Read
) -> None:
    _, exporter = world
    read.settle()
    for part in range(6):
        for _ in range(7):
            exporter.count(REQUESTS, labels("exact"))
        exporter.count(REQUESTS, labels("exact", "gateway", org=f"org{part % 2}"))
        next_scrape(exporter)
    until(lambda: read.count("exact") >= 48)
    read.settle()
    assert read.count("exact") == 48
    assert read.count("exact", "gateway") == 6
    assert read.count("exact", "gateway", "org0") == 3
    assert read.trouble() == ""


def test_what_began_before_is_read_from_the_past(
    world: tuple[Prometheus, Exporter], read: Read
) -> None:
    _, exporter = world
    exporter.count(REQUESTS, labels("past"), 20)
    next_scrape(exporter)
    exporter.count(REQUESTS, labels("past"), 3)
    next_scrape(exporter)
    next_step(STEP_S)
    until(lambda: read.count("past") >= 23)
    read.settle()
    assert read.count("past") == 23
    until(lambda: read.has_past)
    assert read.feed.begins_at < time.time() - 80_000
    assert read.count("past") == 23


def test_two_that_begin_at_other_times_count_the_same(
    world: tuple[Prometheus, Exporter], read: Read
) -> None:
    prometheus, exporter = world
    read.settle()
    for _ in range(3):
        exporter.count(REQUESTS, labels("agree"), 11)
        exporter.count(REQUESTS, labels("agree", "gateway"), 2)
        next_scrape(exporter)
    late = Read(prometheus.url)
    try:
        until(lambda: read.count("agree") == 39 and late.count("agree") == 39)
        for one in (read, late):
            one.settle()
        now = time.time()
        points = [
            one.windows.class_series(now, 60, 60, "agree") for one in (read, late)
        ]  # fmt: skip
        assert points[0] == points[1]
    finally:
        late.feed.close()


def test_a_counter_that_is_reset_counts_from_0(
    world: tuple[Prometheus, Exporter], read: Read
) -> None:
    _, exporter = world
    exporter.count(REQUESTS, labels("reset"), 1000)
    until(lambda: read.count("reset") == 1000)
    exporter.restart()
    exporter.count(REQUESTS, labels("warm"))
    exporter.count(REQUESTS, labels("reset"), 4)
    next_scrape(exporter)
    until(lambda: read.count("reset") >= 1004)
    read.settle()
    assert read.count("reset") == 1004


def test_a_server_that_cannot_be_scraped_is_said_and_makes_up_nothing(
    world: tuple[Prometheus, Exporter], read: Read
) -> None:
    _, exporter = world
    exporter.gauge("rollout_gate_revision_info", {"host": "a", "revision": "1"}, 1)
    exporter.count(REQUESTS, labels("gap"), 500)
    until(lambda: read.count("gap") == 500)
    read.settle()
    exporter.status = 500
    until(lambda: "1 server cannot be scraped" in read.trouble())
    # Longer than the steps that are bridged: what was counted meanwhile is not known.
    for _ in range(2 + 2 * STEP_S):
        next_scrape(exporter)
    exporter.count(REQUESTS, labels("gap"), 70)
    exporter.status = 200
    until(lambda: read.trouble() == "")
    read.settle()
    exporter.count(REQUESTS, labels("gap"), 5)
    until(lambda: read.count("gap") >= 505)
    read.settle()
    assert read.count("gap") == 505


def test_a_server_that_is_new_has_no_past(tmp_path: Path) -> None:
    with scraped(tmp_path) as (prometheus, (old,)), closing(Exporter()) as new:
        old.count(REQUESTS, labels("new"), 10)
        new.count(REQUESTS, labels("new", "gateway"), 90_000)
        read = Read(prometheus.url)
        try:
            until(lambda: read.count("new") == 10)
            prometheus.scrape([old.port, new.port])
            prometheus.send(signal.SIGHUP)
            until(lambda: prometheus.has(f'{REQUESTS}{{class="gateway"}}'))
            next_scrape(new)
            new.count(REQUESTS, labels("new", "gateway"), 2)
            until(lambda: read.count("new", "gateway") >= 2)
            read.settle()
            assert read.count("new", "gateway") == 2
        finally:
            read.feed.close()


def test_a_prometheus_that_ends_and_comes_back(tmp_path: Path) -> None:
    with scraped(tmp_path) as (prometheus, (exporter,)):
        read = Read(prometheus.url)
        try:
            exporter.count(REQUESTS, labels("chat"), 50)
            until(lambda: read.count("chat") == 50)
            prometheus.kill()
            until(lambda: "cannot be reached" in read.trouble())
            exporter.count(REQUESTS, labels("chat", "gateway"), 8)
            prometheus.start()
            until(lambda: read.trouble() == "")
            next_scrape(exporter)
            read.settle()
            before = read.count("chat", "ok")
            exporter.count(REQUESTS, labels("chat"), 3)
            until(lambda: read.count("chat", "ok") >= before + 3)
            read.settle()
            # What was counted while nobody scraped is known where the gap is short, else not.
            assert before == 50
            assert read.count("chat", "ok") == 53
            assert read.count("chat", "gateway") in (0, 8)
        finally:
            read.feed.close()


def test_a_prometheus_without_these_metrics_is_no_health(tmp_path: Path) -> None:
    with scraped(tmp_path) as (prometheus, _):
        read = Read(prometheus.url)
        try:
            until(lambda: "it has no sample of these requests" in read.trouble())
        finally:
            read.feed.close()


def test_servers_without_a_request_yet_are_scraped(tmp_path: Path) -> None:
    with scraped(tmp_path) as (prometheus, (exporter,)):
        exporter.gauge("rollout_gate_revision_info", {"host": "a", "revision": "1"}, 1)
        read = Read(prometheus.url)
        try:
            until(lambda: read.trouble() == "")
            assert read.count("chat") == 0
        finally:
            read.feed.close()


def test_steps_that_are_too_short_for_the_scrapes_are_said(tmp_path: Path) -> None:
    exporters = [Exporter() for _ in range(2)]
    prometheus = Prometheus(tmp_path, [one.port for one in exporters], every="4s")
    try:
        for one in exporters:
            one.gauge("rollout_gate_revision_info", {"host": "a", "revision": "1"}, 1)
            one.count(REQUESTS, labels("chat"))
        prometheus.start()
        read = Read(prometheus.url)
        try:
            until(lambda: "scraped too rarely for steps of 1 s" in read.trouble())
        finally:
            read.feed.close()
    finally:
        prometheus.kill()
        for one in exporters:
            one.close()


def test_a_query_that_is_wrong_is_said_by_name(world: tuple[Prometheus, Exporter]) -> None:
    read = Read(world[0].url, requests="sum by (((", newest="vector(time())")
    try:
        until(lambda: "requests: " in read.trouble())
        assert "answers 400" in read.trouble()
        assert "parse error" in read.trouble()
    finally:
        read.feed.close()


def test_samples_that_are_old_are_said(world: tuple[Prometheus, Exporter]) -> None:
    read = Read(
        world[0].url,
        requests=f"sum by (route, org, side, class) ($increase({REQUESTS}))",
        newest="vector(time() - 100)",
    )
    try:
        until(lambda: "its newest sample of these requests is 100 s old" in read.trouble())
    finally:
        read.feed.close()


def test_latencies_of_classic_histograms(world: tuple[Prometheus, Exporter], read: Read) -> None:
    _, exporter = world
    who = {"route": "slow", "org": "acme", "side": "tokenlab"}
    exporter.count(REQUESTS, labels("slow"), 20)
    for number in range(20):
        exporter.observe(DURATION, {**who, "class": "ok"}, 0.4 if number < 16 else 7.0)
    until(lambda: read.count("slow") == 20)
    read.settle()
    found = read.windows.summary(time.time(), 60, "slow")
    assert found.requests == 20
    assert found.p50 == pytest.approx(500, rel=0.02)
    assert found.p95 == pytest.approx(8000, rel=0.02)
    assert read.feed.limit_above("duration", 7000) == 8000
    assert read.feed.limit_above("duration", 8000) == 8000


def test_latencies_of_native_histograms(tmp_path: Path) -> None:
    with scraped(tmp_path) as (prometheus, (exporter,)):
        who = {"route": "chat", "org": "acme", "side": "tokenlab"}
        read = Read(
            prometheus.url,
            duration="sum by (route, org, side) (increase(native_seconds[$window]))",
        )
        try:
            seen = 0
            while (
                read.count("chat") < 40
                or (read.windows.summary(time.time(), 60, "chat").p99 or 0) < 7000
            ):  # a scrape may come between what is observed here, so the first is not enough
                seen += 10
                exporter.count(REQUESTS, labels("chat"), 10)
                exporter.observe_native("native_seconds", who, 8, 9)  # up to 2 s
                exporter.observe_native("native_seconds", who, 24, 1)  # up to 8 s
                next_scrape(exporter)
                assert seen < 1000
            assert prometheus.has("histogram_count(native_seconds)")
            found = read.windows.summary(time.time(), 60, "chat")
            assert found.p50 == pytest.approx(2000, rel=0.02)
            assert found.p99 == pytest.approx(8000, rel=0.02)
            codes = read.windows.counts(time.time(), 60, "chat")
            timed = sum(n for code, n in codes.items() if code // BUCKETS >= KINDS)
            assert 0.4 * found.requests < timed < 1.6 * found.requests
        finally:
            read.feed.close()


def test_one_that_is_stopped_answers_nothing(
    world: tuple[Prometheus, Exporter], read: Read
) -> None:
    prometheus, _ = world
    until(lambda: read.trouble() == "")
    prometheus.send(signal.SIGSTOP)
    try:
        until(lambda: "did not answer within 2 s" in read.trouble())
    finally:
        prometheus.send(signal.SIGCONT)
    until(lambda: read.trouble() == "")
