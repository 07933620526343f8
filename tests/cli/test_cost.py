"""The command ``cost``: text, JSON, views, export and exit codes."""

import csv
import io
import json
import os
import stat
from decimal import Decimal
from pathlib import Path
from time import time

import pytest

from rollout_console.cli.commands import cost_arguments
from rollout_console.cost.bill import NOT_LOGGED, VIEWS
from rollout_console.cost.tables import COLUMNS
from rollout_console.sim.server import SimServer
from tests.cost.traffic import DAY, Traffic
from tests.reconcile.commands import Run, runner
from tests.reconcile.world import World, line
from tests.support.commands import Commands

FORMULA = "=HYPERLINK(1)"
EVIL = "\x1b]0;owned\x07\u202e"


@pytest.fixture
def world(sim: SimServer, tmp_path: Path) -> World:
    return World(sim, tmp_path)


@pytest.fixture
def run(commands: Commands, world: World, tmp_path: Path) -> Run:
    return runner(commands, world, tmp_path, "cost")


@pytest.fixture
def cost(world: World) -> Decimal:
    """Three orgs and two keys of today, one org a week ago; return the cost of today."""
    world.add_key("key_2", EVIL)
    traffic, at = Traffic(world), time() - 3 * 3600
    world.write(line(at - 20 * DAY, side="previous"))
    for number in range(4):
        traffic.send(at - 7 * DAY + number, tokens=(100 + number, 20))
    return sum(
        (
            *(traffic.send(at + number, tokens=(100 + number, 20)) for number in range(4)),
            traffic.send(at + 4, org=FORMULA, model="gpt-5.4-mini"),
            traffic.send(at + 5, org=EVIL, tokens=(1, 3)),
            traffic.send(at + 6, key="key_2", logged=False, tokens=(7, 3)),
        ),
        Decimal(0),
    )


def test_an_overview_in_words(run: Run, cost: Decimal) -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert f"bill        ${cost:f}  7 requests, 1,700 tokens;" in text
    assert f"burn        ${cost:f} in the 24 h up to" in text
    assert "the last hour is incomplete: text settles within 15 m, tasks within 2 h" in text
    assert "balance     $" in text
    assert "at this burn" in text
    for view in VIEWS:
        assert f"\nby {view} " in text
    assert NOT_LOGGED in text
    assert "against" not in text


def test_one_view_has_all_its_rows(run: Run, cost: Decimal, world: World) -> None:
    for number in range(9):
        Traffic(world).send(time() - 7200, org=f"org-{number}")
    few = run().stdout
    assert "org-8" not in few
    assert "(7 more: --by org)" in few
    whole = run("--by", "org")
    assert "org-8" in whole.stdout
    assert "more: --by" not in whole.stdout
    assert "by route" not in whole.stdout
    assert "(9 more: --by org)" in run("--by", "org", "--limit", "3").stdout


def test_json_adds_up(run: Run, cost: Decimal) -> None:
    found = json.loads(run("--json", "--no-pull").stdout)
    assert found["bill"]["cost_usd"] == "0"
    assert found["balance"] is None
    done = run("--json")
    found = json.loads(done.stdout)
    assert Decimal(found["bill"]["cost_usd"]) == cost
    assert set(found["by"]) == set(VIEWS)
    for rows in found["by"].values():
        assert sum(Decimal(row["cost_usd"]) for row in rows) == cost
        assert sum(row["requests"] for row in rows) == 7
    assert found["by"]["route"][-1] == {
        "name": NOT_LOGGED, "is_rest": True, "cost_usd": "0.0000625", "requests": 1, "refunds": 0,
        "tokens_in": 7, "tokens_out": 3, "usd_per_1000_requests": "0.062500000000",
        "usd_per_1m_tokens": "6.250000000000",
    }  # fmt: skip
    assert found["settling"] is True
    assert Decimal(found["balance"]["left_usd"]) > 0
    assert Decimal(found["burn"]["last_24h_usd"]) == cost
    assert found["difference"] is None
    again = json.loads(run("--json", "--no-pull", token="mt-wrong").stdout)
    assert again["bill"] == found["bill"]
    assert again["by"] == found["by"]


def test_why_it_differs(run: Run, cost: Decimal) -> None:
    done = run("--against", "7d")
    assert done.returncode == 0
    assert "difference              +$" in done.stdout
    assert "new org or route      +$" in done.stdout
    assert "a new org, 1 request\n" in done.stdout
    found = json.loads(run("--against", "7d", "--json").stdout)["difference"]
    assert Decimal(found["difference_usd"]) == sum(map(Decimal, found["causes"].values()))
    assert Decimal(found["difference_usd"]) == sum(
        Decimal(item["amount_usd"]) for item in found["items"]
    )
    assert Decimal(found["now_usd"]) == cost
    assert found["causes"]["price"] == "0"
    assert run("--against", "2h").returncode == 2


