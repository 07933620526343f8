"""What goes into which pile: ids, refunds, retries, tasks, settling, skew, and the exact sums."""

import sqlite3
from decimal import Decimal
from typing import Any

import pytest

from rollout_console.reconcile.errors import CorruptStore
from rollout_console.reconcile.piles import PILES, Row
from tests.reconcile.world import NOON, NOW, World, line, time_of

AT = NOON + 600


def piles(world: World, **more: Any) -> dict[str, list[Row]]:
    with world.reconciled(**more) as outcome:
        found: dict[str, list[Row]] = {name: [] for name in PILES}
        for row in outcome.piles.rows():
            found[row.pile].append(row)
        for name, rows in found.items():
            figures = outcome.piles.piles[name].all  # type: ignore[index]
            costs = [row.cost for row in rows if row.cost is not None]
            assert (figures.records, figures.lines) == (len(costs), len(rows) - len(costs))
            assert figures.cost == sum(costs, Decimal(0))
        assert outcome.piles.records.records == sum(
            row.cost is not None for rows in found.values() for row in rows
        )
        return found


def has_gap(world: World, **more: Any) -> bool:
    with world.reconciled(**more) as outcome:
        return outcome.piles.has_gap


def test_by_billing_id_first_and_by_request_id_second(world: World) -> None:
    world.bill(AT, "0.1", billing="b1", request="other")
    world.bill(AT + 1, "0.2", request="r2")
    world.bill(AT + 2, "0.3", billing="b3", request="r3")
    world.write(
        line(AT, billing="b1", request="r1"),
        line(AT + 1, request="r2", stream=True),
        line(AT + 2, request="r3", stream=True),
    )
    found = piles(world)
    assert [(row.billing_id, row.matched_by) for row in found["matched"]] == [
        ("b1", "billing_transaction_id"), ("", "request_id"), ("b3", "request_id"),
    ]  # fmt: skip
    assert [row.route for row in found["matched"]] == ["chat"] * 3
    assert not has_gap(world)


def test_what_has_no_partner(world: World) -> None:
    world.bill(AT, "0.1", billing="b1", request="r1")
    world.write(
        line(NOON - 60, side="previous"), line(AT + 1, billing="b2", request="r2"),
        line(AT + 2, request="r3"),
    )  # fmt: skip
    found = piles(world)
    assert [(row.billing_id, row.reason) for row in found["billed-only"]] == [
        ("b1", "not in the log")
    ]
    assert [(row.request_id, row.reason) for row in found["logged-only"]] == [
        ("r2", "billing id unknown"), ("r3", "request id unknown"),
    ]  # fmt: skip
    assert has_gap(world)


def test_sums_do_not_round(world: World) -> None:
    world.bill(AT, "123456789012345.000000000000000001", billing="b1")
    world.bill(AT, "0.000000000000000000000001", billing="b2")
    world.write(line(AT, billing="b1"), line(AT, billing="b2"))
    with world.reconciled() as outcome:
        cost = outcome.piles.piles["matched"].all.cost
        assert f"{cost:f}" == "123456789012345.000000000000000001000001"


def test_a_refund_goes_with_what_it_pays_back(world: World) -> None:
    world.bill(AT, "0.5", billing="b1", request="r1")
    world.bill(AT + 60, "-0.2", billing="b1", request="r1")
    world.bill(AT, "0.5", billing="b2", request="r2")
    world.bill(AT + 60, "-0.5", billing="refund-of-b2", request="r2")
    world.bill(AT, "0.7", request="r3")
    world.bill(AT + 60, "-0.7", request="r3")
    world.bill(AT, "0.9", billing="b4", request="r4")
    world.bill(AT + 60, "-0.9", billing="b4")
    world.write(
        line(AT, billing="b1", request="r1"), line(AT, request="r2"), line(AT, request="r3"),
        line(AT, request="r4"),
    )  # fmt: skip
    found = piles(world)
    assert not found["billed-only"]
    assert sum(row.cost or 0 for row in found["matched"]) == Decimal("0.3")
    assert sum(row.reason == "refund" for row in found["matched"]) == 4


