"""The drill: the bill is 30% higher than planned, and ``--against`` says why.

Each cause is injected into the traffic of the simulator, alone, and is found with its amount.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.cost.difference import CAUSES, EVERYWHERE
from tests.cost.traffic import DAY, PRICES, Traffic, costs_of
from tests.reconcile.world import NOON, World, line, time_of

BEFORE = NOON - 7 * DAY
ORGS = ("acme", "globex", "stark")


def usual(
    traffic: Traffic, since: float, *, count: int = 20,
    change: Callable[[int, str], dict[str, object]] = lambda number, org: {},
) -> Decimal:  # fmt: skip
    """Send the usual traffic: three orgs, two models; ``change`` overrides single requests."""
    cost = Decimal(0)
    for org in ORGS:
        for number in range(count):
            model = "gpt-5.4" if number % 4 == 0 else "gpt-5.4-mini"
            given = {
                "org": org, "model": model, "tokens": (900 + 7 * number, 150 + 11 * (number % 5)),
                **change(number, org),
            }  # fmt: skip
            cost += traffic.send(since + number * 10, **given)  # type: ignore[arg-type]
    return cost


@dataclass
class Injected:
    """One cause: what the traffic of now is like."""

    cause: str
    send: Callable[[Traffic], object]
    says: str


def dearer(number: int, org: str) -> dict[str, object]:
    model = "gpt-5.4" if number % 4 == 0 else "gpt-5.4-mini"
    return {"prices": ("5", "30") if model == "gpt-5.4" else PRICES[model]}


def of_dear_models(number: int, org: str) -> dict[str, object]:
    return {"model": "gpt-5.4"} if number % 2 == 0 else {}


def longer(number: int, org: str) -> dict[str, object]:
    return {"tokens": (900 + 7 * number, 2 * (150 + 11 * (number % 5)))}


def retried(traffic: Traffic) -> None:
    usual(traffic, NOON)
    for number in range(10):
        traffic.send(NOON + number, attempt=2)


def charged_twice(traffic: Traffic) -> None:
    usual(traffic, NOON, change=lambda number, org: {"times": 2} if number < 5 else {})


def a_new_org(traffic: Traffic) -> None:
    usual(traffic, NOON)
    for number in range(10):
        traffic.send(NOON + number, org="initech")


def a_new_route(traffic: Traffic) -> None:
    usual(traffic, NOON)
    for number in range(10):
        traffic.send(NOON + number, route="batch")


def outside_of_the_gate(traffic: Traffic) -> None:
    usual(traffic, NOON)
    for number in range(10):
        traffic.send(NOON + number, logged=False)


INJECTED = [
    Injected("price", lambda one: usual(one, NOON, change=dearer),
             "$2.5 to $5 in, $15 to $30 out per million tokens"),
    Injected("volume", lambda one: usual(one, NOON, count=40), "20 to 40 requests"),
    Injected("mix", lambda one: usual(one, NOON, change=of_dear_models),
             "5 of 20 to 10 of 20 requests"),
    Injected("tokens per request", lambda one: usual(one, NOON, change=longer), "344 out"),
    Injected("retries and duplicates", retried, "0 to 10 charges"),
    Injected("retries and duplicates", charged_twice, "0 to 15 charges"),
    Injected("new org or route", a_new_org, "a new org, 10 requests"),
    Injected("new org or route", a_new_route, "a new route, 10 requests"),
    Injected("new org or route", outside_of_the_gate, "none before, 10 requests"),
]  # fmt: skip


@pytest.mark.parametrize("injected", INJECTED, ids=lambda one: f"{one.cause}: {one.says}")
def test_the_bill_is_higher_than_planned_and_the_cause_is_found(
    world: World, injected: Injected
) -> None:
    world.write(line(BEFORE - 2 * DAY, side="previous"))
    traffic = Traffic(world)
    earlier = usual(traffic, BEFORE)
    injected.send(traffic)
    found = costs_of(world, against_s=7 * DAY)
    difference = found.difference
    assert difference is not None
    assert difference.earlier == earlier
    assert difference.now == found.bill.all.cost > earlier * Decimal("1.02")
    assert sum(difference.causes.values(), Decimal(0)) == difference.amount
    assert sum((one.amount for one in difference.items), Decimal(0)) == difference.amount
    first, *others = difference.causes.items()
    assert first[0] == injected.cause
    if injected.cause in ("price", "tokens per request", "new org or route"):
        assert first[1] == difference.amount
    # What else moves with it, such as the tokens of other models, is far less.
    assert all(abs(amount) < difference.amount / 4 for _, amount in others), difference.causes
    assert any(injected.says in one.why for one in difference.items if one.cause == first[0])


def test_causes_that_lower_the_bill(world: World) -> None:
    world.write(line(BEFORE - 2 * DAY, side="previous"))
    traffic = Traffic(world)
    usual(traffic, BEFORE)
    usual(traffic, NOON, change=lambda number, org: {"org": "acme"} if org == "stark" else {})
    refunded = world.sim.state.usage[-1]
    back = world.sim.state.refund(refunded)
    world.sim.state.usage[-1] = type(back)(
        back.key_id, back.request_id, back.billing_id, back.model, 0, 0, back.cost,
        time_of(NOON + 900),
    )  # fmt: skip
    difference = costs_of(world, against_s=7 * DAY).difference
    assert difference is not None
    assert difference.causes["refunds"] == -refunded.cost == difference.amount
    assert difference.causes["gone org or route"] == -difference.causes["volume"] < 0


def test_several_causes_at_once_add_up(world: World) -> None:
    world.write(line(BEFORE - 2 * DAY, side="previous"))
    traffic = Traffic(world)
    usual(traffic, BEFORE)
    usual(traffic, NOON, count=31, change=lambda number, org: {
        **dearer(number, org), **longer(number, org),
        "times": 1 + (number == 3), "logged": number != 4,
    })  # fmt: skip
    a_new_org(traffic)
    difference = costs_of(world, against_s=7 * DAY).difference
    assert difference is not None
    assert sum(difference.causes.values(), Decimal(0)) == difference.amount
    assert set(difference.causes) == set(CAUSES)
    for cause in CAUSES[:2] + CAUSES[3:6]:
        assert difference.causes[cause] > 0, cause


def test_a_log_that_begins_between_the_periods_makes_no_org_new(world: World) -> None:
    traffic = Traffic(world)
    usual(traffic, BEFORE, change=lambda number, org: {"logged": False})
    usual(traffic, NOON, change=dearer)
    found = costs_of(world, against_s=7 * DAY)
    assert found.difference is not None
    assert not found.is_by_place
    assert found.difference.causes["price"] == found.difference.amount > 0
    assert {item.where.split("  ")[0] for item in found.difference.items} == {EVERYWHERE}
    assert any("is not told by route and org" in words for words in found.words)
    with pytest.raises(OperationError, match="does not go back"):
        costs_of(world, against_s=7 * DAY, route="chat")


def test_one_org_is_compared_alone(world: World) -> None:
    world.write(line(BEFORE - 2 * DAY, side="previous"))
    traffic = Traffic(world)
    usual(traffic, BEFORE)
    usual(traffic, NOON, change=lambda number, org: dearer(number, org) if org == "acme" else {})
    found = costs_of(world, against_s=7 * DAY, org="acme").difference
    other = costs_of(world, against_s=7 * DAY, org="stark").difference
    assert found is not None
    assert other is not None
    assert found.causes["price"] == found.amount > 0
    assert other.amount == 0
    assert other.items == []


def test_periods_that_overlap_are_refused(world: World) -> None:
    with pytest.raises(OperationError, match="overlap"):
        costs_of(world, since=NOON - 8 * DAY, against_s=7 * DAY)
