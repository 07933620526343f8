"""Incidents found in history and log, with figures that are counted here once more."""

import csv
import gzip
import io
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rollout_console.common.errors import Misused, OperationError
from rollout_console.guard.evidence.e_process import Episode, episodes, evidence
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.time_range import LogReader
from rollout_console.report.files import ReportExists, write_report
from rollout_console.report.incident import Asked, Incident, find_incident
from rollout_console.report.markdown import as_markdown
from rollout_console.report.svg import as_svg
from rollout_console.report.tables import as_csv, as_json
from rollout_gate.file.parse import parse
from tests.report.storms import NOON, line, resume, roll_back, storm, switch_at, written

NOW = NOON + 3600
HOSTILE = "\x1b[31m<script>|`x` [a](http://evil.example) @team\u202e"
SECRET = "sk-live-abcdef1234567890"


def found(file: Path, asked: Asked | None = None, now: float = NOW) -> Incident:
    switch = switch_at(file, now)
    rows = switch.history.rows(file, 1000)
    return find_incident(
        parse(file.read_bytes()), file, switch.history, rows, asked or Asked(), now
    )


def log_of(file: Path) -> Path:
    return file.parent / "access.jsonl"


def counted(lines: list[dict[str, Any]], begin: float, end: float, **of: str) -> list[Any]:
    return [
        one
        for one in lines
        if begin <= at_of(one) < end and all(one[name] == value for name, value in of.items())
    ]


def at_of(one: dict[str, Any]) -> float:
    return datetime.fromisoformat(one["ts"]).timestamp()


def bad_of(lines: list[dict[str, Any]]) -> int:
    return sum(one["status"] >= 400 for one in lines)


def test_the_figures_are_those_of_the_lines(file: Path) -> None:
    lines = list(storm())
    others = storm(route="claude", share=1.0)  # of another route: not of it
    written(log_of(file), sorted([*lines, *others], key=at_of))
    roll_back(file, NOON + 40)
    one = found(file)
    assert (one.during.begin, round(one.during.end, 3)) == (NOON, NOON + 40.8)
    assert one.first_bad is not None
    assert (one.first_bad.at, one.first_bad.request_id) == (NOON, f"req-{NOON:.1f}")
    assert one.drained
    assert one.drained_at == pytest.approx(NOON + 40.8)
    assert one.after == len(counted(lines, NOON + 40.01, NOW, side="tokenlab")) == 4
    assert one.alert is not None
    assert NOON + 1 <= one.alert.at < NOON + 12
    for phase in one.phases:
        for side in ("tokenlab", "previous"):
            expected = counted(lines, phase.begin, phase.end, side=side)
            summary = one.figures.summary(phase, side)
            assert summary.requests == len(expected), (phase, side)
            assert round(summary.percent_5xx * summary.judged / 100) == bad_of(expected)
    during = counted(lines, NOON, NOON + 40.9, side="tokenlab")
    (error,) = one.figures.errors("tokenlab")
    assert (error.count, error.status, error.error) == (bad_of(during), 503, "overloaded")
    ids = [line["request_id"] for line in during if line["status"] == 503]
    assert list(error.request_ids) == [*ids[:5], *ids[-5:]]
    by_org = {org: (requests, bad) for org, requests, bad in one.figures.orgs()}
    assert by_org == {
        org: (len(some), bad_of(some))
        for org in {line["org"] for line in during}
        if bad_of(some := [line for line in during if line["org"] == org])
    }


def test_the_tables_have_the_figures_of_the_lines(file: Path) -> None:
    lines = written(log_of(file), storm())
    roll_back(file, NOON + 40)
    one = found(file)
    rows = list(csv.DictReader(io.StringIO(as_csv(one))))
    begin, end = one.phases[0].begin, one.phases[-1].end
    of_all = counted(lines, begin, end)
    assert sum(int(row["requests"]) for row in rows) == len(of_all)
    assert sum(int(row["5xx"]) for row in rows) == bad_of(of_all)
    noon = [row for row in rows if row["minute"] == "2026-10-01T12:00:00.000Z"]
    assert [row["side"] for row in noon] == ["previous", "tokenlab"]
    bad = bad_of(counted(lines, NOON, NOON + 60, side="tokenlab"))
    assert noon[1]["bad"] == str(bad)
    body = json.loads(json.dumps(as_json(one)))
    assert body["phases"]["during"]["tokenlab"]["5xx"] == bad
    assert body["first_bad"]["at"] == "2026-10-01T12:00:00.000Z"
    text = as_markdown(one)
    assert f"| {bad} | 503 | `overloaded` | `chat` | 2026-10-01 12:00:00Z" in text
    assert "`jo@gw-01` rolled back 40 s after the first bad request (`5xx`)." in text