def test_a_refund_of_nothing_known_is_told_and_no_gap(world: World) -> None:
    world.bill(AT, "-0.2", billing="b1", request="r1")
    assert [row.reason for row in piles(world)["billed-only"]] == ["refund"]
    assert not has_gap(world)


def test_a_second_transaction_of_a_request_is_a_gap(world: World) -> None:
    world.bill(AT, "0.5", billing="b1", request="r1")
    world.bill(AT + 1, "0.5", billing="b2", request="r1")
    world.write(line(AT, billing="b1", request="r1"))
    found = piles(world)
    assert [row.billing_id for row in found["matched"]] == ["b1"]
    assert [(row.billing_id, row.reason) for row in found["billed-only"]] == [
        ("b2", "charged again")
    ]


def test_no_line_of_a_matched_transaction_is_left_for_another(world: World) -> None:
    world.bill(AT, "0.5", billing="b1", request="r1")
    world.bill(AT + 1, "0.5", billing="b2", request="r9")
    world.write(line(AT, billing="b1", request="r1"), line(AT + 1, billing="b1", request="r9"))
    found = piles(world)
    assert [(row.billing_id, row.reason) for row in found["billed-only"]] == [
        ("b2", "charged again")
    ]


def test_each_attempt_takes_a_record_of_its_own(world: World) -> None:
    for number in range(3):
        world.bill(AT + number, "0.1", billing=f"b{number}", request="same")
    world.write(*(line(AT + number, request="same", attempt=number) for number in range(2)))
    found = piles(world)
    assert [len(found[name]) for name in ("matched", "billed-only")] == [2, 1]
    world.write(line(AT + 5, request="same", attempt=3), line(AT + 6, request="same", attempt=4))
    found = piles(world)
    assert [len(found[name]) for name in ("matched", "billed-only", "logged-only")] == [3, 0, 1]


def test_the_lines_of_one_transaction_are_one(world: World) -> None:
    world.bill(AT, "0.5", billing="b1", request="r1")
    world.write(line(AT, billing="b1", request="r1"), line(AT + 1, billing="b1", request="r9"))
    found = piles(world)
    assert [len(found[name]) for name in PILES] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 503, "outcome": "error"},
        {"status": 400, "outcome": "error"},
        {"status": 0, "outcome": "error", "error": "timeout"},
        {"status": 200, "outcome": "error"},
        {"status": 200, "outcome": "empty"},
        {"status": 200, "outcome": "abandoned"},
    ],
)
def test_a_failed_request_is_not_missed_but_told_where_it_was_charged(
    world: World, fields: dict[str, Any]
) -> None:
    world.write(line(AT, request="r1", **fields), line(AT, request="r2", **fields))
    assert not has_gap(world)
    world.bill(AT, "0.5", billing="b1", request="r1")
    found = piles(world)
    assert [(row.request_id, row.reason) for row in found["matched"]] == [("r1", "failed")]
    assert not found["logged-only"]


def test_a_failed_line_with_a_billing_id_is_expected_to_be_billed(world: World) -> None:
    world.write(line(AT, status=504, outcome="error", billing="b1", request="r1"))
    assert [row.billing_id for row in piles(world)["logged-only"]] == ["b1"]


@pytest.mark.parametrize("fields", [{"operation": "count_tokens"}, {"cached": True}])
def test_what_costs_nothing_is_not_missed(world: World, fields: dict[str, Any]) -> None:
    world.write(line(AT, request="r1", **fields))
    assert not has_gap(world)
    world.write(line(AT, request="r2", operation="embeddings"))
    assert [row.request_id for row in piles(world)["logged-only"]] == ["r2"]


def test_the_previous_side_is_not_looked_at(world: World) -> None:
    world.write(line(AT, side="previous", request="r1"))
    with world.reconciled() as outcome:
        assert outcome.piles.log.lines == 0
        assert not outcome.piles.has_gap


