"""The command ``reconcile``: text, JSON, piles, exports and exit codes."""

import csv
import io
import json
import os
import stat
from decimal import Decimal
from pathlib import Path
from time import time

import pytest

from rollout_console.cli.commands import reconcile_arguments
from rollout_console.reconcile.piles import PILES
from rollout_console.reconcile.tables import COLUMNS
from rollout_console.sim.server import SimServer
from tests.reconcile.commands import Run, runner
from tests.reconcile.world import World, line
from tests.support.commands import Commands

FORMULA = "=HYPERLINK(1)"


@pytest.fixture
def world(sim: SimServer, tmp_path: Path) -> World:
    return World(sim, tmp_path)


@pytest.fixture
def run(commands: Commands, world: World, tmp_path: Path) -> Run:
    return runner(commands, world, tmp_path, "reconcile")


@pytest.fixture
def at(world: World) -> float:
    """Two matched, one billed and not logged, one logged and not billed, one that settles."""
    at = time() - 3 * 3600
    world.bill(at, "0.000000000001", billing="b1", request="r1")
    world.bill(at + 1, "0.25", billing="b2", request="r2")
    world.bill(at + 2, "1.000000000000000001", billing="b3", request="r3", model="gpt-5.4-mini")
    world.write(
        line(at - 86_400, side="previous"),
        line(at, billing="b1", request="r1"),
        line(at + 1, request="r2", org=FORMULA, stream=True),
        line(at + 5, request="r5", org="globex"),
        line(time() - 60, request="r6"),
    )
    return at


def test_a_gap_in_words(run: Run, at: float) -> None:
    done = run()
    assert done.returncode == 1
    text = done.stdout
    assert "3 records of $1.250000000001000001 billed; 4 lines logged on TokenLab" in text
    assert "matched             2 records, $0.250000000001" in text
    assert "billed, not logged  1 record, $1.000000000000000001" in text
    assert "logged, not billed  1 line (30 tokens)" in text
    assert "settling            1 line (30 tokens)" in text
    assert "largest gaps\n  billed, not logged" in text
    assert "key demo  gpt-5.4-mini" in text
    assert "who used the key?" in text
    assert done.stderr == ""


def test_a_gap_as_json(run: Run, at: float) -> None:
    done = run("--json", "--since", "1d")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (1, False)
    piles = found["piles"]
    assert found["records"]["cost_usd"] == "1.250000000001000001"
    assert Decimal(found["records"]["cost_usd"]) == sum(
        Decimal(pile["cost_usd"]) for pile in piles.values()
    )
    assert piles["matched"]["by_billing_transaction_id"] == 1
    assert piles["matched"]["by_request_id"] == 1
    assert piles["billed_only"]["by_model"] == [
        {"model": "gpt-5.4-mini", "records": 1, "cost_usd": "1.000000000000000001", "lines": 0,
         "tokens_in": 0, "tokens_out": 0}
    ]  # fmt: skip
    assert piles["billed_only"]["by_key"][0]["key"] == "demo"
    assert piles["billed_only"]["reasons"]["not in the log"]["records"] == 1
    assert piles["logged_only"]["by_org"][0]["org"] == "globex"
    assert found["keys"] == [{"id": "key_demo", "name": "demo", "status": "active", "listed": True}]


def test_no_gap_is_exit_code_0(run: Run, at: float, world: World) -> None:
    world.write(line(at + 2, billing="b3"))
    world.bill(at + 5, request="r5")
    done = run("--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)


def test_each_pile_has_its_rows(run: Run, at: float) -> None:
    found = {}
    for pile in PILES:
        done = run("--pile", pile, "--json")
        assert done.returncode == 1
        found[pile] = [row["request_id"] for row in json.loads(done.stdout)]
    assert found == {
        "matched": ["r1", "r2"], "billed-only": ["r3"], "logged-only": ["r5"], "settling": ["r6"],
        "no-id": [],
    }  # fmt: skip
    done = run("--pile", "matched", "--limit", "1")
    assert len(done.stdout.splitlines()) == 1
    assert "b1" in done.stdout
    assert "and 1 more" in done.stderr


def test_exports_are_private_whole_and_without_formulas(
    run: Run, at: float, tmp_path: Path
) -> None:
    done = run("--csv", "out.csv", "--jsonl", "out.jsonl")
    assert done.stdout.endswith("out.csv\nout.jsonl\n")
    here = tmp_path / "here"
    for name in ("out.csv", "out.jsonl"):
        assert stat.S_IMODE((here / name).stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO((here / "out.csv").read_text())))
    lines = [json.loads(one) for one in (here / "out.jsonl").read_text().splitlines()]
    assert list(rows[0]) == list(COLUMNS)
    assert [row["pile"] for row in rows] == [row["pile"] for row in lines]
    assert sum(Decimal(row["cost_usd"] or 0) for row in rows) == Decimal("1.250000000001000001")
    assert [row["org"] for row in rows if row["request_id"] == "r2"] == [f"'{FORMULA}"]
    assert [row["org"] for row in lines if row["request_id"] == "r2"] == [FORMULA]
    assert run("--csv", "out.csv", "--pile", "billed-only").returncode == 1
    assert len((here / "out.csv").read_text().splitlines()) == 2


