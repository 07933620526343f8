"""Folders that this user may not look into: one sentence that is true, for every command."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from tests.support.other_users import as_user

USER = 3001
COMMANDS = ("show", "check --offline", "history", "decide chat --org acme", "keys doctor",
            "keys list", "models", "guard --once", "playbook")  # fmt: skip


def _run(folder: Path, command: str, file: Path | None = None) -> str:
    os.environ |= {
        "ROLLOUT_STATE_DIR": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config"),
        "CREDENTIALS_DIRECTORY": str(folder / "credentials"),
    }  # fmt: skip
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(["-f", str(file or folder / "etc" / "rollout.toml"), *command.split()])
    return f"{code} {printed.getvalue()}"


@pytest.fixture
def folders(tmp_path: Path, file: Path) -> Callable[[str], Path]:
    """Folders of the user's own, of which one is closed to them."""

    def made(closed: str) -> Path:
        text = file.read_text().replace("https://api.tokenlab.sh", "http://127.0.0.1:9")
        file.write_text(text)
        for name in ("state", "config/rollout-console/themes", "credentials"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "state" / "profiles.json").write_text('{"version": 1, "profiles": {}}')
        if os.geteuid() == 0:
            for one in (tmp_path, *tmp_path.rglob("*")):
                os.chown(one, USER, USER)
            for one in list(tmp_path.parents)[:-2]:
                one.chmod(one.stat().st_mode | 0o011)
        (tmp_path / closed).chmod(0)
        return tmp_path

    return made


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("closed", ["state", "config", "credentials", "etc"])
def test_a_closed_folder_is_said_to_be_closed(
    folders: Callable[[str], Path], closed: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROLLOUT_STATE_DIR", "XDG_CONFIG_HOME", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    folder = folders(closed)
    _run(folder, command)  # imports are not for the other user, who may not reach the code
    if os.geteuid() == 0:
        said = as_user(USER, (USER,), lambda: _run(folder, command))
    else:
        said = _run(folder, command)
    assert said[0] in "0123", said
    assert "Errno" not in said
    assert "Traceback" not in said
    assert "damaged" not in said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_home_that_is_no_folder_is_as_an_empty_one(
    file: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a service's user has it: HOME=/dev/null."""
    file.write_text(file.read_text().replace("https://api.tokenlab.sh", "http://127.0.0.1:9"))
    codes = []
    for home in (tmp_path / "empty", Path(os.devnull)):
        for name in ("ROLLOUT_STATE_DIR", "XDG_CONFIG_HOME", "CREDENTIALS_DIRECTORY"):
            monkeypatch.setenv(name, "")
        said = _run(home, command, file)
        assert "Not a directory" not in said
        codes.append(said[0])
    assert codes[1] == codes[0]
