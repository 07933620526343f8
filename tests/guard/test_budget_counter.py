"""A process of its own counts what was spent: one that fails says why, and none is left behind."""

import os
import time
from pathlib import Path

import pytest

from rollout_console.budgets.spending import Spending, kept_spending, spending_path
from rollout_console.cli.credentials import fixed_vault
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.budget_counter import BudgetCounter
from rollout_console.sim.server import SimServer
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from tests.cost.traffic import Traffic
from tests.reconcile.world import World
from tests.support.waiting import until


@pytest.fixture
def world(sim: SimServer, tmp_path: Path) -> World:
    found = World(sim, tmp_path)
    found.path.write_text(
        f'{found.path.read_text()}[budgets.b]\nper = "month"\nlimit_usd = "0.01"\n'
    )
    return found


def counter_of(
    world: World, token: str = "mt-sim-demo", *, read_only: bool = False
) -> BudgetCounter:
    vault = fixed_vault({"management_token": token} if token else {}, {})
    return BudgetCounter(world.path, vault, WriteAccess(read_only=read_only))


def kept(world: World) -> Spending | None:
    return kept_spending(spending_path(state_folder(), world.path, "default"))


def file_of(world: World) -> RolloutFile:
    return parse(world.path.read_bytes())


def test_it_counts_where_that_is_due(world: World) -> None:
    cost = Traffic(world).send(time.time() - 5)
    counter, file = counter_of(world), file_of(world)
    counter.turn(file, None, time.time())

    def counted() -> bool:
        counter.turn(file, kept(world), time.time())
        return kept(world) is not None

    until(counted)
    found = kept(world)
    assert found is not None
    assert [one.cost for one in found.spends] == [cost]
    assert found.problem == ""
    asked = len(world.sim.state.requests)

    def ended() -> bool:
        counter.turn(file, found, time.time())
        return counter.process is None

    until(ended)
    assert len(world.sim.state.requests) == asked
    counter.close()


def test_it_says_why_nothing_is_counted(world: World) -> None:
    counter_of(world, "").turn(file_of(world), None, time.time())
    found = kept(world)
    assert found is not None
    assert "management token" in found.problem
    spending_path(state_folder(), world.path, "default").unlink()  # else it is put off for a minute
    refused, file = counter_of(world, "mt-wrong"), file_of(world)

    def failed() -> bool:
        refused.turn(file, kept(world), time.time())
        return "not valid" in (kept(world) or Spending()).problem

    until(failed)
    refused.close()


def test_a_read_only_one_and_a_closed_one_start_nothing(world: World) -> None:
    counter_of(world, read_only=True).turn(file_of(world), None, time.time())
    closed = counter_of(world)
    closed.close()
    closed.turn(file_of(world), None, time.time())
    assert closed.process is None
    assert kept(world) is None


def test_closing_ends_a_count(world: World) -> None:
    world.sim.state.faults.add(
        {"kind": "slow", "latency_ms": 5000, "path": "/v1/management/api-keys"}
    )
    counter = counter_of(world)
    counter.turn(file_of(world), None, time.time())
    process = counter.process
    assert process is not None
    counter.close()
    assert counter.process is None
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
