"""The file that was named is the one that is meant: no other address is asked in its place."""

import os
from pathlib import Path

import pytest

from rollout_console.cli.main import run


@pytest.mark.parametrize("command", [("keys", "list"), ("models",), ("probe", "chat")])
@pytest.mark.parametrize("what", ["missing", "broken", "in the environment"])
def test_a_file_that_is_named_and_cannot_be_used_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...], what: str,
) -> None:  # fmt: skip
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr("httpx.AsyncClient.send", no_network)
    monkeypatch.setenv("TOKENLAB_MANAGEMENT_TOKEN", "mt-of-staging")
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "staging.toml"
    if what == "broken":
        path.write_text("[tokenlab\n")
    named = ["-f", str(path)]
    if what == "in the environment":
        monkeypatch.setenv("ROLLOUT_FILE", str(path))
        named = []
    assert run([*named, *command]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert ("line 1" if what == "broken" else "does not exist") in said


@pytest.mark.parametrize(
    "command", [("list",), ("verify", "--model", "gpt-5.4"), ("create", "x", "--show-secret")]
)
def test_a_profile_that_nobody_knows_has_no_address(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:  # fmt: skip
    """The token in the environment is one's of staging; the file's address is production's."""

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr("httpx.AsyncClient.send", no_network)
    monkeypatch.setenv("TOKENLAB_MANAGEMENT_TOKEN", "mt-of-staging")
    monkeypatch.setenv("TOKENLAB_API_KEY", "sk-of-staging")
    assert run(["-f", str(file), "keys", *command, "--profile", "stagign"]) == 1
    said = capsys.readouterr().err
    assert "profile stagign has no address here" in said
    assert "of-staging" not in said


@pytest.mark.parametrize(
    "command",
    ["show", "check --offline", "history", "set chat acme 5 --yes", "rollback --yes",
     "restore abcdef0 --yes", "guard --once", "keys doctor", "models", "phase", "playbook"],
)  # fmt: skip
def test_a_fifo_blocks_no_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "rollout.toml"
    os.mkfifo(path)
    code = run(["-f", str(path), *command.split()])
    said = "".join(capsys.readouterr())
    assert (code, "no changes of" in said) == (0, True) or "not a regular file" in said


def test_a_fifo_beside_the_file_blocks_no_command(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(file.with_name("rollout.plan.toml"))
    assert run(["-f", str(file), "phase"]) == 2
    assert "rollout.plan.toml cannot be read: not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["show"], ["rollback", "--yes"]])
def test_an_empty_name_is_not_the_usual_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:  # fmt: skip
    """What a script passes on whose variable is not set."""
    monkeypatch.chdir(file.parent)
    before = file.read_bytes()
    with pytest.raises(SystemExit, match="2"):
        run(["-f", "", *command])
    assert "it is empty; give the path" in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", ["show", "check --offline", "rollback --yes", "history"])
def test_a_working_directory_that_is_gone_is_said_to_be(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], command: str,
) -> None:  # fmt: skip
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["-f", "rollout.toml", *command.split()]) == 2
    assert "the working directory was deleted; change to another" in capsys.readouterr().err
    assert run(["-f", str(file), *command.split()]) == 0
