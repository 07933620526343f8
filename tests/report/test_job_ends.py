"""What a report says of async jobs, which the lines of the log do not tell."""

from pathlib import Path

import pytest

from rollout_console.jobs.outcomes import Ended
from rollout_console.report.incident import Asked, Incident, find_incident
from rollout_console.report.markdown import as_markdown
from rollout_console.report.svg import as_svg
from rollout_console.report.tables import as_json
from rollout_gate.file.parse import parse
from tests.jobs.ledgers import FILE, create, write
from tests.report.storms import NOON, line, switch_at, written

BACK = NOON + 600


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A rollback of videos at BACK: half of the jobs fail after their 200, and no request does."""
    file = tmp_path / "rollout.toml"
    file.write_text(FILE.format(url="http://127.0.0.1:9"))
    written(
        tmp_path / "access.jsonl",
        [line(NOON + i * 5, route="video", latency_ms=400.0) for i in range(120)],
    )
    ends = [("tokenlab", i, "failed" if i % 2 else "completed") for i in range(40)]
    ends += [("previous", i, "completed") for i in range(20)]
    write(
        tmp_path,
        *(
            create(f"{side}{i}", now=NOON + i * 10, side=side, state=state,
                   ended_at=NOON + i * 10 + 60)
            for side, i, state in ends
        ),
        create("own", now=NOON, state="failed", ended_at=NOON + 5, error="invalid_prompt"),
        create("old", now=NOON - 9_000, state="failed", ended_at=NOON - 8_900),
    )  # fmt: skip
    switch = switch_at(file, BACK)
    switch.apply(switch.planner.plan_rollback("video", None, "jobs failed 49%"), reason="jobs")
    return file


def found(file: Path) -> Incident:
    switch = switch_at(file, NOON + 3_600)
    rows = switch.history.rows(file, 100)
    return find_incident(
        parse(file.read_bytes()), file, switch.history, rows, Asked(), NOON + 3_600
    )


def test_the_jobs_of_an_incident_are_counted_by_side(video: Path) -> None:
    incident = found(video)
    ended = incident.jobs.ended
    assert ended["the hour before", "tokenlab"] == Ended(20, 20, 60.0, 60.0, refused=1)
    assert ended["the hour before", "previous"] == Ended(20, 0, 60.0, 60.0)
    assert ended["after", "tokenlab"] == Ended()
    page = as_markdown(incident)
    row = "| the hour before, 60 m | TokenLab | 41 | 20 (48.8%) | 0 | 1 (2.4%) | 60 s | 60 s |"
    assert row in page
    assert "too little evidence in its requests for the guard" in page
    assert "p95 of creates" in page
    assert "p95 of creates, ms" in as_svg(incident)
    told = as_json(incident)["jobs"]["the hour before"]["tokenlab"]
    assert (told["failed"], told["refused"], told["p95_s"]) == (20, 1, 60.0)


def test_a_ledger_that_cannot_be_read_is_named_and_the_report_is_made(video: Path) -> None:
    (video.parent / "rollout-jobs.sqlite3").write_bytes(b"garbage " * 1_000)
    incident = found(video)
    assert not incident.jobs.ended
    assert any("cannot be read" in words for words in incident.log_words)
    assert "## Async jobs" not in as_markdown(incident)
