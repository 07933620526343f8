"""``export flagd``, as it is typed."""

import errno
import json
import os
from pathlib import Path

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from rollout_console.cli.main import run
from rollout_gate import Gate

OLD = '{"flags": {}}'


def test_the_export_is_what_flagd_decides_by(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", str(file), "export", "flagd"]) == 0
    out, err = capsys.readouterr()
    assert "generation 3" in err
    assert "targetingKey" in err
    core = FlagdCore()
    core.set_flags(out)
    with Gate(file, poll_s=60) as gate:
        assert gate.file is not None
        assert json.loads(out)["metadata"]["revision"] == gate.file.revision
        for route in gate.file.routes:
            for org in (*gate.file.routes[route].orgs, "somebody"):
                context = EvaluationContext(targeting_key=org, attributes={"org": org})
                found = core.resolve_string_value(route, "?", context).value
                assert found == gate.decide(route, org).side


def test_it_is_written_in_one_piece_and_keeps_its_mode(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "flags.json"
    command = ["-f", str(file), "export", "flagd", "--out", str(out)]
    assert run(command) == 0
    assert out.stat().st_mode & 0o777 == 0o644
    out.chmod(0o640)
    assert run(command) == 0
    assert out.stat().st_mode & 0o777 == 0o640
    assert json.loads(out.read_text())["flags"]
    assert capsys.readouterr().out == ""
    assert list(tmp_path.glob(".rollout-output*")) == []


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "etc" / "flags.json", tmp_path / "flags.json"
    link.symlink_to(target)
    for _ in range(2):  # made, and written anew
        assert run(["-f", str(file), "export", "flagd", "--out", str(link)]) == 0
        assert link.is_symlink()
        assert json.loads(target.read_text())["flags"]


def test_what_is_no_export_is_not_written_over(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    alias, pipe, circle = tmp_path / "alias.toml", tmp_path / "pipe", tmp_path / "circle"
    alias.hardlink_to(file)
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    for out, said in (
        (file, "the rollout file itself"),
        (alias, "the rollout file itself"),
        (pipe, "not a regular file"),
        (tmp_path, "is a folder"),
        (circle, "symlinks form a loop"),
    ):
        assert run(["-f", str(file), "export", "flagd", "--out", str(out)]) == 1
        assert said in capsys.readouterr().err
    assert file.read_bytes() == before
    assert pipe.is_fifo()


def test_a_failure_in_between_leaves_the_old_text(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "flags.json"
    out.write_text(OLD)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rollout_console.changes.output_file.os.fsync", full)
    assert run(["-f", str(file), "export", "flagd", "--out", str(out)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert out.read_text() == OLD
    assert list(tmp_path.glob(".rollout-output*")) == []


def test_what_cannot_be_done_is_said_in_a_sentence(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone" / "flags.json"
    assert run(["-f", str(file), "export", "flagd", "--out", str(gone)]) == 1
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    file.write_text('schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "no"\n')
    assert run(["-f", str(file), "export", "flagd"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "line 4, column" in err
