"""The status reports that a terminal answers, or does not, and what is known by them."""

import asyncio
import time
from itertools import pairwise
from math import inf

import pytest

from rollout_console.ui import status_report
from rollout_console.ui.escape_parser import EscapeParser
from rollout_console.ui.status_report import QUERY, REPORT, Shown, StatusReport, StatusReports


class Terminal:
    """What was asked of it, to be answered by hand."""

    def __init__(self) -> None:
        self.asked = 0
        self.reports = StatusReports(self._write)

    def _write(self, sequence: str) -> None:
        assert sequence == QUERY
        self.asked += 1

    def answer(self) -> float:
        """Answer one query; return when."""
        self.reports.take(report := StatusReport())
        return report.time

    def ask(self) -> Shown:
        return self.reports.ask()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(status_report, "ANSWERS_WITHIN_S", 600.0)
    return Terminal()


async def test_a_terminal_that_has_not_answered_is_not_waited_for(terminal: Terminal) -> None:
    assert [terminal.ask().at for _ in range(3)] == [-inf] * 3
    terminal.answer()
    assert terminal.ask().at == -inf, "it is not known which of the queries was answered"
    for _ in range(3):
        terminal.answer()
    assert terminal.ask().at == inf


async def test_answers_are_those_of_the_queries_in_their_order(terminal: Terminal) -> None:
    terminal.ask()
    terminal.answer()
    asked = [terminal.ask() for _ in range(3)]
    answered = [terminal.answer() for _ in range(2)]
    assert [shown.at for shown in asked] == [*answered, inf]
    terminal.answer()
    terminal.answer()  # one too many
    assert terminal.ask().at == inf


async def test_an_answer_that_does_not_come_is_not_waited_for_again(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.ask()
    terminal.answer()
    monkeypatch.setattr(status_report, "ANSWERS_WITHIN_S", 0.05)
    before = time.monotonic()
    lost = terminal.ask()
    assert lost.at == inf
    async with asyncio.timeout(20):
        while lost.at == inf:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.01)
    assert lost.at > before, "a key from before that time was not seen, either"
    assert terminal.ask().at == -inf
    terminal.answer()
    given_up_at = lost.at
    terminal.answer()
    assert lost.at == given_up_at
    assert terminal.ask().at == inf, "all that was asked is answered"


async def test_after_another_program_had_the_terminal_no_old_answer_counts(
    terminal: Terminal,
) -> None:
    terminal.ask()
    terminal.answer()
    eaten = terminal.ask()
    terminal.reports.ask_anew()
    assert eaten.at < inf
    terminal.answer()
    assert terminal.ask().at == inf


def test_a_report_is_an_event_between_the_keys_around_it() -> None:
    whole = f"r{REPORT}y\x1b{REPORT}n{REPORT}{REPORT}\x1b[A"
    for cut in range(len(whole) + 1):
        parser = EscapeParser()
        parts = filter(None, (whole[:cut], whole[cut:]))
        found = [event for part in (*parts, "") for event in parser.feed(part)]
        named = [
            "-" if isinstance(one, StatusReport) else getattr(one, "key", "?") for one in found
        ]
        assert named == ["r", "-", "y", "escape", "-", "n", "-", "-", "up"], cut
        assert all(one.time <= other.time for one, other in pairwise(found))
