"""Costs over loopback: attribution, burn, runway, filters, and what was pulled before."""

from decimal import Decimal

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.cost.bill import ELSEWHERE, NOT_LOGGED
from rollout_console.cost.costs import Costs
from rollout_console.cost.share_costs import kept, kept_path
from rollout_console.reconcile.money import total
from tests.cost.traffic import DAY, Traffic, costs_of
from tests.reconcile.world import NOON, NOW, World

END = NOON + 3600


@pytest.fixture
def traffic(world: World) -> Traffic:
    world.add_key("key_2", "batch")
    return Traffic(world)


def named(costs: Costs, view: str) -> dict[str, Decimal]:
    return {row.name: row.figures.cost for row in costs.bill.by(view)}  # type: ignore[arg-type]


def test_each_cost_is_attributed(world: World, traffic: Traffic) -> None:
    acme = traffic.send(NOON)
    globex = traffic.send(NOON + 1, org="globex", model="gpt-5.4-mini", tokens=(50, 7))
    batch = traffic.send(NOON + 2, route="batch", key="key_2", tokens=(1, 1))
    unknown = traffic.send(NOON + 3, key="key_2", tokens=(3, 5), logged=False)
    found = costs_of(world, now=END + 3 * 3600)
    whole = acme + globex + batch + unknown
    assert found.bill.all.cost == whole
    assert named(found, "route") == {"chat": acme + globex, "batch": batch, NOT_LOGGED: unknown}
    assert named(found, "org") == {"acme": acme + batch, "globex": globex, NOT_LOGGED: unknown}
    assert named(found, "model") == {"gpt-5.4": acme + batch + unknown, "gpt-5.4-mini": globex}
    assert named(found, "key") == {"key_demo": acme + globex, "key_2": batch + unknown}
    assert named(found, "day") == {"2026-10-01": whole}
    assert found.bill.all.tokens == 1200 + 57 + 2 + 8
    assert not found.is_settling
    assert (
        found.words == ["the log has no line from before 2026-10-01 12:00:00Z"] or not found.words
    )


def test_what_is_left_out_is_a_row(world: World, traffic: Traffic) -> None:
    acme = traffic.send(NOON)
    globex = traffic.send(NOON + 1, org="globex")
    unknown = traffic.send(NOON + 2, logged=False)
    found = costs_of(world, route="chat", org="acme")
    for view in ("route", "org", "model", "key", "day"):
        rows = named(found, view)
        assert rows[ELSEWHERE] == globex
        assert rows[NOT_LOGGED] == unknown
        assert total(rows.values()) == found.bill.all.cost
    assert found.bill.chosen.cost == acme
    of_key = costs_of(world, key="batch")
    assert of_key.bill.all.cost == 0


def test_burn_is_of_the_last_day_against_the_days_before(world: World, traffic: Traffic) -> None:
    last = traffic.send(END - DAY) + traffic.send(END - 1, key="key_2")
    before = traffic.send(END - DAY - 1) + traffic.send(END - 5 * DAY)
    traffic.send(END - 9 * DAY)
    burn = costs_of(world).burn
    assert (burn.cost, burn.before, burn.until) == (last, before, END)
    assert set(burn.by_key) == {"key_demo", "key_2"}
    assert total(burn.by_key.values()) == last
    # The first record that is known is of five days before the end, four before the last day.
    assert burn.before_days == 4
    assert burn.before_a_day == before / 4
    assert burn.change == (last - before / 4) * 100 / (before / 4)
    assert costs_of(world, since=END - DAY).bill.all.cost == burn.cost


def test_a_first_day_has_nothing_to_compare(world: World, traffic: Traffic) -> None:
    cost = traffic.send(END - 3_600)
    burn = costs_of(world).burn
    assert burn.before_days is None
    assert (burn.span_s, burn.a_day(burn.cost)) == (3_600, 24 * cost)
    before = costs_of(world, since=END - 3 * DAY, until=END - 2 * DAY).burn
    assert not before.cost
    assert before.span_s == DAY, "nothing was billed yet: it is not of a minute alone"
    assert burn.before_a_day is None
    assert burn.change is None


def test_runway_of_the_balance_and_of_each_key_with_a_limit(world: World, traffic: Traffic) -> None:
    traffic.send(END - 2 * DAY)
    one = traffic.send(END - 100)
    two = traffic.send(END - 50, key="key_2")
    keys = world.sim.state.keys
    keys["key_2"].limit, keys["key_2"].used = Decimal(10), Decimal("7.5")
    world.add_key("key_3", "idle")
    keys["key_3"].limit = Decimal(5)
    found = costs_of(world, until=END, now=END + 10)
    assert found.balance is not None
    assert found.balance.left == world.sim.state.balance
    assert found.balance.seconds == float(found.balance.left / (one + two)) * DAY
    limited, idle = found.limits
    assert (limited.key, limited.left, limited.a_day) == ("key_2", Decimal("2.5"), two)
    assert limited.seconds == float(Decimal("2.5") / two) * DAY
    assert (idle.key, idle.seconds) == ("key_3", None)
    keys["key_2"].used = Decimal(11)
    spent = costs_of(world, until=END, now=END + 20).limits[0]
    assert (spent.left, spent.seconds) == (Decimal(-1), 0.0)
    # A period that is long past says nothing of the money of now.
    assert costs_of(world, until=END, now=END + 2 * 3600).balance is None


def test_a_balance_that_cannot_be_asked_is_a_warning(world: World, traffic: Traffic) -> None:
    traffic.send(NOON)
    world.sim.state.faults.add({"kind": "error", "status": 403, "path": "/v1/management/balance"})
    found = costs_of(world, until=END, now=END + 10)
    assert found.balance is None
    assert found.limits == ()
    assert any("balance and limits are not known" in words for words in found.words)
    assert found.bill.all.requests == 1


def test_no_pull_uses_what_was_pulled(world: World, traffic: Traffic) -> None:
    first = traffic.send(NOON)
    assert costs_of(world, offline=True).bill.all.cost == 0
    costs_of(world, now=END - 1800)
    traffic.send(NOON + 60)
    asked = len(world.sim.state.requests)
    found = costs_of(world, offline=True)
    assert len(world.sim.state.requests) == asked
    assert found.bill.all.cost == first
    assert found.horizon == END - 1800
    assert found.age_s == NOW - found.horizon
    assert found.balance is None
    assert found.is_settling


def test_the_last_hour_is_settling(world: World, traffic: Traffic) -> None:
    traffic.send(END - 60, logged=False)
    found = costs_of(world, now=END + 60)
    assert found.is_settling
    assert found.bill.settling.requests == 1
    assert not costs_of(world, now=END + 3 * 3600).is_settling


def test_an_unknown_key_is_refused(world: World) -> None:
    with pytest.raises(OperationError, match="there is no API key 'nobody'"):
        costs_of(world, key="nobody")


def test_costs_of_a_log_younger_than_an_hour_are_kept_as_none_of_any_share(
    world: World, traffic: Traffic
) -> None:
    """So a confirm says that shares have no cost yet, and not to run what was run just now."""
    traffic.send(END - 600)
    costs_of(world, since=END - DAY, until=END, now=END + 10)
    where = kept_path(world.state, world.path, world.sim.base_url)
    found = kept(where, END)
    assert found is not None
    assert found.routes == {}
    where.unlink()
    costs_of(world, since=END - 600, until=END, now=END + 10)
    assert not where.exists(), "a period of minutes says nothing of shares"
