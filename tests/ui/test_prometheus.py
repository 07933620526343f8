"""Home and live with a real Prometheus in place of the access log."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from rollout_console.changes.switch import Switch
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.state_summary import log_state
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.screens.live.screen import LiveScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.cell_view import CellView
from rollout_console.ui.widgets.chart_panel import ChartPanel
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.rollout_table import RolloutTable
from tests.health.prometheus.odd_server import Odd, odd_server
from tests.support.prometheus import Exporter, scraped
from tests.support.waiting import until_shown

REQUESTS = "rollout_gate_requests_total"
DURATION = "rollout_gate_request_duration_seconds"

pytestmark = pytest.mark.slow


@contextmanager
def traffic(exporter: Exporter, org: str) -> Iterator[None]:
    """Count requests of an org, a third of them failing, until the end."""
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.wait(0.02):
            number += 1
            for side in ("tokenlab", "previous"):
                bad = number % 3 == 0 and side == "tokenlab"
                who = {"route": "chat", "org": org, "side": side}
                exporter.count(REQUESTS, {**who, "class": "gateway" if bad else "ok"})
                exporter.observe(DURATION, {**who, "class": "ok"}, 0.7)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@asynccontextmanager
async def running(app: ConsoleApp) -> AsyncIterator[Pilot[None]]:
    try:
        async with app.run_test(size=(220, 40)) as pilot:
            yield pilot
    finally:
        app._monitor.close()  # which ends the thread that asks


def app_of(file: Path, url: str) -> ConsoleApp:
    text = file.read_text().replace(
        "[health]\n", f'[health]\nprometheus = "{url}"\nprometheus_step = "1s"\n', 1
    )
    file.write_text(text)
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")


def texts(screen: Screen[object]) -> str:
    found = [one.text for one in screen.query(TextLine).results(TextLine)]
    found += [row for view in screen.query(CellView).results(CellView) for row in view.lines]
    for table in screen.query(RolloutTable).results(RolloutTable):
        found += [table.render_line(y).text for y in range(table.size.height)]
    return "\n".join(found)


async def test_home_and_live_show_its_figures_its_age_and_what_it_lacks(
    file: Path, tmp_path: Path
) -> None:
    with scraped(tmp_path / "world") as (prometheus, (exporter,)), traffic(exporter, "acme"):
        app = app_of(file, prometheus.url)
        async with running(app) as pilot:
            await until_shown(pilot, lambda: "prom 0 s" in texts(app.screen))
            await until_shown(pilot, lambda: "ROLL BACK" in texts(app.screen))
            await pilot.press("5")
            await until_shown(pilot, lambda: isinstance(app.screen, LiveScreen))

            def shown() -> str:
                return texts(app.screen)

            await until_shown(pilot, lambda: "tokenlab 5xx 3" in shown())
            assert "prom " in shown()
            assert "bad –" in shown()  # without outcome, which is no 0
            assert "ttft –" in shown()
            await pilot.press("v")
            await until_shown(pilot, lambda: "no single errors: Prometheus has counts" in shown())
            prometheus.kill()
            await until_shown(pilot, lambda: "Prometheus fails" in shown())
            await pilot.press("1")
            await until_shown(pilot, lambda: not isinstance(app.screen, LiveScreen))
            await until_shown(pilot, lambda: "cannot be reached" in texts(app.screen))
            assert "ROLL BACK" not in texts(app.screen)


async def test_charts_say_that_prometheus_is_read_and_not_a_log(file: Path) -> None:
    def charts(screen: Screen[object]) -> str:
        panels = screen.query(ChartPanel).results(ChartPanel)
        return "\n".join(one.render_line(y).text for one in panels for y in range(one.size.height))

    answered = threading.Event()

    def wait(odd: Odd, _: object) -> None:
        answered.wait(60)
        odd.matrix()

    with odd_server(wait) as server:
        app = app_of(file, server.url)
        async with running(app) as pilot:
            await until_shown(pilot, lambda: "reading " in charts(app.screen))
            assert "reading Prometheus…" in charts(app.screen)
            answered.set()


async def test_a_saved_file_goes_over_to_prometheus_and_back(file: Path, tmp_path: Path) -> None:
    with scraped(tmp_path / "world") as (prometheus, (exporter,)), traffic(exporter, "acme"):
        before = file.read_text()
        app = app_of(file, prometheus.url)
        with_prometheus = file.read_text()
        async with running(app) as pilot:
            await until_shown(pilot, lambda: "prom 0 s" in texts(app.screen))
            file.write_text(before)
            await until_shown(pilot, lambda: "no data yet" in texts(app.screen))
            file.write_text(with_prometheus)
            await until_shown(pilot, lambda: "prom 0 s" in texts(app.screen))
            assert "Prometheus: the newest answer is" in log_state(app._monitor, 0).text
