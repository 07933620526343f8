"""What a line of the access log counts as: its status, or where that is good, its outcome."""

from datetime import UTC, datetime
from typing import Any, get_type_hints

import msgspec
import pytest

from rollout_console.health.log.lines import decoded
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.bins import Bin, Bins, Limits
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows
from rollout_gate.access_log import AccessLine
from rollout_gate.answers.reading import OUTCOMES
from rollout_gate.metrics.counted import counted

NOW = 1_800_000_000.0
AT = datetime.fromtimestamp(NOW - 1, UTC)


def line(**fields: Any) -> AccessRecord:
    given = {"status": 200, "latency_ms": 100.0, **fields}
    return AccessRecord(AT, "chat", given.pop("org", "acme"), "tokenlab", **given)


CLASSES: dict[str, tuple[dict[str, Any], StatusClass]] = {
    "ok": ({"outcome": "ok"}, StatusClass.OK),
    "filtered": ({"outcome": "filtered"}, StatusClass.OK),
    "truncated": ({"outcome": "truncated", "error": "truncated"}, StatusClass.GATEWAY),
    "empty": ({"outcome": "empty", "error": "empty"}, StatusClass.BAD),
    "abandoned": ({"outcome": "abandoned"}, StatusClass.ABANDONED),
    "cancelled": ({"status": 0, "outcome": "abandoned", "error": "cancelled"},
                  StatusClass.ABANDONED),
    "an older line, cancelled": ({"status": 0, "error": "cancelled"}, StatusClass.ABANDONED),
    "an older line, abandoned": ({"error": "abandoned"}, StatusClass.ABANDONED),
    "an older line, good": ({}, StatusClass.OK),
    "limited": ({"outcome": "error", "error": "rate_limit_exceeded"}, StatusClass.RATE_LIMIT),
    "refused": ({"outcome": "error", "error": "invalid_api_key"}, StatusClass.AUTH),
    "unpaid": ({"outcome": "error", "error": "insufficient_balance"}, StatusClass.BALANCE),
    "invalid": ({"outcome": "error", "error": "invalid_prompt"}, StatusClass.CONTRACT),
    "overloaded": ({"outcome": "error", "error": "overloaded_error"}, StatusClass.GATEWAY),
    "without a code": ({"outcome": "error"}, StatusClass.GATEWAY),
    "the status wins": ({"status": 503, "outcome": "error", "error": "rate_limit"},
                        StatusClass.GATEWAY),
    "an outcome of later": ({"outcome": "sublime"}, StatusClass.OK),
    "no response": ({"status": 0, "outcome": "error", "error": "timeout"}, StatusClass.GATEWAY),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), CLASSES.values(), ids=CLASSES)
def test_each_outcome_has_its_class(fields: dict[str, Any], expected: StatusClass) -> None:
    record = line(**fields)
    assert record.status_class is expected
    windows = Windows()
    windows.add([record], NOW)
    counted = windows.by_class(NOW, 60, "chat")
    assert {cls: count for cls, count in counted.items() if count} == {expected: 1}
    errors = TopErrors()
    errors.add([record], NOW)
    is_error = expected not in (StatusClass.OK, StatusClass.ABANDONED)
    assert bool(errors.top(NOW, 60)) is is_error


def summary(*records: AccessRecord) -> Any:
    windows = Windows()
    windows.add(records, NOW)
    return windows.summary(NOW, 60, "chat")


def test_what_was_abandoned_is_a_request_that_nobody_judges() -> None:
    found = summary(line(status=503), *[line(outcome="abandoned")] * 9)
    assert (found.requests, found.judged, found.percent_5xx) == (10, 1, 100.0)


def test_bad_answers_are_counted_beside_their_class() -> None:
    bad = [line(outcome="truncated"), line(outcome="empty")]
    found = summary(*bad, line(outcome="ok"), line(outcome="ok"))
    assert (found.percent_bad, found.percent_5xx, found.percent_4xx) == (50.0, 25.0, 0.0)


def test_shares_to_compare_are_of_good_answers() -> None:
    found = summary(
        line(outcome="filtered"), line(outcome="ok", finish_reason="length"), line(), line()
    )
    assert (found.percent_filtered, found.percent_length) == (25.0, 25.0)
    assert found.by_class[StatusClass.OK] == 4


def test_cached_answers_are_no_evidence_for_latency() -> None:
    hit = line(outcome="ok", latency_ms=1, cached=True, ttft_ms=1.0, stream=True)
    found = summary(line(outcome="ok", latency_ms=1000), hit)
    assert found.requests == 2
    assert found.p50 == pytest.approx(1000, rel=0.03)
    assert found.ttft_p95 is None


def test_first_token_and_speed_are_measured_of_streams() -> None:
    found = summary(
        line(outcome="ok", stream=True, ttft_ms=200.0, latency_ms=2200.0, output_tokens=100),
        line(outcome="ok", stream=True, ttft_ms=400.0, latency_ms=2400.0, output_tokens=4),
    )
    assert found.requests == 2
    assert found.ttft_p95 == pytest.approx(200, rel=0.03)
    assert found.tokens_per_s == pytest.approx(50, rel=0.03)


