"""The figures that a rollback's confirm shows: TokenLab now, and the previous side."""

import time
from pathlib import Path

from rollout_console.changes.plan import Target
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.rollback_figures import MOST_COMPARED, rollback_figures
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse

ACME: Target = ("chat", "acme")
GLOBEX: Target = ("chat", "globex.eu")


def lines(file: Path, org: str, statuses: list[int], side: str = "tokenlab") -> None:
    log = AccessLog(file.parent / "access.jsonl")
    for status in statuses:
        log.append(
            AccessLine(ts=timestamp(), route="chat", org=org, side=side, model="m",
                       status=status, latency_ms=861.0)
        )  # fmt: skip
    log.close()


def figures(file: Path, *targets: Target) -> tuple[str, str]:
    file.write_text(file.read_text().replace('window = "5m"', 'window = "60s"'))
    now = time.time()
    monitor = Monitor(file, parse(file.read_bytes()))
    monitor.catch_up(now)
    return rollback_figures(monitor, targets, now)


def test_both_sides_of_an_org(file: Path) -> None:
    lines(file, "acme", [500] * 8 + [200] * 10)
    lines(file, "acme", [200] * 99 + [502], "previous")
    now, before = figures(file, ACME)
    assert now.startswith("now on TokenLab: ")
    assert now.endswith(" req/s, 5xx 44% (8 of 18 in 60 s), p95 861 ms")
    assert before.startswith("previous side: ")
    assert before.endswith(" req/s, 5xx 1.0%, p95 861 ms")


def test_what_is_not_known_is_said(file: Path) -> None:
    assert figures(file, ACME) == (
        "now on TokenLab: no requests in 60 s",
        "previous side: no requests seen in 60 s: nothing is known of it",
    )
    assert figures(file, (None, None))[0] == "now on TokenLab: no requests in 60 s"


def test_a_refused_key_is_named_though_there_is_no_5xx(file: Path) -> None:
    lines(file, "acme", [401] * 9 + [200])
    assert "5xx 0.0% (0 of 10 in 60 s), 4xx 90%, p95" in figures(file, ACME)[0]


def test_of_several_it_is_the_worst(file: Path) -> None:
    lines(file, "acme", [200] * 50)
    lines(file, "globex.eu", [503] * 5 + [200] * 5)
    lines(file, "acme", [200] * 5, "previous")
    now, before = figures(file, ACME, GLOBEX, ("claude", None))
    assert now.startswith("now on TokenLab, worst of 3: chat / globex.eu: ")
    assert "5xx 50% (5 of 10 in 60 s)" in now
    assert before.startswith("previous side, worst of 3: chat / acme: ")
    assert before.endswith("; nothing is known of 2")


def test_a_confirm_of_thousands_is_not_waited_for(file: Path) -> None:
    lines(file, "acme", [200] * 50)
    many: list[Target] = [("chat", f"org-{number}") for number in range(10_000)]
    began = time.process_time()
    figures(file, ACME, *many)
    assert time.process_time() - began < 1.0
    assert len(many) > MOST_COMPARED
