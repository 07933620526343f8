"""The signals of answers: bad ones, late first tokens, retries, and shares against previous."""

import itertools
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes.recorded import Recorded
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.evidence.verdict import (
    HOLDING,
    JOB_SIGNALS,
    SIGNALS,
    WORDS,
    Verdict,
    mode_of,
)
from rollout_console.guard.monitor import Monitor
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.model import SIGNALS as NAMES
from rollout_gate.file.model import GuardSettings
from rollout_gate.file.parse import parse

NOW = time.time()
SOUND: dict[str, Any] = {"status": 200, "latency_ms": 100.0, "outcome": "ok", "attempt": 1}


@pytest.fixture
def play(file: Path) -> Any:
    """Write a line for each of the given answers, one every 100 ms up to now, of three orgs."""

    def write(answers: list[dict[str, Any]], previous: list[dict[str, Any]] | None = None) -> None:
        log = AccessLog(file.parent / "access.jsonl")
        for side, some in (("tokenlab", answers), ("previous", previous or [])):
            for number, fields in enumerate(some):
                at = datetime.fromtimestamp(NOW - (len(some) - number) / 10, UTC)
                org = f"org-{number // 2 % 3}"
                log.append(
                    AccessLine(
                        ts=timestamp(at), route="chat", org=org, side=side, model="m",
                        **{**SOUND, **fields},
                    )
                )  # fmt: skip
        log.close()

    return write


def with_guard(file: Path, guard: str) -> str:
    """Return the sample's text with these lines in [guard], in place of its own."""
    text = re.sub(r"(?m)^(mode|modes|max_ttft_p95_ms|max_bad_percent) = .*\n", "", file.read_text())
    return text.replace("[guard]\n", f"[guard]\n{guard}\n", 1)


def judged(file: Path, guard: str = "") -> tuple[Verdict, str]:
    monitor = Monitor(file, parse(with_guard(file, guard).encode()))
    monitor.remember(Recorded((), monitor.file.revision, 0.0), NOW)
    monitor.catch_up(NOW)
    held = monitor.held("chat", None, 2500, 5000, BalanceWatch(), NOW)
    return monitor.health("chat", None, NOW).verdict, held


def mixed(*kinds: dict[str, Any], count: int = 240) -> list[dict[str, Any]]:
    cycle: Iterator[dict[str, Any]] = itertools.cycle(kinds)
    return [next(cycle) for _ in range(count)]


CUT = {"outcome": "truncated", "error": "truncated"}
EMPTY = {"outcome": "empty", "error": "empty"}
INSIDE = {"outcome": "error", "error": "overloaded_error"}
LIMITED = {"outcome": "error", "error": "rate_limit_exceeded"}
REFUSED = {"outcome": "error", "error": "authentication_error"}
FAST = {"stream": True, "ttft_ms": 90.0}
LATE = {"stream": True, "ttft_ms": 9000.0, "latency_ms": 9100.0}

ASKING: dict[str, tuple[dict[str, Any], str]] = {
    "an error inside a 200": (INSIDE, "5xx 50%"),
    "a limit inside a 200": (LIMITED, "429 50%"),
    "a refusal inside a 200": (REFUSED, "401/403 on 50%"),
    "cut": (CUT, "s, 120 of 240"),
    "empty": (EMPTY, "bad answers 50%"),
}


@pytest.mark.parametrize(("fields", "reason"), ASKING.values(), ids=ASKING)
def test_what_failed_inside_a_200_asks_for_a_rollback(
    file: Path, play: Any, fields: dict[str, Any], reason: str
) -> None:
    play(mixed(fields, {}))
    verdict, held = judged(file)
    assert verdict.kind == "rollback", verdict
    assert reason in verdict.reason
    assert reason in held


def test_late_first_tokens_ask_for_a_rollback(file: Path, play: Any) -> None:
    play(mixed(LATE, FAST, FAST))
    guard = "max_ttft_p95_ms = 5000\nmodes = { latency = 'observe' }"
    verdict, _ = judged(file, guard)
    assert (verdict.kind, verdict.signal) == ("rollback", "first_token")
    assert re.match(r"late first tokens 33% in 2\d s, 80 of 240", verdict.reason)


def test_an_empty_answer_is_of_nobody_else(file: Path, play: Any) -> None:
    """It is no 5xx: the limit of bad answers alone decides."""
    play(mixed(EMPTY, *[{}] * 9))
    verdict, _ = judged(file, "max_bad_percent = 20.0")
    assert verdict.kind == "ok"


@pytest.mark.parametrize("fields", [{"outcome": "abandoned"}, {"outcome": "filtered"}])
def test_what_is_nobodys_fault_holds_nothing(file: Path, play: Any, fields: dict[str, Any]) -> None:
    play(mixed(fields, {}, count=600))
    verdict, held = judged(file)
    assert (verdict.words, held) == ("ok", "")