def test_what_the_application_left_is_in_no_share(file: Path) -> None:
    lines = [*storm()]
    left = [dict(one, status=0, error="cancelled", outcome="abandoned") for one in lines[::5]]
    written(log_of(file), sorted([*lines, *left], key=at_of))
    roll_back(file, NOON + 40)
    one = found(file)
    now = one.figures.summary(one.during, "tokenlab")
    assert 0 < now.judged < now.requests
    bad = bad_of(counted(lines, NOON, NOON + 40.9, side="tokenlab"))
    share = f"{100 * bad / now.judged:.1f}%"
    text = as_markdown(one)
    assert (
        f"TokenLab had {now.requests} requests of it, of which {bad} were bad ({share} of" in text
    )
    assert f"({share} of {now.judged})" in text
    assert sum(count for _, count, _ in one.figures.orgs()) == now.judged
    assert sum(count for _, _, count in one.figures.orgs()) == bad


def test_a_few_errors_of_an_hour_before_are_not_its_beginning(file: Path) -> None:
    usual = [line(NOON - 3600 + i, status=503 if i % 100 == 0 else 200) for i in range(3000)]
    written(log_of(file), [*usual, *storm()])
    roll_back(file, NOON + 40)
    assert found(file).during.begin == NOON


def test_a_first_error_that_good_answers_follow_is_the_first(file: Path) -> None:
    early = line(NOON - 2, status=502, error="upstream", request_id="the-first")
    written(log_of(file), sorted([*storm(), early], key=at_of))
    roll_back(file, NOON + 40)
    one = found(file)
    assert one.first_bad is not None
    assert one.first_bad.request_id == "the-first"
    assert one.during.begin == NOON - 2


def test_of_two_incidents_each_is_reported(file: Path) -> None:
    written(log_of(file), storm())
    first = roll_back(file, NOON + 40)
    resume(file, NOON + 590)
    later = NOON + 4000
    written(log_of(file), storm(begin=later, rolled_back=later + 20, seconds=300))
    roll_back(file, later + 20, org="org-1", why="the second")
    second = found(file, now=later + 600)
    assert later <= second.during.begin <= later + 5
    assert second.scope.words == "chat / org-1"
    for asked in (Asked(revision=first[:9]), Asked(around=NOON + 600)):
        one = found(file, asked, now=later + 600)
        assert one.during.begin == NOON
        assert one.scope.words == "chat"
        assert one.scope.given_back_at == NOON + 590
        assert one.phases[-1].end <= NOON + 590
        assert one.name == "incident-20261001T120040Z"


def test_rollbacks_that_follow_one_another_are_one_incident(file: Path) -> None:
    lines = written(log_of(file), storm())
    roll_back(file, NOON + 30, org="org-0", why="first the org")
    roll_back(file, NOON + 40, why="then the route")
    roll_back(file, NOON + 50, route="claude", why="and the other")
    one = found(file)
    assert [row.reason for row in one.scope.rollbacks] == [
        "first the org", "then the route", "and the other",
    ]  # fmt: skip
    assert one.scope.words == "chat / org-0, chat, claude"
    assert one.during.begin == NOON
    late = [
        x
        for x in counted(lines, NOON, NOW, side="tokenlab")
        if at_of(x) > NOON + (30 if x["org"] == "org-0" else 40)
    ]
    assert one.after == len(late)


