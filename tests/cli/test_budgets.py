"""The command ``budgets``: the table, JSON, exit codes, and the count for a timer."""

import json
import os
from decimal import Decimal
from pathlib import Path
from time import time

import pytest

from rollout_console.sim.server import SimServer
from tests.cost.traffic import Traffic
from tests.reconcile.commands import Run, runner
from tests.reconcile.world import World
from tests.support.commands import Commands


@pytest.fixture
def world(sim: SimServer, tmp_path: Path) -> World:
    found = World(sim, tmp_path)
    text = found.path.read_text()
    found.path.write_text(
        f'{text}[budgets.all-day]\nper = "month"\nlimit_usd = "0.02"\nat_limit = "lower"\n'
        '[budgets.acme]\nper = "month"\norg = "acme"\nlimit_usd = 1000\n'
    )
    return found


@pytest.fixture
def run(commands: Commands, world: World, tmp_path: Path) -> Run:
    return runner(commands, world, tmp_path, "budgets")


def test_what_is_spent_is_a_table_and_json(run: Run, world: World) -> None:
    traffic, at = Traffic(world), time() - 2
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    cost = sum((traffic.send(at) for _ in range(4)), Decimal(0))
    done = run("--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    whole, acme = found["budgets"]
    assert Decimal(whole["spent_usd"]) == Decimal(acme["spent_usd"]) == cost == Decimal("0.022")
    assert (whole["percent"], whole["over"], acme["percent"], acme["over"]) == (110, True, 0, False)
    assert (acme["org"], acme["route"], acme["key"]) == ("acme", None, None)
    assert Decimal(found["burn_24h_usd"]) == cost
    assert not found["stale"]
    text = run("--no-pull")
    assert text.returncode == 1
    lines = text.stdout.splitlines()
    assert lines[0].startswith("usage records up to ")
    assert lines[2].split() == ["budget", "of", "period", "spent", "limit", "used", "at", "its",
                                "end"]  # fmt: skip
    assert "$0.022  $0.02  110%" in " ".join(lines[3].split()).replace(" ", "  ")
    assert lines[4].strip().startswith("holds raises until 1 ")
    assert lines[5].strip() == "would lower its shares: the guard's mode there is hold"
    assert lines[6].startswith("acme")


def test_a_timer_counts_where_nobody_did(run: Run, world: World) -> None:
    first = run("--if-due")
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    asked = len(world.sim.state.requests)
    assert asked
    assert run("--if-due").returncode == 0
    assert len(world.sim.state.requests) == asked  # 10 minutes have not passed
    refused = run(token="mt-wrong")
    assert refused.returncode == 1
    assert "management token" in refused.stderr
    state = Path(os.environ["ROLLOUT_STATE_DIR"])
    (kept,) = state.glob("spending-*.json")
    assert json.loads(kept.read_bytes())["problem"]


def test_a_file_without_budgets_has_nothing_to_ask(run: Run, world: World) -> None:
    world.path.write_text(world.path.read_text().partition("[budgets")[0])
    asked = len(world.sim.state.requests)
    done = run()
    assert (done.returncode, len(world.sim.state.requests)) == (0, asked)
    assert done.stdout.startswith("the file has no budgets: write [budgets.NAME]")
    assert json.loads(run("--json").stdout)["budgets"] == []


def test_set_is_held_and_an_override_needs_a_reason(
    run: Run, world: World, commands: Commands
) -> None:
    text = world.path.read_text().replace("limit_usd = 1000", 'limit_usd = "0.001"')
    world.path.write_text(text.replace("acme = 50", "acme = 0"))
    Traffic(world).send(time() - 5)
    assert run().returncode == 1

    def change(*words: str) -> tuple[int, str]:
        done = commands.run(["-f", str(world.path), "set", *words, "--yes"], env={**os.environ})
        return done.returncode, done.stderr

    asked = ["-f", str(world.path), "set", "chat", "acme", "1", "--dry-run"]
    dry = commands.run(asked, env={**os.environ})
    assert dry.returncode == 0
    assert "the guard holds this raise: chat / acme: budget acme: $0.0055 of $0.001" in dry.stdout
    asked += ["--json"]
    assert "budget acme" in json.loads(commands.run(asked, env={**os.environ}).stdout)["held"]
    asked += ["--override-guard", "--reason", "agreed with acme"]
    assert json.loads(commands.run(asked, env={**os.environ}).stdout)["held"] == ""
    code, said = change("chat", "acme", "1")
    assert code == 1
    assert "the guard holds this raise: chat / acme: budget acme: $0.0055 of $0.001 for" in said
    assert change("chat", "acme", "1", "--override-guard", "--reason", "agreed with acme")[0] == 0
    assert change("chat", "acme", "0") == (0, "")
