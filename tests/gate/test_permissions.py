"""Permissions that are lost and come back, for a process that they bind: not root's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_gate import AccessLine, AccessLog, Gate, timestamp
from tests.support.unprivileged import as_nobody, folder_of_nobody

FILE = (
    'schema = 1\nalgorithm = "fractional-v3"\n'
    '[routes.chat]\nformat = "openai_responses"\ndefault_percent = {}\n'
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_nobody() as made:
        yield made


def test_a_file_that_may_not_be_read_any_more_leaves_the_last_good_version(folder: Path) -> None:
    path = folder / "rollout.toml"

    def work() -> None:
        path.write_text(FILE.format(100))
        told: list[str] = []
        gate = Gate(path, poll_s=60, on_trouble=told.append)
        assert gate.decide("chat", "acme").side == "tokenlab"
        path.write_text(FILE.format(0))
        path.chmod(0)
        gate.refresh()
        gate.refresh()
        assert gate.decide("chat", "acme").side == "tokenlab"
        assert told[-1].endswith("permission denied; check its mode and owner"), told
        path.chmod(0o600)
        gate.refresh()
        gate.refresh()
        assert gate.decide("chat", "acme").side == "previous"
        assert told[-1] == ""

    as_nobody(work)


def test_a_log_folder_that_may_not_be_written_to_any_more_costs_lines_alone(folder: Path) -> None:
    logs = folder / "logs"

    def work() -> None:
        logs.mkdir()
        log = AccessLog(logs / "access.jsonl")
        line = AccessLine(
            ts=timestamp(), route="chat", org="acme", side="tokenlab", model="m", status=200,
            latency_ms=1.0,
        )  # fmt: skip
        logs.chmod(0)
        log.append(line)
        log.append(line)
        assert log.lost == 2
        logs.chmod(0o700)
        log.append(line)
        assert log.lost == 2
        assert len((logs / "access.jsonl").read_text().splitlines()) == 1

    as_nobody(work)
