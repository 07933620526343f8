"""A state folder that may not be written, of another operator or on a read-only file system."""

import contextlib
import io
import os
from pathlib import Path
from time import time

import pytest

from rollout_console.cli.main import run
from tests.cost.traffic import Traffic
from tests.reconcile.commands import runner
from tests.reconcile.world import World
from tests.support.commands import Commands
from tests.support.other_users import as_user

USER = 3001
BUDGET = '[budgets.b]\nroute = "chat"\nlimit_usd = 5\nper = "month"\n'


@pytest.mark.parametrize(
    ("command", "told"),
    [("cost --no-pull", "bill"), ("reconcile --offline", "matched"), ("budgets --no-pull", "chat")],
)
def test_what_was_pulled_is_read(
    world: World, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    command: str, told: str,
) -> None:  # fmt: skip
    if os.geteuid():
        pytest.skip("needs root")
    Traffic(world).send(time() - 3600)
    with world.path.open("a") as file:
        file.write(BUDGET)
    assert runner(commands, world, tmp_path, "cost")().returncode == 0
    state = Path(os.environ["ROLLOUT_STATE_DIR"])
    for folder in (tmp_path, state):
        for one in (folder, *folder.rglob("*")):
            os.chown(one, USER, USER)
        for one in list(folder.parents)[:-2]:
            one.chmod(one.stat().st_mode | 0o011)
    for one in (state, *state.rglob("*")):
        one.chmod(0o500 if one.is_dir() else 0o400)
    monkeypatch.setenv("TOKENLAB_MANAGEMENT_TOKEN", "")

    def call() -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = run(["-f", str(world.path), *command.split()])
        return f"{code} {printed.getvalue()}"

    call()  # imports are not for the other user, who may not reach the code
    said = as_user(USER, (USER,), call)
    assert said.startswith("0 "), said
    assert told in said
    assert "not writable" not in said