def test_a_rollback_by_hand_counts(file: Path) -> None:
    written(log_of(file), storm())
    switch = switch_at(file, NOON - 60)
    latched = 'phase = "rollout"\nrolled_back = true'
    file.write_text(file.read_text().replace('phase = "rollout"', latched, 1))
    assert switch.refresh() is not None
    (row,) = switch.history.rows(file, 10)
    assert row.action == "external"
    assert found(file).scope.words == "chat"


def test_what_fails_on_the_previous_side_after_the_rollback_hides_no_alert(file: Path) -> None:
    """Traffic that comes back all at once may be too much there: the guard saw nothing of it."""
    lines = list(storm())
    for number, one in enumerate(lines):
        if one["side"] == "previous" and at_of(one) > NOON + 42 and number % 3 == 0:
            one |= {"status": 503, "error": "overloaded"}
    written(log_of(file), lines)
    roll_back(file, NOON + 40)
    incident = found(file)
    assert incident.alert is not None
    assert incident.alert.words.endswith("limit 2%")
    assert NOON < incident.alert.at < NOON + 40


def test_without_evidence_the_last_bad_request_is_named(file: Path) -> None:
    """A drill, or a rollback for another reason: it began where it was rolled back, or shortly."""
    written(log_of(file), storm(share=0.0))
    roll_back(file, NOON + 40, why="drill")
    one = found(file)
    assert one.alert is None
    assert one.during.begin == NOON  # storm() has one bad request at least
    assert "too little evidence for the guard" in as_markdown(one)


def test_no_bad_request_at_all(file: Path) -> None:
    written(log_of(file), (line(NOON - 200 + i) for i in range(230)))
    roll_back(file, NOON + 40)
    one = found(file)
    assert one.first_bad is None
    assert one.during.begin == NOON + 40
    text = as_markdown(one)
    assert "No bad request of `chat`" in text
    assert "None: no request on TokenLab was bad." in text
    assert "no request of it came to TokenLab after the rollback" in text
    assert "`jo@gw-01` rolled back at 2026-10-01 12:00:40Z (`5xx`)." in text
    assert "During: from 2026-10-01 12:00:40Z, the rollback, to the last request on" in text
    assert "the first bad request" not in text
    ElementTree.fromstring(as_svg(one))


def test_a_bad_request_that_came_after_the_rollback_is_none_it_began_with(file: Path) -> None:
    good = [line(NOON - 200 + i) for i in range(230)]
    written(log_of(file), [*good, line(NOON + 43, status=503)])
    roll_back(file, NOON + 40.5)
    text = as_markdown(found(file))
    assert "At 2026-10-01 12:00:43Z TokenLab gave the first bad answer" in text
    assert "`jo@gw-01` rolled back at 2026-10-01 12:00:40Z (`5xx`)." in text
    assert "from 2026-10-01 12:00:40Z, the rollback, to the last request on TokenLab." in text


def test_of_a_time_that_is_asked_for_no_bad_request_is_made_up(file: Path) -> None:
    few = [line(NOON - 1000 + i, status=503 if i == 700 else 200) for i in range(1000)]
    written(log_of(file), few)
    text = as_markdown(found(file, Asked(since=NOON - 900)))
    assert "from 2026-10-01 11:45:00Z, as asked for, to the end of the time asked for." in text
    roll_back(file, NOON)
    text = as_markdown(found(file, Asked(since=NOON - 900)))
    assert "rolled back 5 m after the first bad request (`5xx`)." in text
    assert "from 2026-10-01 11:45:00Z, as asked for, to the last request on TokenLab." in text


@pytest.mark.parametrize(("took_s", "drained"), [(500, True), (600, False)])
def test_it_has_drained_once_the_slowest_request_has_had_its_time(
    file: Path, took_s: int, drained: bool
) -> None:
    slow = line(NOON - 200, latency_ms=took_s * 1000.0)
    written(log_of(file), sorted([*storm(), slow], key=at_of))
    roll_back(file, NOON + 40)
    one = found(file)
    assert one.drained is drained
    assert ("does not prove drained" in as_markdown(one)) is not drained


def test_traffic_that_does_not_drain_is_said(file: Path) -> None:
    lines = written(log_of(file), storm(rolled_back=NOON + 10_000))
    roll_back(file, NOON + 40)
    one = found(file)
    assert not one.drained
    assert one.after == len(counted(lines, NOON + 40.01, NOW, side="tokenlab"))
    assert "that it has drained is not proven" in as_markdown(one)


