"""The command ``report``: files, output, JSON and exit codes."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from subprocess import CompletedProcess
from zoneinfo import ZoneInfo

import pytest

from rollout_console.cli.values import past_time
from tests.report.storms import NOON, line, roll_back, storm, written
from tests.support.commands import Commands

Run = Callable[..., "CompletedProcess[str]"]
NAME = "incident-20261001T120040Z"


@pytest.fixture
def run(commands: Commands, file: Path, tmp_path: Path) -> Run:
    here = tmp_path / "here"
    here.mkdir()

    def call(*words: str) -> "CompletedProcess[str]":
        done = commands.run(["-f", str(file), *words], env=os.environ, cwd=here)
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def incident(file: Path) -> Path:
    written(file.parent / "access.jsonl", storm())
    roll_back(file, NOON + 40, why="5xx over the limit")
    return file


def test_three_files_and_nothing_replaced_by_itself(
    run: Run, incident: Path, tmp_path: Path
) -> None:
    done = run("report")
    names = [f"{NAME}.md", f"{NAME}.svg", f"{NAME}.csv"]
    assert (done.returncode, done.stdout.split()) == (0, names)
    text = (tmp_path / "here" / names[0]).read_text()
    assert "`jo@gw-01` rolled back 40 s after the first bad request" in text
    again = run("report")
    assert again.returncode == 1
    assert "add --yes to replace it" in again.stderr
    (tmp_path / "here" / names[1]).unlink()
    assert run("report", "--yes").returncode == 0
    assert (tmp_path / "here" / names[1]).exists()
    assert run("report", "--out", "some/folder").returncode == 0
    assert (tmp_path / "here" / "some" / "folder" / names[2]).exists()


def test_markdown_and_json_on_standard_output(run: Run, incident: Path, tmp_path: Path) -> None:
    done = run("report", "--out", "-")
    assert done.stdout.startswith("# Incident of 2026-10-01 12:00:00Z: `chat`")
    body = json.loads(run("report", "--json").stdout)
    assert body["name"] == NAME
    assert body["drained"] is True
    assert body["rollbacks"][0]["reason"] == "5xx over the limit"
    assert not list((tmp_path / "here").iterdir())


def test_read_only_prints_and_writes_nothing(run: Run, incident: Path, tmp_path: Path) -> None:
    done = run("--read-only", "report")
    assert (done.returncode, "read-only" in done.stderr) == (1, True)
    assert run("--read-only", "report", "--out", "-").returncode == 0
    assert not list((tmp_path / "here").iterdir())


def test_no_rollback_is_one_sentence(run: Run, file: Path) -> None:
    done = run("report")
    assert done.returncode == 1
    assert "no rollback is in the history of rollout.toml: give --since" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["--around", "--since"])
def test_a_time_that_is_none(run: Run, file: Path, option: str) -> None:
    for wrong in ("yesterday", "25:00", "", "-5m", "2999-01-01T00:00:00Z", "9" * 30 + "h"):
        done = run("report", f"{option}={wrong}")
        assert done.returncode == 2, wrong


def test_a_broken_history_stops_a_report_only_where_it_is_needed(run: Run, incident: Path) -> None:
    history = incident.parent / "rollout.history.sqlite3"
    history.write_bytes(b"no database" * 1000)
    assert run("report").returncode == 2
    done = run("report", "--around", "2026-10-01T12:00:00Z", "--out", "-")
    if datetime.now(UTC).timestamp() > NOON:
        assert done.returncode == 0
        assert "without the history" in done.stderr
        assert "Nothing was rolled back." in done.stdout


def test_a_broken_file_stops_no_report(run: Run, incident: Path) -> None:
    incident.write_text("no TOML at all")
    done = run("report", "--out", "-")
    assert (done.returncode, "`chat`" in done.stdout) == (0, True)


def test_a_folder_that_cannot_be(run: Run, incident: Path, tmp_path: Path) -> None:
    (tmp_path / "here" / "file").write_text("")
    done = run("report", "--out", "file/below")
    assert (done.returncode, "cannot be written to" in done.stderr) == (1, True)


def test_a_log_without_the_time_is_warned_of(run: Run, incident: Path) -> None:
    (incident.parent / "access.jsonl").write_text("")
    written(incident.parent / "access.jsonl", [line(NOON + 30)])
    done = run("report", "--out", "-")
    assert "warning: the log has no line from before 2026-10-01 12:00:30Z" in done.stderr


def test_times() -> None:
    zone = timezone(timedelta(hours=2))
    now = datetime(2026, 10, 1, 15, 0, tzinfo=zone)
    for text, expected in (
        ("14:05", datetime(2026, 10, 1, 14, 5, tzinfo=zone)),
        ("16:05", datetime(2026, 9, 30, 16, 5, tzinfo=zone)),
        ("12:30Z", datetime(2026, 10, 1, 12, 30, tzinfo=UTC)),
        ("2026-10-01 14:05", datetime(2026, 10, 1, 14, 5, tzinfo=zone)),
        ("2026-10-01T21:05:00+09:00", datetime(2026, 10, 1, 12, 5, tzinfo=UTC)),
        ("30m", now - timedelta(minutes=30)),
        ("2d", now - timedelta(days=2)),
    ):
        assert past_time(text, now, zone) == expected.timestamp(), text


def test_a_time_of_day_has_the_offset_of_its_own_time() -> None:
    """Clocks went back at 2:00 on 1 November 2026 in New York, and forward on 8 March."""
    zone = ZoneInfo("America/New_York")
    back = datetime(2026, 11, 1, 10, 0, tzinfo=zone).astimezone(timezone(timedelta(hours=-5)))
    forth = datetime(2026, 3, 8, 10, 0, tzinfo=zone).astimezone(timezone(timedelta(hours=-4)))
    for text, now, expected in (
        ("00:30", back, datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
        ("09:00", back, datetime(2026, 11, 1, 14, 0, tzinfo=UTC)),
        ("23:00", back, datetime(2026, 11, 1, 3, 0, tzinfo=UTC)),
        ("2026-11-01", back, datetime(2026, 11, 1, 4, 0, tzinfo=UTC)),
        ("24h", back, datetime(2026, 10, 31, 15, 0, tzinfo=UTC)),
        ("00:30", forth, datetime(2026, 3, 8, 5, 30, tzinfo=UTC)),
        ("23:00", forth, datetime(2026, 3, 8, 4, 0, tzinfo=UTC)),
    ):
        assert past_time(text, now, zone) == expected.timestamp(), text
