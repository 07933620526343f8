"""What a record counts as is what the console makes of its line: one mapping, no second opinion."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.codes import (
    CACHED,
    FILTERED,
    LENGTH,
    TIMED,
    TRUNCATED,
    kind_of,
    measurements,
)
from rollout_gate import AccessLine
from rollout_gate.answers.reading import OUTCOMES
from rollout_gate.metrics.counted import BUCKETS_S, counted
from tests.gate.metrics.lines import a_line

ERRORS = (
    None, "timeout", "connect", "protocol", "truncated", "empty", "abandoned", "cancelled",
    "rate_limit_exceeded", "insufficient_quota", "invalid_request_error", "permission_denied",
    "server_error", "something new",
)  # fmt: skip
LINES = st.builds(
    a_line,
    status=st.sampled_from((0, 200, 204, 302, 307, 400, 401, 402, 403, 404, 413, 429, 500, 503)),
    outcome=st.sampled_from((None, *OUTCOMES)),
    error=st.sampled_from(ERRORS),
    finish_reason=st.sampled_from((None, "stop", "length", "content_filter", "error")),
    cached=st.sampled_from((None, True)),
    stream=st.sampled_from((None, False, True)),
    attempt=st.sampled_from((None, 1, 2, 5)),
    ttft_ms=st.sampled_from((None, 0.0, 120.5)),
    latency_ms=st.sampled_from((0.0, 0.1, 812.5, 599_999.9)),
)


@given(LINES)
def test_a_line_is_of_the_class_that_the_console_reads(line: AccessLine) -> None:
    record = msgspec.json.decode(msgspec.json.encode(line), type=AccessRecord)
    found, kind = counted(line), kind_of(record)
    assert found.status_class == record.status_class.value
    left = record.status_class is StatusClass.ABANDONED
    # The latency that the guard judges is that of these two classes.
    is_judged = found.duration_s is not None and found.status_class in ("ok", "abandoned")
    assert is_judged == (kind in TIMED or left)
    assert found.is_repeated == (record.attempt not in (None, 1))
    if kind == LENGTH:
        assert found.outcome == "length"
    if kind == FILTERED:
        assert found.outcome == "filtered"
    if kind == TRUNCATED and record.outcome is None:
        assert found.outcome == "truncated"
    # The first token is judged of streams that had one, and of those that were left before it.
    seen = record.ttft_ms is not None or record.outcome == "abandoned" or left
    assert (found.first_token_s is not None) == bool(seen and measurements(record))
    assert kind != CACHED or found.duration_s is None


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ("ok", "ok")),
        ({"finish_reason": "length"}, ("ok", "length")),
        ({"outcome": "filtered"}, ("ok", "filtered")),
        ({"outcome": "truncated", "error": "truncated"}, ("gateway", "truncated")),
        ({"outcome": "empty", "error": "empty"}, ("bad", "empty")),
        ({"outcome": "error", "error": "rate_limit_exceeded"}, ("rate_limit", "error")),
        ({"outcome": "error", "error": "insufficient_quota"}, ("balance", "error")),
        ({"outcome": "error", "error": "permission_denied"}, ("auth", "error")),
        ({"outcome": "error", "error": "invalid_prompt"}, ("contract", "error")),
        ({"outcome": "error", "error": "new"}, ("gateway", "error")),
        ({"outcome": "abandoned", "error": "cancelled", "status": 0}, ("abandoned", "abandoned")),
        ({"outcome": "error", "status": 402}, ("balance", "error")),
        ({"outcome": "error", "status": 0, "error": "timeout"}, ("gateway", "error")),
        ({"outcome": None}, ("ok", "ok")),
        ({"outcome": None, "status": 503}, ("gateway", "error")),
        ({"outcome": None, "error": "empty"}, ("bad", "empty")),
        ({"outcome": None, "error": "cancelled"}, ("abandoned", "abandoned")),
        ({"outcome": "ok?"}, ("ok", "ok")),
    ],
)
def test_class_and_outcome(fields: dict[str, object], wanted: tuple[str, str]) -> None:
    assert counted(a_line(**fields))[:2] == wanted


@pytest.mark.parametrize("latency", [float("nan"), float("inf"), -1.0, 1e12])
def test_a_latency_that_is_none_is_not_observed(latency: float) -> None:
    found = counted(a_line(latency_ms=latency, ttft_ms=latency))
    assert (found.status_class, found.duration_s, found.first_token_s) == ("ok", None, None)


def test_the_buckets_have_the_default_limits_as_bounds() -> None:
    """A limit between two bounds cannot be judged exactly; those of a new file are bounds."""
    assert {2.0, 8.0} <= set(BUCKETS_S)
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))