def test_an_export_has_why_it_differs(run: Run, cost: Decimal, tmp_path: Path) -> None:
    found = json.loads(run("--against", "7d", "--json", "--csv", "out.csv").stdout)["difference"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "here" / "out.csv").read_text())))
    causes = {row["name"]: row["cost_usd"] for row in rows if row["view"] == "difference"}
    assert causes == found["causes"]
    assert sum(map(Decimal, causes.values())) == Decimal(found["difference_usd"]) != 0


def test_an_export_is_private_whole_and_without_formulas(
    run: Run, cost: Decimal, tmp_path: Path
) -> None:
    done = run("--csv", "out.csv")
    assert done.stdout.endswith("out.csv\n")
    path = tmp_path / "here" / "out.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert list(rows[0]) == list(COLUMNS)
    for view in VIEWS:
        of_view = [row for row in rows if row["view"] == view]
        assert sum(Decimal(row["cost_usd"]) for row in of_view) == cost
    assert f"'{FORMULA}" in {row["name"] for row in rows}
    assert run("--csv", "out.csv", "--by", "day", "--json").stdout.startswith("{")
    assert {row["view"] for row in csv.DictReader(io.StringIO(path.read_text()))} == {"day"}
    notes = tmp_path / "here" / "notes.csv"
    notes.write_text("mine\n")
    done = run("--csv", "notes.csv")
    assert (done.returncode, notes.read_text()) == (1, "mine\n")
    assert "is not an earlier export of cost" in done.stderr
    assert run("--csv", "../rollout.toml").returncode == 1


def test_read_only_shows_and_exports_nothing(run: Run, cost: Decimal, tmp_path: Path) -> None:
    assert run("--read-only").returncode == 0
    done = run("--read-only", "--csv", "out.csv")
    assert "read-only" in done.stderr
    assert not (tmp_path / "here" / "out.csv").exists()


def test_a_raise_says_what_it_adds_a_day(
    commands: Commands, run: Run, cost: Decimal, world: World, tmp_path: Path
) -> None:
    def plan(*words: str) -> str:
        asked = ["-f", str(world.path), "set", "chat", "acme", *words, "--dry-run"]
        return commands.run(asked, env={**os.environ}, cwd=tmp_path).stdout

    Traffic(world).send(time() - 7200, tokens=(2_000_000, 300_000))
    os.utime(world.path, (time() - 3 * DAY, time() - 3 * DAY))
    assert "added cost unknown: no cost was added up within a day" in plan("75")
    run("--no-pull")
    assert "added cost unknown" in plan("75")
    run()
    world.path.write_bytes(world.path.read_bytes())
    asked = len(world.sim.state.requests)
    # $9.50 in 23 of the 24 hours, of half of the traffic; the other half is as much again.
    assert "about +$4.96 a day on TokenLab, from its cost in 23 h, 60 m ago" in plan("75")
    assert "about +$9.92 a day" in json.loads(plan("100", "--json"))["adds"]
    assert "a day" not in plan("25")
    assert len(world.sim.state.requests) == asked


def test_exit_codes(run: Run, cost: Decimal, world: World) -> None:
    assert run(token="mt-wrong").returncode == 1
    assert run("--since", "1h", "--until", "2h").returncode == 2
    assert run("--key", "nobody").returncode == 1
    for wrong in (
        ["--since", "400d"],
        ["--since", "2025-01-01"],
        ["--since", "yesterday"],
        ["--by", "x"],
        ["--limit", "0"],
        ["--against", "x"],
    ):
        assert run(*wrong).returncode == 2
    for words, why in (
        (["--route", "chta"], "no route 'chta'; did you mean 'chat'?"),
        (["--org", "acm"], "no org 'acm', in the file or in this period; did you mean 'acme'?"),
    ):
        done = run("--no-pull", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
    assert run("--no-pull", "--route", "clips").returncode == 0, "in the file, and without a cost"
    world.path.write_text(world.path.read_text().replace(world.sim.base_url, "http://127.0.0.1:9"))
    done = run("--since", "1h")
    assert done.returncode == 3
    assert "what was pulled is kept" in done.stderr


def test_the_choices_are_the_views() -> None:
    assert cost_arguments.VIEWS == VIEWS