def test_slow_answers_are_an_incident_too(file: Path) -> None:
    slow = [
        line(NOON - 300 + i / 2, latency_ms=20_000.0 if i >= 600 and i % 3 else 100.0)
        for i in range(680)
    ]
    written(log_of(file), slow)
    roll_back(file, NOON + 40, why="slow")
    one = found(file)
    assert one.alert is not None
    assert one.alert.signal == "latency"
    assert NOON <= one.during.begin <= NOON + 2
    assert one.figures.errors("tokenlab")[0].error == "(slow)"


def test_nothing_from_outside_is_markup_and_no_secret_is_in_it(file: Path) -> None:
    error = f"{HOSTILE} {SECRET}"
    lines = storm(error=error)
    written(log_of(file), ({**one, "org": f"{HOSTILE}{one['org']}"} for one in lines))
    roll_back(file, NOON + 40, why=f"{HOSTILE} password=hunter22 {SECRET}")
    one = found(file)
    texts = as_markdown(one), as_svg(one), as_csv(one), json.dumps(as_json(one))
    for text in texts:
        assert "abcdef" not in text
        assert "hunter22" not in text
        assert "\x1b" not in text
    markdown, svg, _, _ = texts
    assert "sk-…" in markdown
    assert "\u202e" not in markdown
    outside = re.sub(r"(`+).+?\1(?!`)", "", markdown.replace("\\|", ""))
    for sign in ("<", "http", "@", "[", "evil"):
        assert sign not in outside, sign
    assert "&lt;script" in svg or "<script" not in svg
    ElementTree.fromstring(svg)
    for row in markdown.splitlines():
        if row.startswith("| 2026") and "rollback" in row and "password" in row:
            cells = re.split(r"(?<!\\)\|", row)
            assert len(cells) in (5, 8), row


def test_a_rotated_log_is_read_with_its_gzip_file(file: Path) -> None:
    log = log_of(file)
    lines = list(storm())
    third = len(lines) // 3
    with gzip.open(f"{log}.2.gz", "wt") as packed:
        packed.writelines(json.dumps(one) + "\n" for one in lines[:third])
    written(log.with_name("access.jsonl.1"), lines[third : 2 * third])
    written(log, lines[2 * third :])
    roll_back(file, NOON + 40)
    one = found(file)
    assert one.during.begin == NOON
    expected = counted(lines, one.during.begin, NOON + 40.9, side="tokenlab")
    assert one.figures.summary(one.during, "tokenlab").requests == len(expected)
    assert one.log_words == []


def test_a_missing_log_is_said(file: Path) -> None:
    roll_back(file, NOON + 40)
    one = found(file)
    assert "no access log yet" in one.log_words[0]
    assert "no access log yet" in as_markdown(one)
    ElementTree.fromstring(as_svg(one))


def test_unusable_lines_are_counted(file: Path) -> None:
    written(log_of(file), storm())
    with log_of(file).open("a") as log:
        log.write("no JSON\n" * 3)
    roll_back(file, NOON + 40)
    assert any("3 lines of the log cannot be used" in words for words in found(file).log_words)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(), "no rollback is in the history of rollout.toml"),
        (Asked(revision="abcdef0123"), "no rollback made the revision abcdef0123"),
        (Asked(revision="abc"), "too short"),
        (Asked(since=NOW - 8 * 86_400), "at most 7 days"),
    ],
)
def test_what_cannot_be_found_is_said(file: Path, asked: Asked, said: str) -> None:
    with pytest.raises(OperationError, match=said) as refused:
        found(file, asked)
    assert isinstance(refused.value, Misused) == ("at most" in said)


def test_since_a_time_without_a_rollback(file: Path) -> None:
    lines = written(log_of(file), storm(rolled_back=NOON + 10_000))
    one = found(file, Asked(since=NOON - 120), now=NOON + 300)
    assert one.scope.rollbacks == ()
    assert one.during.begin == NOON
    expected = counted(lines, NOON, NOON + 300, side="tokenlab")
    assert one.figures.summary(one.during, "tokenlab").requests == len(expected)
    assert "Nothing was rolled back." in as_markdown(one)