def test_what_was_abandoned_is_no_evidence_of_health(file: Path, play: Any) -> None:
    play(mixed(*[{"outcome": "abandoned"}] * 9, {}, count=600))
    _, held = judged(file)
    assert held == "60 of 133 ok"


def test_an_application_that_gives_up_does_not_hide_that_tokenlab_hangs(
    file: Path, play: Any
) -> None:
    left = {"status": 0, "outcome": "abandoned", "error": "cancelled", "latency_ms": 30_000.0}
    play(mixed(left, {}))
    verdict, _ = judged(file)
    assert (verdict.kind, verdict.signal) == ("rollback", "latency")


def test_retries_hold_and_roll_nothing_back(file: Path, play: Any) -> None:
    play(mixed({"attempt": 2}, {}))
    verdict, held = judged(file, "modes = { gateway = 'enforce' }")
    assert (verdict.kind, verdict.signal, verdict.brief) == ("hold", "repeated", "retry 50%")
    assert re.match(r"retries 50% in 2\d s, 120 of 240, limit 20%", held)
    verdict, _ = judged(file, "modes = { repeated = 'enforce' }")
    assert verdict.kind == "rollback"


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"outcome": "filtered"}, "filtered"), ({"finish_reason": "length"}, "cut by length")],
)
def test_a_share_higher_than_on_the_previous_side_holds(
    file: Path, play: Any, fields: dict[str, Any], words: str
) -> None:
    play(mixed(fields, {}, {}, count=900), mixed(fields, *[{}] * 19, count=900))
    verdict, held = judged(file)
    assert verdict.kind == "hold"
    assert held == f"{words} 33% of answers, previous 5.0%"


def test_the_same_share_on_both_sides_holds_nothing(file: Path, play: Any) -> None:
    fields = {"outcome": "filtered"}
    play(mixed(fields, {}, {}, count=900), mixed(fields, {}, {}, count=900))
    assert judged(file)[1] == ""


def test_a_signal_that_is_only_observed_is_told_and_holds_nothing(file: Path, play: Any) -> None:
    play(mixed(EMPTY, {}))
    verdict, held = judged(file, "modes = { bad = 'observe' }")
    assert verdict.signal == "bad"
    assert held == ""


def test_what_is_only_observed_hides_no_signal_that_holds(file: Path, play: Any) -> None:
    play(mixed(EMPTY, {"status": 503, "outcome": "error"}, {}))
    verdict, held = judged(file, "modes = { bad = 'observe' }")
    assert verdict.signal == "gateway"
    assert held.startswith("5xx 33%")


def test_the_modes_of_signals() -> None:
    enforce = GuardSettings(mode="enforce", modes={"bad": "observe"})
    assert {mode_of(enforce, name) for name in HOLDING} == {"hold"}
    assert mode_of(enforce, "bad") == "observe"
    assert mode_of(enforce, "gateway") == "enforce"
    assert {*SIGNALS, *JOB_SIGNALS} | HOLDING == set(NAMES) == set(WORDS)


def test_a_route_overrides_modes_one_by_one(file: Path) -> None:
    text = with_guard(file, "modes = { bad = 'enforce' }")
    of_chat = "[routes.chat.guard]\nmodes = { latency = 'observe' }\n[routes.chat.orgs]"
    text = text.replace("[routes.chat.orgs]", of_chat, 1)
    guard = parse(text.encode()).routes["chat"].guard
    assert guard.modes == {"bad": "enforce", "latency": "observe"}


def test_the_signals_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/guard.md").read_text()
    table = page[page.index("| signal | what counts |") :].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(NAMES)


def test_a_signal_of_its_own_mode_holds_where_all_others_are_observed(
    file: Path, play: Any
) -> None:
    play(mixed(EMPTY, {}))
    assert judged(file, "mode = 'observe'\nmodes = { bad = 'hold' }")[1].startswith("bad answers")
    assert judged(file, "mode = 'observe'")[1] == ""
    assert judged(file, "mode = 'observe'\nmodes = { gateway = 'hold' }")[1] == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (EMPTY, "the previous provider is failing as well: bad answers 50% of 240"),
        (LATE, "the previous provider is slow as well: first token p95"),
    ],
)
def test_the_previous_side_is_looked_at_for_the_same(
    file: Path, play: Any, fields: dict[str, Any], words: str
) -> None:
    """Before a rollback, which would go from one failing side to another."""
    play([], mixed(fields, {}))
    limits = "max_ttft_p95_ms = 5000"
    monitor = Monitor(file, parse(with_guard(file, limits).replace("8000", "20000").encode()))
    monitor.catch_up(NOW)
    assert monitor.previous_trouble("chat", None, NOW).startswith(words)
