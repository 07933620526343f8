"""Counting what budgets are of, over loopback: exactly, by period, and from kept days."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.budgets.spending import Spend, Spending, kept_spending, spending_path
from rollout_console.budgets.standing import Standing, standings_of
from rollout_console.common.errors import OperationError
from rollout_console.cost import day_cells, spending_count
from rollout_console.cost.bill import NOT_LOGGED
from rollout_console.cost.spending_count import Counted, count_spending
from rollout_console.reconcile.reconciliation import Asked, reconcile
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.parse import parse
from tests.cost.traffic import DAY, Traffic, costs_of
from tests.reconcile.world import NOON, World, line

MIDNIGHT = NOON - DAY / 2
"""October begins."""
BUDGETS = {
    "all": "", "chat": 'route = "chat"', "acme": 'org = "acme"', "both": 'org="acme"\nroute="chat"',
    "batch": 'key = "batch"', "id": 'key = "key_2"', "pair": 'key = "batch"\norg = "acme"',
}  # fmt: skip


@pytest.fixture
def traffic(world: World) -> Traffic:
    world.add_key("key_2", "batch")
    write_budgets(world, BUDGETS)
    return Traffic(world)


def write_budgets(world: World, named: dict[str, str], per: str = "month") -> None:
    text = world.path.read_text().partition("[budgets")[0]
    for name, what in named.items():
        text += f'[budgets.{name}]\nper = "{per}"\nlimit_usd = "0.01"\n{what}\n'
    world.path.write_text(text)


def counted(world: World, now: float, *, offline: bool = False) -> Counted:
    file = parse(world.path.read_bytes())
    return count_spending(
        world.room, file, world.path, world.state, offline=offline, clock=lambda: now
    )


def stand(world: World, found: Counted, now: float) -> dict[str, Standing]:
    some = standings_of(parse(world.path.read_bytes()), found.spending, now)
    return {one.budget.name: one for one in some}


def spent(world: World, now: float) -> dict[str, Decimal]:
    return {name: one.spent for name, one in stand(world, counted(world, now), now).items()}


def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Note which times are matched."""
    seen: list[tuple[float, float]] = []

    def noted(asked: Asked, *rest: object) -> object:
        seen.append((asked.since, asked.until))
        return reconcile(asked, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(spending_count, "reconcile", noted)
    return seen


def test_each_budget_has_what_is_of_it(world: World, traffic: Traffic) -> None:
    acme = traffic.send(NOON)
    globex = traffic.send(NOON + 1, org="globex")
    batch = traffic.send(NOON + 2, route="batch", key="key_2")
    loose = traffic.send(NOON + 3, key="key_2", logged=False)
    traffic.send(MIDNIGHT - 1)
    now = NOON + 4 * 3600
    found = stand(world, counted(world, now), now)
    assert {name: one.spent for name, one in found.items()} == {
        "all": acme + globex + batch + loose, "chat": acme + globex, "acme": acme + batch,
        "both": acme, "batch": batch + loose, "id": batch + loose, "pair": batch,
    }  # fmt: skip
    spends = {name: one.spend for name, one in found.items() if one.spend is not None}
    assert {one.unattributed for one in spends.values()} == {loose}
    assert spends["batch"].places == {"batch": ["acme"]}
    assert spends["chat"].places == {}
    # The last day reaches back over the period's begin.
    assert spends["all"].last_day == acme + globex + batch + loose + acme
    assert found["all"].until == now
    kept = kept_spending(spending_path(world.state, world.path, "default"))
    assert kept is not None
    assert kept.spends == counted(world, now).spending.spends


def test_periods_have_their_own_begin(world: World, traffic: Traffic) -> None:
    traffic.send(NOON - DAY)  # in September; the week from Monday, 28 September
    first = traffic.send(NOON)
    second = traffic.send(NOON + DAY)
    now = NOON + DAY + 4 * 3600
    for per, cost in (("day", second), ("month", first + second), ("week", first * 2 + second)):
        write_budgets(world, {"all": ""}, per)
        assert spent(world, now) == {"all": cost}, per


def test_final_days_are_matched_once_and_are_exact(
    world: World, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(line(MIDNIGHT - 3 * DAY, side="previous"))
    cost = [traffic.send(NOON + day * DAY, org=f"org-{day % 3}") for day in range(20)]
    seen = lines_read(monkeypatch)
    now = NOON + 20 * DAY
    assert spent(world, now)["chat"] == sum(cost)
    assert [(until - since) / DAY for since, until in seen] == [6.5, 7, 7]
    assert seen[0][1] == now  # the newest come first
    seen.clear()
    traffic.send(NOON + 19 * DAY + 60)
    world.log.write_text("")  # rotated away: only what is recent is no longer attributed
    found = stand(world, counted(world, now + 3600), now + 3600)
    assert [(until - since) / DAY for since, until in seen] == [pytest.approx(1.5 + 1 / 24)]
    assert found["chat"].spent == sum(cost[:-1])
    assert found["all"].spent == sum(cost) + cost[0]
    # A kept day that cannot be read is matched anew.
    (cells,) = world.state.glob("spent-days-*.sqlite3")
    cells.write_bytes(b"no database" * 500)
    again = counted(world, now + 3600)
    assert "are counted anew" in " ".join(again.words)
    after = stand(world, again, now + 3600)
    assert (after["all"].spent, after["chat"].spent) == (sum(cost) + cost[0], Decimal(0))


@pytest.mark.parametrize("cost", ["NaN", "1e999999", "x", ""])
def test_a_kept_amount_that_is_none_is_counted_anew(
    world: World, traffic: Traffic, cost: str
) -> None:
    sent = [traffic.send(NOON + day * DAY) for day in range(5)]
    now = NOON + 5 * DAY
    counted(world, now)
    (path,) = world.state.glob("spent-days-*.sqlite3")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE cells SET cost = ?", (cost,))
    found = counted(world, now)
    assert "are counted anew" in " ".join(found.words)
    assert stand(world, found, now)["chat"].spent == sum(sent)


def test_days_that_another_program_locks_are_done_without(
    world: World, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = [traffic.send(NOON + day * DAY) for day in range(5)]
    now = NOON + 5 * DAY
    counted(world, now)
    (path,) = world.state.glob("spent-days-*.sqlite3")
    before = path.read_bytes()
    monkeypatch.setattr(day_cells, "BUSY_S", 0.05)
    with closing(sqlite3.connect(path)) as db:
        db.execute("BEGIN EXCLUSIVE")
        found = counted(world, now)
        assert "cannot be read (database is locked)" in " ".join(found.words)
        assert stand(world, found, now)["chat"].spent == sum(cost)
        db.rollback()
    assert path.read_bytes() == before
    assert counted(world, now).words == []


def test_the_first_moment_of_a_period_is_counted(world: World, traffic: Traffic) -> None:
    traffic.send(MIDNIGHT - 5)
    assert spent(world, MIDNIGHT)["all"] == 0


def test_a_refund_lowers_it_in_the_period_in_which_it_comes(world: World, traffic: Traffic) -> None:
    cost = traffic.send(NOON)
    world.bill(NOON + 60, f"-{cost / 2}", request=world.sim.state.usage[-1].request_id)
    assert spent(world, NOON + 4 * 3600)["both"] == cost / 2


def test_a_log_that_begins_later_is_a_floor(world: World, traffic: Traffic) -> None:
    early = traffic.send(NOON, logged=False)
    late = traffic.send(NOON + 2 * DAY)
    now = NOON + 3 * DAY
    found = stand(world, counted(world, now), now)
    assert found["chat"].notes == [
        "$0.0055 is not attributed", "attributed since 3 Oct 12:00 UTC, where the log begins",
    ]  # fmt: skip
    assert found["chat"].spent == late
    assert (found["all"].spent, found["all"].notes) == (
        early + late, ["$0.0055 of it is not attributed"],
    )  # fmt: skip


def test_what_was_counted_stays_where_counting_fails(world: World, traffic: Traffic) -> None:
    cost = traffic.send(NOON)
    now = NOON + 4 * 3600
    first = counted(world, now).spending
    world.sim.state.faults.add({"kind": "error", "status": 403, "path": "/v1/management/api-keys"})
    with pytest.raises(ApiError):
        counted(world, now + 600)
    kept = kept_spending(spending_path(world.state, world.path, "default"))
    assert kept is not None
    assert (kept.until, kept.failed_at, kept.spends) == (now, now + 600, first.spends)
    assert "403" in kept.problem
    offline = counted(world, now + 900, offline=True)
    assert (offline.spending.until, offline.spending.problem) == (now, "")
    assert stand(world, offline, now + 900)["acme"].spent == cost
    # Where less was pulled, what is kept stays.
    (store,) = world.state.glob("usage-*.sqlite3")
    store.unlink()
    assert counted(world, now + 1200, offline=True).spending.until < now
    again = kept_spending(spending_path(world.state, world.path, "default"))
    assert again is not None
    assert (again.until, again.spends) == (now, offline.spending.spends)


def test_a_key_that_tokenlab_has_not_is_named(world: World, traffic: Traffic) -> None:
    write_budgets(world, {"typo": 'key = "bacth"', "all": ""})
    traffic.send(NOON)
    now = NOON + 4 * 3600
    found = stand(world, counted(world, now), now)
    assert found["typo"].notes == ["TokenLab has no API key 'bacth': correct key, or remove it"]
    assert not found["typo"].is_over
    assert found["all"].spent > 0


def test_every_view_of_cost_agrees(world: World, traffic: Traffic) -> None:
    for number in range(12):
        key = ("key_demo", "key_2")[number % 2]
        traffic.send(NOON + number, org=("acme", "globex")[number % 3 == 0], key=key,
                     logged=number % 4 != 3, tokens=(100 + number, 7))  # fmt: skip
    now = NOON + 4 * 3600
    found, bill = stand(world, counted(world, now), now), costs_of(world, MIDNIGHT, now, now).bill

    def of(view: str) -> dict[str, Decimal]:
        return {row.name: row.figures.cost for row in bill.by(view)}  # type: ignore[arg-type]

    assert found["all"].spent == bill.all.cost
    assert found["chat"].spent == of("route")["chat"]
    assert found["acme"].spent == of("org")["acme"]
    assert found["batch"].spent == of("key")["key_2"]
    spend = found["chat"].spend
    assert isinstance(spend, Spend)
    assert spend.unattributed == of("route")[NOT_LOGGED]


def test_a_state_folder_that_cannot_be_written_is_an_error_in_a_sentence(
    world: World, traffic: Traffic, tmp_path: Path
) -> None:
    traffic.send(NOON)
    world.state = tmp_path / "rollout.toml" / "no-folder"
    with pytest.raises(OperationError, match="cannot be kept"):
        counted(world, NOON + 3600)


def test_nothing_was_spent_in_an_empty_world(world: World, traffic: Traffic) -> None:
    found: Sequence[Spend] = counted(world, MIDNIGHT + 1).spending.spends
    assert {one.cost for one in found} == {Decimal(0)}
    assert Spending().a_day is None


def test_days_without_their_log_are_matched_again_when_it_is_back(
    world: World, traffic: Traffic
) -> None:
    """A mount that was away for one count must not lose whose a cost is, for good."""
    world.write(line(MIDNIGHT - 3 * DAY, side="previous"))
    sent = [traffic.send(NOON + day * DAY) for day in range(10)]
    now, away = NOON + 10 * DAY, world.log.with_name("away")
    world.log.rename(away)
    without = stand(world, counted(world, now), now)["chat"].spent
    away.rename(world.log)
    again = stand(world, counted(world, now + 600), now + 600)
    assert without < sum(sent)
    assert again["chat"].spent == again["all"].spent == sum(sent)
