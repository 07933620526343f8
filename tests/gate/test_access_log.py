"""The access log: whole lines, whoever else writes, and no failure of a request."""

import json
import multiprocessing
from pathlib import Path

from console.gate import AccessLine, AccessLog, timestamp


def line(number: int) -> AccessLine:
    return AccessLine(
        ts=timestamp(), route="chat", org="acme", side="tokenlab", model="m", status=200,
        latency_ms=float(number), request_id="x" * 200,
    )  # fmt: skip


def write_many(path: str) -> None:
    log = AccessLog(path)
    for i in range(2_000):
        log.append(line(i))


def test_four_processes_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(path),)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 8_000
    assert all(json.loads(text)["org"] == "acme" for text in lines)


def test_a_rotated_log_is_made_anew_and_unknown_fields_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    log = AccessLog(path)
    log.append(line(1))
    path.rename(tmp_path / "access.jsonl.1")
    log.append(line(2))
    log.close()
    assert json.loads(path.read_text())["latency_ms"] == 2.0
    assert "error" not in json.loads(path.read_text())


def test_a_folder_that_is_gone_costs_a_line_and_nothing_else(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "gone" / "access.jsonl")
    log.append(line(1))
    assert log.lost == 1