def test_an_export_replaces_nothing_else(run: Run, at: float, tmp_path: Path) -> None:
    notes = tmp_path / "here" / "notes.csv"
    notes.write_text("mine\n")
    done = run("--csv", "notes.csv")
    assert done.returncode == 1
    assert "is not an earlier export of reconcile" in done.stderr
    assert notes.read_text() == "mine\n"
    assert run("--jsonl", "../rollout.toml").returncode == 1
    assert run("--csv", "none/there.csv").returncode == 1


def test_read_only_reconciles_and_exports_nothing(
    commands: Commands, run: Run, at: float, tmp_path: Path, world: World
) -> None:
    assert run("--read-only").returncode == 1
    done = run("--read-only", "--csv", "out.csv")
    assert "read-only" in done.stderr
    assert not (tmp_path / "here" / "out.csv").exists()


def test_offline_uses_what_was_pulled(run: Run, at: float, world: World) -> None:
    done = run("--offline")
    assert "0 records of $0 billed" in done.stdout
    assert "alone: without --offline" in done.stderr
    run()
    before = len(world.sim.state.requests)
    done = run("--offline", "--json", token="mt-wrong")
    assert json.loads(done.stdout)["records"]["records"] == 3
    assert len(world.sim.state.requests) == before
    assert run("--offline", "--reread").returncode == 2


def test_a_later_record_is_found_by_the_next_call(run: Run, at: float, world: World) -> None:
    run()
    world.bill(at + 5, "0.5", request="r5")
    found = json.loads(run("--json").stdout)
    assert found["piles"]["logged_only"]["lines"] == 0
    assert found["piles"]["matched"]["records"] == 3


def test_exit_codes(run: Run, at: float, world: World) -> None:
    assert run(token="mt-wrong").returncode == 1
    assert run("--since", "1h", "--until", "2h").returncode == 2
    assert run("--key", "nobody").returncode == 1
    for wrong in (["--since", "yesterday"], ["--settle", "1y"], ["--pile", "x"], ["--limit", "0"]):
        assert run(*wrong).returncode == 2
    done = run("--offline", "--org", "acmee")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no org 'acmee'" in done.stderr
    world.path.write_text(world.path.read_text().replace(world.sim.base_url, "http://127.0.0.1:9"))
    done = run("--since", "1h")
    assert done.returncode == 3
    assert "what was pulled is kept" in done.stderr


def test_a_log_that_cannot_be_read_is_no_proof(run: Run, world: World) -> None:
    """Nothing is billed, so that nothing is missing: by a log that nobody could look into."""
    world.log.unlink()
    done = run("--json", "--since", "1h")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True), "before the first request"
    world.log.mkdir()
    done = run("--json", "--since", "1h")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
    assert f"warning: {world.log} cannot be read: it is not a file\n" in done.stderr


def test_names_of_others_are_no_terminal_sequences(run: Run, at: float, world: World) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    world.add_key("key_2", evil)
    world.bill(at, "0.1", billing=evil, key="key_2")
    world.write(line(at, org=evil, request=evil))
    for words in ((), ("--pile", "logged-only"), ("--pile", "billed-only")):
        done = run(*words)
        assert not {"\x1b", "\x07", "\u202e"} & {*done.stdout, *done.stderr}
    assert "\x1b" not in run("--json").stdout


def test_a_long_pull_draws_a_bar_on_a_terminal_alone(
    commands: Commands, run: Run, at: float, world: World
) -> None:
    for number in range(350):
        world.bill(at + 10 + number, "0.1", billing=f"many{number}")
    env = {**os.environ, "TOKENLAB_MANAGEMENT_TOKEN": "mt-sim-demo"}
    ours, theirs = os.openpty()
    try:
        with (
            open(os.devnull, "r+b") as null,
            commands.start(
                ["-f", str(world.path), "reconcile"], stdin=null, stdout=null, stderr=theirs,
                env=env,
            ) as command,
        ):  # fmt: skip
            assert command.wait() == 1
        drawn = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "key 1 of 1 demo" in drawn
    assert "requests" in drawn
    assert drawn.endswith("\r")
    assert "\n" not in drawn
    assert run().stderr == ""


def test_the_choices_are_the_piles() -> None:
    assert reconcile_arguments.PILES == PILES
