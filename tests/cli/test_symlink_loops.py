"""A symlink that leads to itself, as a path of any kind: one sentence, in any version of Python."""

from pathlib import Path

import pytest

from rollout_console.cli.main import run
from rollout_console.common.files import checked_path, real_path

READING = ("show", "history", "decide chat --org acme", "keys list", "models",
           "guard --once", "playbook", "report", "cost", "reconcile", "budgets", "jobs list",
           "export flagd", "phase", "undo", "restore 1", "rollback chat --reason x",
           "set chat acme 5")  # fmt: skip


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    path = tmp_path / "loop.toml"
    path.symlink_to(path.name)
    return path


@pytest.mark.parametrize("command", READING)
def test_a_rollout_file_cannot_be_read(
    loop: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", str(loop), *command.split()]) == 2
    printed = "".join(capsys.readouterr())
    assert printed.count("cannot be read: Too many levels of symbolic links") == 1


@pytest.mark.parametrize("command", ["show", "history", "check --offline", "guard --once"])
def test_a_history_cannot_be_used(
    loop: Path, file: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = file.read_text().replace("https://api.tokenlab.sh", "http://127.0.0.1:9")
    file.write_text(f'{text}\n[history]\npath = "{loop}"\n')
    run(["-f", str(file), *command.split()])
    printed = "".join(capsys.readouterr())
    assert "Errno" not in printed
    if command == "history":
        assert f"the history at {loop} cannot be used: Too many levels" in printed


@pytest.mark.parametrize("command", ["check --offline", "guard --once", "report --since 1h"])
def test_a_log_cannot_be_read(
    loop: Path, file: Path, command: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(loop.parent)  # where a report is written
    text = file.read_text().replace("https://api.tokenlab.sh", "http://127.0.0.1:9")
    file.write_text(text.replace('"access.jsonl"', f'"{loop}"'))
    run(["-f", str(file), *command.split()])
    printed = "".join(capsys.readouterr())
    assert "Too many levels of symbolic links" in printed
    assert "Errno" not in printed


def test_paths(loop: Path, tmp_path: Path) -> None:
    assert real_path(loop) == real_path(tmp_path) / "loop.toml"
    for path in (loop, loop / "below"):
        with pytest.raises(OSError, match="its symlinks form a loop"):
            checked_path(path)
    missing, link = tmp_path / "missing", tmp_path / "link"
    link.symlink_to(missing)
    assert checked_path(link) == checked_path(missing) == real_path(missing)
    with pytest.raises(FileNotFoundError):
        checked_path(link, strict=True)
