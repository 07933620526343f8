"""An output asked for by path replaces an earlier output, and nothing else that exists."""

import os
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from rollout_console.changes.output_file import stream_output
from rollout_console.cli.main import run
from rollout_console.common.errors import OperationError

OUTPUTS = [("playbook", "--output"), ("export", "flagd", "--out"), ("export", "schema", "--out")]


@pytest.fixture
def used(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample, with a history, a guard's record, an access log that was rotated, a ledger."""
    monkeypatch.chdir(file.parent)
    change = ["set", "claude", "acme", "0", "--yes", "--reason", "because of it"]
    assert run(["-f", str(file), *change]) == 0
    for name in ("rollout.guard.toml", "rollout.plan.toml", "rollout-jobs.sqlite3",
                 "rollout-ids.sqlite3"):  # fmt: skip
        file.with_name(name).touch()
    file.with_name("access.jsonl").touch()
    file.with_name("access.jsonl.1").write_text('{"route": "chat"}\n')
    return file


@pytest.mark.parametrize("command", OUTPUTS, ids=" ".join)
def test_nothing_of_the_rollout_is_overwritten(
    used: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in used.parent.iterdir()}
    assert used.with_name("rollout.history.sqlite3") in before
    link = used.with_name("link")
    link.symlink_to(used.with_name("rollout.history.sqlite3"))
    for path in [*before, link, used.with_name("rollout.history.sqlite3-wal")]:
        capsys.readouterr()
        assert run(["-f", str(used), *command, str(path)]) == 1, path
        said = capsys.readouterr().err
        assert "give another path" in said, said
    assert {path: path.read_bytes() for path in before} == before
    assert not used.with_name("rollout.history.sqlite3-wal").exists()


@pytest.mark.parametrize("command", OUTPUTS, ids=" ".join)
def test_an_earlier_output_and_an_empty_file_are_replaced(
    used: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = used.with_name("output")
    out.touch()
    for _ in range(2):
        assert run(["-f", str(used), *command, str(out)]) == 0
    assert out.read_text().strip()
    out.write_text("notes of somebody\n")
    assert run(["-f", str(used), *command, str(out)]) == 1
    assert "exists and is not" in capsys.readouterr().err
    assert out.read_text() == "notes of somebody\n"


def output(path: Path, while_written: str = "") -> None:
    """Write an output; another program writes ``while_written`` in its place meanwhile."""

    def write(stream: BinaryIO) -> None:
        stream.write(b"output")
        if while_written:
            path.write_text(while_written)

    stream_output(
        path, write, rollout_file=path.with_name("rollout.toml"), what="an earlier output",
        is_what=lambda head: head.startswith(b"output"),
    )  # fmt: skip


def test_a_file_that_another_program_writes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # where there is no file yet, and in an earlier output's place
        with pytest.raises(OperationError, match="exists and is not an earlier output"):
            output(out, "theirs")
        assert out.read_text() == "theirs"
        out.write_text("output of yesterday")
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_created_right_before_the_rename_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    link = os.link

    def late(source: str, target: Path) -> None:
        out.write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(OperationError, match="out has just been created by another program"):
        output(out)
    assert out.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_system_without_hard_links_has_outputs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    output(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_export_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    """A younger one may be of an export that is still written; other names are nobody's."""
    old, new = ".rollout-output.old_0001", ".rollout-output.new_0001"
    for name in (old, new, ".rollout-output.csv", "notes"):
        (tmp_path / name).write_text("half")
    hour_ago = time.time() - 3_700
    for name in (old, ".rollout-output.csv", "notes"):
        os.utime(tmp_path / name, (hour_ago, hour_ago))
    (tmp_path / ".rollout-output.folder").mkdir()
    os.utime(tmp_path / ".rollout-output.folder", (hour_ago, hour_ago))
    output(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [
        ".rollout-output.csv", ".rollout-output.folder", ".rollout-output.new_0001", "notes", "out",
    ]  # fmt: skip