def test_a_task_is_matched_by_what_its_polls_are_told(world: World) -> None:
    world.bill(AT + 100, "2", billing="b1")
    world.write(
        line(AT, route="clips", request="r1", task="t1"),
        line(AT + 60, route="clips", request="r8", task="t1", operation="task"),
        line(AT + 120, route="clips", request="r9", task="t1", operation="task", billing="b1"),
    )
    found = piles(world)
    assert [(row.route, row.task_id) for row in found["matched"]] == [("clips", "t1")]
    assert [len(found[name]) for name in PILES] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_task_that_failed_is_not_missed_but_told_where_it_was_charged(
    world: World, status: str
) -> None:
    for number in (1, 2):
        poll = {"route": "clips", "task": f"t{number}", "operation": "task"}
        world.write(
            line(AT, route="clips", request=f"r{number}", task=f"t{number}", task_status="open"),
            line(AT + 60, **poll, request=f"p{number}", task_status=status),
        )
    with world.reconciled() as outcome:
        assert (outcome.piles.has_gap, outcome.piles.log.uncharged) == (False, 4)
    world.bill(AT + 30, "2", billing="b1", request="r1")
    found = piles(world)
    assert [(row.request_id, row.reason) for row in found["matched"]] == [("r1", "failed")]
    assert [len(found[name]) for name in PILES] == [1, 0, 0, 0, 0]


def test_what_may_still_settle_is_no_gap(world: World) -> None:
    now = NOON + 3600
    world.write(line(now - 600, request="text"), line(now - 3000, route="clips", request="clip"))
    world.bill(now - 60, "0.5", billing="in flight")
    found = piles(world, now=now)
    assert {row.request_id or row.billing_id for row in found["settling"]} == {
        "text", "clip", "in flight"
    }  # fmt: skip
    assert not has_gap(world, now=now)
    assert has_gap(world, now=now, settle_s=300.0)
    assert has_gap(world, now=now, settle_async_s=300.0)
    late = piles(world, now=now + 7200)
    assert (len(late["logged-only"]), len(late["billed-only"])) == (2, 1)


def test_lines_without_an_id_are_compared_by_model(world: World) -> None:
    world.write(line(NOON - 60, side="previous"))
    world.write(line(AT), line(AT, request="redacted"), line(AT, model="gpt-5.4-mini"))
    world.bill(AT, "0.5")
    world.bill(AT, "0.25", billing="b1")
    world.write(line(NOON + 3500))
    with world.reconciled() as outcome:
        models = outcome.piles.without_ids()
        assert {name: (one.lines, other.records, other.cost) for name, (one, other)
                in models.items()} == {
            "gpt-5.4": (3, 2, Decimal("0.75")), "gpt-5.4-mini": (1, 0, Decimal(0)),
        }  # fmt: skip
        assert outcome.piles.unexplained == 2
        reasons = {row.reason for row in outcome.piles.rows("billed-only")}
        assert reasons == {"no id", "not in the log"}
        assert outcome.piles.has_gap


def test_clocks_that_differ_at_the_ends_of_the_period(world: World) -> None:
    world.bill(NOON - 30, "0.1", billing="b1")
    world.bill(NOON + 10, "0.2", billing="b2")
    world.bill(NOON + 3610, "0.3", billing="b3")
    world.bill(NOON + 3590, "0.4", billing="b4")
    world.write(
        line(NOON + 5, billing="b1"), line(NOON - 5, billing="b2"),
        line(NOON + 3595, billing="b3"), line(NOON + 3605, billing="b4"),
    )  # fmt: skip
    with world.reconciled() as outcome:
        assert [row.billing_id for row in outcome.piles.rows()] == ["b2", "b4"]
        assert outcome.piles.records.cost == Decimal("0.6")
        assert outcome.piles.edge_lines == 2
        assert not outcome.piles.has_gap


def test_a_record_that_settled_hours_after_its_line(world: World) -> None:
    world.write(line(NOON - 5 * 3600, request="r1"), line(AT, request="r2"))
    world.bill(AT, "0.1", billing="b1", request="r1")
    world.bill(AT + 5 * 3600, "0.2", billing="b2", request="r2")
    found = piles(world, now=NOW + 86_400)
    assert [row.billing_id for row in found["matched"]] == ["b1"]
    assert not found["logged-only"]