def test_a_report_replaces_nothing_by_itself(file: Path, tmp_path: Path) -> None:
    written(log_of(file), storm())
    roll_back(file, NOON + 40)
    one, folder = found(file), tmp_path / "reports" / "new"
    paths = write_report(one, folder, rollout_file=file, replaces=False)
    assert [path.suffix for path in paths] == [".md", ".svg", ".csv"]
    before = [path.read_bytes() for path in paths]
    with pytest.raises(ReportExists, match="is there already"):
        write_report(one, folder, rollout_file=file, replaces=False)
    write_report(one, folder, rollout_file=file, replaces=True)
    assert [path.read_bytes() for path in paths] == before
    paths[0].write_text("my own notes")
    with pytest.raises(OperationError, match="is not an earlier report"):
        write_report(one, folder, rollout_file=file, replaces=True)
    assert paths[0].read_text() == "my own notes"


def test_the_reader_enters_a_long_log_where_the_time_is(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    padding = "x" * 200
    written(log, (line(NOON + i, request_id=padding) for i in range(20_000)))
    reader = LogReader(log, AccessRecord)
    since = NOON + 15_000
    assert reader._tail_bytes(since) < log.stat().st_size / 2
    chunks = list(reader.between(since, since + 100))
    assert [record.at for chunk in chunks for record in chunk] == [since + i for i in range(100)]
    assert reader.last_at < NOON + 19_999, "it read on after the time"


def test_lines_of_a_clock_that_is_behind_hide_no_others(tmp_path: Path) -> None:
    """The search looks at lines here and there: one of them says little of those before it."""
    log = tmp_path / "access.jsonl"
    padding = "x" * 200
    written(
        log,
        (line(9.0 if i % 10 else NOON + i, request_id=padding) for i in range(20_000)),
    )
    reader = LogReader(log, AccessRecord)
    since = NOON + 5_000
    assert reader._tail_bytes(since) < log.stat().st_size * 0.9
    chunks = list(reader.between(since, since + 101))
    assert [record.at for chunk in chunks for record in chunk] == [
        since + i for i in range(0, 101, 10)
    ]


def test_a_chunk_is_small_however_long_the_log(tmp_path: Path) -> None:
    written(tmp_path / "access.jsonl", (line(NOON + i / 100) for i in range(40_000)))
    sizes = [
        len(chunk)
        for chunk in LogReader(tmp_path / "access.jsonl", AccessRecord).between(NOON, NOW)
    ]
    assert sum(sizes) == 40_000
    assert max(sizes) < 10_000


def test_an_episode_begins_where_the_rate_changed() -> None:
    healthy = [(10, 1 if i % 20 == 0 else 0) for i in range(200)]
    sick = [(10, 4)] * 20
    counts = [*healthy, *sick, *healthy * 2]
    (one,) = episodes(counts, 0.02, 3)
    assert one.began == 200
    assert 200 <= one.tripped < 206
    assert evidence(counts[: one.tripped + 1], 0.02).tripped
    assert not evidence(counts[: one.tripped], 0.02).tripped
    assert 219 <= one.ended < 420
    assert episodes(healthy, 0.02) == []
    assert [found.began for found in episodes([*counts, *sick], 0.02)] == [200, len(counts)]
    assert episodes([(10, 10)], 0.95) == []
    assert isinstance(one, Episode)


def test_times_in_other_zones_are_the_same_times(file: Path) -> None:
    tokyo = timezone(timedelta(hours=9))
    lines = list(storm())
    for some in lines[::2]:
        some["ts"] = datetime.fromisoformat(some["ts"]).astimezone(tokyo).isoformat()
    written(log_of(file), lines)
    roll_back(file, NOON + 40)
    one = found(file)
    assert one.during.begin == NOON
    assert one.figures.summary(one.during, "tokenlab").requests == len(
        counted(lines, NOON, NOON + 40.9, side="tokenlab")
    )
    assert "2026-10-01 12:00:00Z | A |" in as_markdown(one)
