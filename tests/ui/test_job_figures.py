"""The figures of a media route are those of its jobs, on home, live and in a rollback's confirm."""

import re
import time
from pathlib import Path

import pytest

from rollout_console.guard.alerts import Alerts
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.rollback_figures import rollback_figures
from rollout_console.ui.screens.home.about_row import about_row
from rollout_console.ui.screens.home.cells import RowCells
from rollout_console.ui.screens.home.rows import Row
from rollout_console.ui.screens.live.charts import JOB_CHARTS, charts_of, draw_charts
from rollout_console.ui.screens.live.figures import Subject
from rollout_console.ui.screens.live.lines import figures_line
from rollout_console.ui.screens.live.state import LiveView
from rollout_gate.file.parse import parse
from tests.jobs.ledgers import FILE, create, write
from tests.report.storms import line, written
from tests.ui.test_home import log_lines

NOW = time.time()
GUARD = '[guard]\nmax_asset_p95 = "2m"\n'


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    """Creates of 350 ms; assets after 100 s on TokenLab and 60 s before; two of 20 jobs fail."""
    file = tmp_path / "rollout.toml"
    file.write_text(FILE.format(url="http://127.0.0.1:9") + GUARD)
    written(
        tmp_path / "access.jsonl",
        [
            line(NOW - 2 * i, route="video", side=side, latency_ms=350.0)
            for i in range(20)
            for side in ("tokenlab", "previous")
        ],
    )
    write(
        tmp_path,
        *(
            create(f"t{i}", now=NOW, ago=130 + i, ended_at=NOW - 30 - i,
                   state="failed" if i < 2 else "completed")
            for i in range(20)
        ),
        *(
            create(f"p{i}", now=NOW, ago=90 + i, ended_at=NOW - 30 - i, side="previous",
                   state="completed", org="globex")
            for i in range(10)
        ),
    )  # fmt: skip
    made = Monitor(file, parse(file.read_bytes()))
    made.catch_up(NOW)
    return made


def row_of(monitor: Monitor, org: str | None) -> str:
    cells = RowCells(80)
    health = monitor.health("video", org, NOW)
    row = Row("video", org or "acme", 10_000)
    return "".join(text for text, _ in cells.org_row(row, health, [None] * 10, "", False))


def text_of(pieces: list[tuple[str, str]]) -> str:
    return "".join(text for text, _ in pieces)


def test_the_row_has_the_time_to_the_asset_with_its_unit(monitor: Monitor) -> None:
    assert " 1.7m " in row_of(monitor, None)
    assert " 1.7m " in row_of(monitor, "acme")
    assert "350" not in row_of(monitor, None)
    nobody = row_of(monitor, "hooli")
    assert nobody.split()[2:6] == ["0.0", "–", "–", "–"]


def test_without_a_job_that_ended_there_is_none_and_not_that_of_the_creates(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rollout.toml"
    file.write_text(FILE.format(url="http://127.0.0.1:9"))
    written(tmp_path / "access.jsonl", [line(NOW - i, route="video") for i in range(20)])
    monitor = Monitor(file, parse(file.read_bytes()))
    monitor.catch_up(NOW)
    health = monitor.health("video", None, NOW)
    assert (health.is_async, health.asset_p95_s, health.over_p95) == (True, None, False)
    assert row_of(monitor, None).split()[3:6] == ["0.0%", "0.0%", "–"]
    image = monitor.health("image", None, NOW)
    assert not image.is_async, "an image may be made at once"


def test_lines_about_a_row_and_in_the_confirm_have_both_sides(monitor: Monitor) -> None:
    about = text_of(about_row(Row("video", None, 0), monitor, "", NOW))
    assert about.startswith(
        " video: assets 1 h: p95 1.7m, failed 10% of 20 · previous p95 60s, failed 0.0% of 10 · "
    )
    ours, theirs = rollback_figures(monitor, [("video", None)], NOW)
    assert ours.endswith(", jobs failed 10% of 20 in an hour, asset p95 1.7m")
    assert theirs.endswith(", jobs failed 0.0% of 10 in an hour, asset p95 60s")
    assert "350 ms" not in ours + theirs


@pytest.mark.parametrize("width", [60, 79, 119])
def test_live_charts_shares_and_times_of_both_sides_with_their_limits(
    monitor: Monitor, width: int
) -> None:
    view = LiveView(monitor, Alerts())
    view.choose(Subject("video"))
    frame = view.look(NOW)
    assert charts_of(frame) == JOB_CHARTS
    tops = {name: view.top(name) for name in JOB_CHARTS}
    rows = draw_charts(JOB_CHARTS[:2], frame, tops, {}, (width, 24), None, stale=False)
    text = "\n".join("".join(char for char, _ in row) for row in rows)
    assert "jobs %  done 90.0  ⠒ tokenlab failed 10.0 x late 0.0" in text
    assert "create to asset s  ⠒ tokenlab p95 1.7m o p50 1.7m" in text
    if width == 119:
        assert "prev. failed 0.0 · late 0.0  limit 5" in text
        assert "prev. p95 60s · p50 60s  limit 120" in text
    assert "┄" in text, "the limits are rules across the charts"
    (chart,) = draw_charts(["latency"], frame, tops, {}, (width, 3), None, stale=False)[:1]
    assert "its creates' ms" in "".join(char for char, _ in chart)
    said = text_of(figures_line(frame, None, width))
    if width == 79:
        brief = "tokenlab asset 1.7m failed 10.0% · previous asset 60s failed 0.0%"
        assert said == f" last 5 m  {brief}"
    if width == 119:
        assert "tokenlab jobs failed 10.0% asset p95 1.7m" in said


def test_live_of_a_day_asks_for_a_day_and_of_another_route_for_no_jobs(monitor: Monitor) -> None:
    view = LiveView(monitor, Alerts())
    view.choose(Subject("video", "globex"))
    view.window_s = 86_400
    frame = view.look(NOW)
    assert frame.value("tokenlab", "failed", None) is None, "it has jobs on the other side alone"
    assert frame.value("previous", "asset_p95", None) == pytest.approx(60.0)
    path = monitor.jobs._path
    write(path.parent, create("old", now=NOW, ago=40_000, state="completed", ended_at=NOW - 39_000))
    monitor.jobs._next_at = monitor.jobs._next_look_at = 0.0
    monitor.go_on(NOW + 6)
    ended = monitor.job_verdicts.ended("video", None, "tokenlab", NOW + 6, 86_400)
    assert ended is not None
    assert ended.count == 21
    view.choose(Subject("image"))
    assert view.look(NOW).jobs is None


def test_the_figures_of_the_previous_side_come_before_what_80_columns_have_no_room_for(
    file: Path,
) -> None:
    log_lines(file, 30, side="previous", orgs=("acme",))
    monitor = Monitor(file, parse(file.read_bytes()))
    monitor.catch_up(time.time())
    about = text_of(about_row(Row("chat", "acme", 2500), monitor, "probe ok", time.time()))
    assert re.match(r" chat / acme: previous [\d.]+ req/s, 5xx 0.0%, p95 \d+ ms \(5 m\) · ", about)
    assert about.endswith("gpt-5.4 · rollout · probe ok · openai_chat_completions")
    assert len(about.partition(" · ")[0]) < 80