@pytest.mark.parametrize("odd", ["1970-01-01T00:00:09.000Z", "0001-01-01T00:00:00.000Z"])
def test_a_clock_that_was_not_set_makes_the_log_no_older(world: World, odd: str) -> None:
    world.bill(AT, billing="b1")
    world.write(line(AT + 60, request="r2"), {**line(AT + 61, request="r3"), "ts": odd})
    assert [row.reason for row in piles(world)["billed-only"]] == ["before the log"]


def test_a_log_that_begins_later_is_named_as_the_reason(world: World) -> None:
    world.bill(AT, "0.1", billing="b1")
    world.write(line(AT + 60, request="r1"))
    with world.reconciled() as outcome:
        assert [row.reason for row in outcome.piles.rows("billed-only")] == ["before the log"]
        assert any("no line from before" in words for words in outcome.words)


def test_of_a_route_or_an_org_no_record_is_missed(world: World) -> None:
    world.bill(AT, "0.1", billing="b1")
    world.bill(AT, "0.2", billing="b2")
    world.bill(AT, "0.4", billing="b3")
    world.write(
        line(AT, billing="b1"), line(AT, billing="b2", org="globex"), line(AT, request="r9")
    )
    for route in ("", "chat"):
        with world.reconciled(org="acme", route=route) as outcome:
            assert [row.billing_id for row in outcome.piles.rows("matched")] == ["b1"]
            assert [row.request_id for row in outcome.piles.rows("logged-only")] == ["r9"]
            assert not list(outcome.piles.rows("billed-only"))
            assert outcome.piles.elsewhere.cost == Decimal("0.6")
    with world.reconciled(org="globex") as outcome:
        assert not outcome.piles.has_gap


def test_of_one_key_no_line_is_missed(world: World) -> None:
    world.add_key("key_2", "second", "revoked")
    world.bill(AT, "0.1", billing="b1")
    world.bill(AT, "0.2", billing="b2", key="key_2")
    world.bill(AT, "0.4", billing="b3", key="key_2")
    world.write(line(AT, billing="b1"), line(AT, billing="b2"), line(AT, request="r9"))
    with world.reconciled(key="second") as outcome:
        assert outcome.piles.records.cost == Decimal("0.6")
        assert [row.billing_id for row in outcome.piles.rows("billed-only")] == ["b3"]
        assert not list(outcome.piles.rows("logged-only"))


def test_times_are_exact_to_the_microsecond(world: World) -> None:
    world.bill(NOON, "0.1", billing="first")
    world.sim.state.usage.append(
        world.bill(NOON + 3600, "0.2", billing="at the end, which is the next period's")
    )
    world.bill(NOON - 0.000001, "0.4", billing="just before")
    with world.reconciled() as outcome:
        assert [row.billing_id for row in outcome.piles.rows()] == ["first"]
    assert time_of(NOON) > time_of(NOON - 0.000001)


@pytest.mark.parametrize(
    "damage",
    [
        "cost = 'NaN'", "cost = '1e999999'", "cost = '1e-999999'", "cost = 'x'", "cost = x'ff'",
        "cost = ''", "at = 9223372036854775807", "at = -9223372036854775808", "at = 'yesterday'",
        "model = x'ff'", "key_id = x'ff'", "request_id = x'ff'", "billing_id = x'ff'",
        "tokens_in = 'many'",
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_named_as_damage(world: World, damage: str) -> None:
    """The bill would lack it, or end in a traceback."""
    world.bill(NOON + 1, billing="b1")
    world.bill(NOON + 2, billing="b2")
    with world.reconciled() as outcome:
        assert outcome.piles.records.records == 2
    (path,) = world.state.glob("usage-*.sqlite3")
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE records SET {damage} WHERE billing_id = 'b1'")
    db.close()
    with (
        pytest.raises(CorruptStore, match=rf"at {path} are corrupt: delete that file"),
        world.reconciled(offline=True) as outcome,
    ):
        next(outcome.piles.rows())