def bins(*records: AccessRecord) -> Bin:
    windows = Windows()
    windows.add(records, NOW)
    (found,) = Bins(windows).between("chat", "tokenlab", NOW - 60, NOW, Limits(1000, 500))
    return found


def test_a_request_that_was_left_counts_as_slow_once_it_took_too_long() -> None:
    """An application with a deadline of its own must not hide that TokenLab hangs."""
    left = {"status": 0, "outcome": "abandoned", "stream": True}
    found = bins(line(), line(**left, latency_ms=5000), line(**left, latency_ms=100))
    assert found.errors("latency") == (2, 1)
    assert found.errors("first_token") == (1, 1)
    assert found.errors("gateway") == (1, 0)


def test_signals_of_a_bin() -> None:
    found = bins(
        line(outcome="ok", ttft_ms=600.0),
        line(outcome="ok", ttft_ms=100.0, attempt=1),
        line(outcome="empty", attempt=2),
        line(outcome="truncated", attempt=3),
    )
    assert found.errors("bad") == (4, 2)
    assert found.errors("first_token") == (2, 1)
    assert found.errors("repeated") == (4, 2)
    assert found.errors("gateway") == (4, 1)


def test_measurements_are_no_requests() -> None:
    """Late lines are counted as lines, whatever they measure; so are those ahead of the clock."""
    windows = Windows()
    for at in (NOW - 10 * 86_400, NOW + 600):
        ts = datetime.fromtimestamp(at, UTC)
        windows.add([msgspec.structs.replace(line(ttft_ms=1.0, attempt=2), ts=ts)], NOW)
    assert (windows.late, windows.skewed) == (1, 1)


def test_what_the_gate_writes_is_what_the_console_reads() -> None:
    """The line has one schema, the gate's; the console's record is a part of it."""
    written, read = get_type_hints(AccessLine), get_type_hints(AccessRecord)
    assert read.keys() <= written.keys()
    for outcome in OUTCOMES:
        full = AccessLine(
            ts="2026-11-25T10:00:00.123Z", route="chat", org="acme", side="previous", model="m",
            status=200, latency_ms=12.5, outcome=outcome, ttft_ms=3.5, finish_reason="stop",
            input_tokens=1, output_tokens=2, cached_input_tokens=3, reasoning_tokens=4,
            error="e", request_id="r", billing_transaction_id="b", task_id="t", job_id="j",
            attempt=2, stream=True, cached=True, bucket=1234, revision="0123456789ab", host="gw-01",
            key_alias="batch",
        )  # fmt: skip
        (record,), unusable = decoded(msgspec.json.encode(full) + b"\n")
        assert unusable.lines == 0
        for name in read.keys() - {"ts"}:
            assert getattr(record, name) == getattr(full, name)


def test_a_field_of_the_wrong_type_is_told() -> None:
    good = msgspec.json.encode(line())
    bad = good.replace(b'"outcome":null', b'"outcome":7')
    assert bad != good
    records, unusable = decoded(bad + b"\n")
    assert (records, unusable.lines) == ([], 1)
    assert unusable.why.startswith("outcome: ")


def test_an_operation_is_traffic_and_no_evidence() -> None:
    windows, errors = Windows(), TopErrors()
    records = [line(status=404, operation="files"), line(operation="embeddings", org="hooli")]
    windows.add(records, NOW)
    errors.add(records, NOW)
    assert windows.summary(NOW, 60, "chat").requests == 0
    assert windows.last_seen("chat", "hooli", "tokenlab") == pytest.approx(NOW - 1)
    assert [one.status for one in errors.top(NOW, 60)] == [404]
    windows.add([line()], NOW)
    assert windows.summary(NOW, 60, "chat").requests == 1


@pytest.mark.parametrize("error", ["unsent", "unsendable"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_not_sent_is_evidence_of_no_kind(error: str, stream: bool) -> None:
    """It waited for its own host, be it for as long as a slow answer."""
    good = [line(outcome="ok", stream=stream, ttft_ms=50.0 if stream else None)] * 60
    unsent = line(
        status=0, outcome="abandoned", error=error, latency_ms=60_000.0, stream=stream
    )  # fmt: skip
    bins = []
    for more in ([], [unsent] * 60):
        windows = Windows()
        windows.add([*good, *more], NOW)
        limits = Limits(8000.0, 2000.0)
        bins.append(Bins(windows).between("chat", "tokenlab", NOW - 60, NOW, limits))
    assert bins[0] == bins[1]
    access = AccessLine(
        ts="", route="chat", org="acme", side="tokenlab", model="m", status=0, latency_ms=60_000.0,
        outcome="abandoned", error=error, stream=stream,
    )  # fmt: skip
    assert counted(access).duration_s is None
    assert counted(access).first_token_s is None
