"""The file that was named is the one that is meant: no other address is asked in its place."""

from pathlib import Path

import pytest

from console.cli.main import run


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
