"""Whatever is billed and logged, in any order: each record is in exactly one pile."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_console.reconcile.piles import PILES
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.errors import ApiError
from tests.reconcile.world import NOON, NOW, World, line

TIMES = st.integers(-400, 4000).map(lambda second: NOON + second)

charges = st.fixed_dictionaries(
    {
        "at": TIMES,
        "cost": st.decimals("-2", "5", places=12, allow_nan=False).map(lambda d: f"{d:f}"),
        "billing": st.sampled_from(["", "b1", "b2", "b3", "b4"]),
        "request": st.sampled_from(["", "r1", "r2", "r3", "r4"]),
        "key": st.sampled_from(["key_demo", "key_2"]),
        "model": st.sampled_from(["gpt-5.4", "gpt-5.4-mini"]),
    }
)
lines = st.fixed_dictionaries(
    {
        "at": TIMES,
        "billing": st.sampled_from([None, "b1", "b2", "b3", "b4", "b5"]),
        "request": st.sampled_from([None, "r1", "r2", "r3", "r4", "r5"]),
        "task": st.sampled_from([None, None, "t1", "t2"]),
        "status": st.sampled_from([200, 200, 200, 429, 503, 0]),
        "outcome": st.sampled_from(["ok", "ok", "error"]),
        "operation": st.sampled_from([None, None, None, "task"]),
    }
)


@pytest.fixture(scope="module")
def own() -> Iterator[SimServer]:
    with SimServer(seed=5) as server:
        yield server


def entry(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes a listed record one that counts, by the rule as it is documented."""
    at, cost = row["at"], Decimal(row["cost"])
    if row["billing"]:
        return ("billing", row["billing"], at, cost)
    if row["request"]:
        return ("request", row["key"], row["request"], at, cost)
    return ("record", row["key"], row["model"], at, cost)


@pytest.mark.slow
@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    listed=st.lists(charges, max_size=40),
    logged=st.lists(lines, max_size=30),
    seed=st.integers(0, 2**16),
    interruptions=st.integers(0, 3),
)
def test_every_record_is_in_exactly_one_pile(
    own: SimServer, listed: list[dict[str, Any]], logged: list[dict[str, Any]], seed: int,
    interruptions: int,
) -> None:  # fmt: skip
    drawn = random.Random(seed)
    own.state.faults.clear()
    with TemporaryDirectory() as folder:
        world = World(own, Path(folder))
        world.add_key("key_2", "second", "revoked")
        shuffled = listed[:]
        drawn.shuffle(shuffled)
        first = len(shuffled) // 2
        for row in shuffled[:first]:
            world.bill(**row)
        world.write(*(line(**row) for row in sorted(logged, key=lambda row: row["at"])))
        for _ in range(interruptions):
            own.state.faults.add({"kind": "error", "status": 403, "share": 0.3})
            with suppress(ApiError), world.reconciled(now=NOON + 4500):
                pass
            own.state.faults.clear()
        # Half of it settles later, and what is read meanwhile is read once more in the end.
        for row in shuffled[first:]:
            world.bill(**row)
        check(world, listed, logged)
        check(world, listed, logged)


def check(world: World, listed: list[dict[str, Any]], logged: list[dict[str, Any]]) -> None:
    inside = [row for row in listed if NOON <= row["at"] < NOON + 3600]
    equal = Counter(entry(row) for row in inside)
    expected: Counter[tuple[Any, ...]] = Counter()
    for one, count in equal.items():
        # With an id, the same entry twice is one that was listed twice; without, it is two.
        expected[one] = count if one[0] == "record" else 1
    with world.reconciled(now=NOW) as outcome:
        rows = list(outcome.piles.rows())
        found: Counter[tuple[Any, ...]] = Counter()
        for row in rows:
            if row.cost is not None:
                assert row.at is not None
                found[
                    entry(
                        {"at": row.at / 1e6, "cost": row.cost, "billing": row.billing_id,
                         "request": row.request_id, "key": row.key_id, "model": row.model}
                    )
                ] += 1  # fmt: skip
        assert found == expected
        sums = {name: outcome.piles.piles[name].all.cost for name in PILES}
        assert sum(sums.values()) == sum(
            (one[-1] * count for one, count in expected.items()), Decimal(0)
        )
        assert outcome.piles.records.cost == sum(sums.values())
        for name in PILES:
            of_rows = [row for row in rows if row.pile == name]
            assert sums[name] == sum((row.cost or Decimal(0) for row in of_rows), Decimal(0))
            for place in range(4):
                by = outcome.piles.piles[name].by(place).values()
                assert sum((one.cost for one in by), Decimal(0)) == sums[name]
        lines_are_in_one_pile(rows, logged)


def lines_are_in_one_pile(rows: list[Any], logged: list[dict[str, Any]]) -> None:
    """A line that is charged is somewhere, and one that cannot be is nowhere alone."""
    alone = Counter(round(row.line_at / 1e6, 3) for row in rows if row.cost is None)
    times = Counter(
        round(row["at"], 3)
        for row in logged
        if NOON <= row["at"] < NOON + 3600
        and (
            (200 <= row["status"] < 300 and row["outcome"] == "ok" and row["operation"] is None)
            or (row["billing"] and row["operation"] is None)
            or row["task"]
        )
    )
    assert alone <= times
    billed = {row.billing_id for row in rows if row.pile == "matched"}
    for row in rows:
        if row.pile == "logged-only":
            assert row.request_id or row.billing_id
            assert not row.billing_id or row.billing_id not in billed
