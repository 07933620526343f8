"""A guard that lowers the shares of a budget that is spent, a step at a time, and says so."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rollout_console.budgets.periods import period_at
from rollout_console.budgets.spending import (
    Spend,
    Spending,
    keep_spending,
    scopes_at,
    spending_path,
)
from rollout_console.changes.errors import Conflict, DiskFull
from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard import budget_lowering
from rollout_console.guard.ramp_record import Place, RampRecord
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from tests.guard.test_guarding import Run, kinds, of

Make = Callable[..., "Budgeted"]
CREDENTIAL = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"


class Budgeted(Run):
    """A guard on a file with a budget, whose count is written here."""

    def spend(self, cost: str, *, age_s: float = 0.0, **more: object) -> None:
        """Count a second later: so much of each scope was spent, in this period and the next."""
        self.now += 1
        file = self.parsed()
        periods = scopes_at(file, self.now).items()
        begins = {scope: (period.begins, period.ends) for scope, period in periods}
        spends = [
            Spend(scope, at, Decimal(cost), **more)  # type: ignore[arg-type]
            for scope, both in begins.items()
            for at in both
        ]
        until = self.now - age_s
        keep_spending(
            Spending(until, spends, counted_at=until),
            spending_path(state_folder(), self.file, file.profile),
        )
        self.monitor.budgets._next_at = 0.0

    def parsed(self) -> RolloutFile:
        return parse(self.file.read_bytes())

    def lowered(self, after_s: float = 5.0) -> list[str]:
        turn = self.turn(after_s)
        assert not turn.trouble
        return [event.text for event in turn.events if event.kind == "lower"]

    def shares(self) -> dict[str, int]:
        route = self.parsed().routes["chat"]
        return {org: route.org_points(org) for org in route.orgs}


@pytest.fixture
def make(file: Path) -> Make:
    def made(
        budget: str = 'org = "acme"\nroute = "chat"\n',
        mode: str = "enforce",
        at_limit: str = "lower",
        **replaced: str,
    ) -> Budgeted:
        text = file.read_text().replace('bake = "15m"', 'bake = "60s"')
        text = text.replace('window = "5m"', 'window = "60s"').replace(
            'mode = "hold"  ', f'mode = "{mode}"  '
        )
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        text += f'[budgets.b]\nper = "month"\nlimit_usd = 10\nat_limit = "{at_limit}"\n{budget}'
        file.write_text(text)
        return Budgeted(file)

    return made


def test_what_an_operator_raises_stays_for_the_bake_time_and_a_new_count(make: Make) -> None:
    run = make()
    run.turn()
    run.spend("12")
    assert len(run.lowered()) == 1
    run.spend("13")
    run.turn(50)
    run.by_hand("acme", 2500)
    run.turn()
    assert run.lowered(30) == [], "its own bake time was over"
    run.spend("14")
    assert run.lowered(20) == []
    assert run.shares()["acme"] == 2500
    (said,) = run.lowered(20)
    assert said.startswith("lowered chat / acme 25% to 10%")


def test_it_lowers_step_by_step_and_climbs_again_in_the_next_period(make: Make) -> None:
    run = make()
    run.turn()
    run.spend("12")
    (said,) = run.lowered()
    month = period_at("month", run.now)
    words = f"budget b: $12 of $10 for {month.words}, until {month.until_words}"
    assert said == f"lowered chat / acme 25% to 10%: {words}"
    assert run.shares() == {"acme": 1000, "globex.eu": 1250, "initech": 1000}
    # Neither a new count alone nor the bake time alone is enough.
    run.spend("13")
    assert run.lowered(30) == []
    assert run.lowered(40) != []
    assert run.lowered(70) == []
    run.spend("14")
    assert run.lowered(1) == [f"lowered chat / acme 5% to 1%: {words.replace('$12', '$14')}"]
    run.now += 61
    run.spend("14")
    assert len(run.lowered(1)) == 1
    assert run.shares()["acme"] == 0
    run.now += 61
    run.spend("14")
    assert run.lowered(1) == []
    rows = run.switch.history.rows(run.file)
    assert [(r.user, r.action, r.org, r.before, r.after) for r in rows] == [
        ("guard", "set", "acme", "1", "0"), ("guard", "set", "acme", "5", "1"),
        ("guard", "set", "acme", "10", "5"), ("guard", "set", "acme", "25", "10"),
    ]  # fmt: skip
    assert rows[0].reason.startswith("budget b: $14 of $10 for ")
    # It is in its ramp still, held by the budget, and climbs once that is over.
    assert of(run.turn()).startswith("budget b: $14 of $10 for")
    run.spend("1")
    run.now += 61
    assert "raise" in kinds(run.turn())
    assert run.shares()["acme"] == 100


def test_no_operator_is_seen_in_its_own_steps_after_a_crash(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    run.turn()
    run.spend("12")
    keep = RampRecord.keep

    def died(self: RampRecord, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RampRecord, "keep", died)
    with pytest.raises(KeyboardInterrupt):
        run.turn()
    monkeypatch.setattr(RampRecord, "keep", keep)
    assert run.shares()["acme"] == 1000
    run.guarding.end()
    again = Budgeted(run.file)
    again.now = run.now
    turn = again.turn()
    assert "ramp" not in kinds(turn)
    assert "lower" not in kinds(turn)  # the time of the last lowering is on disk
    record = RampRecord(run.file, WriteAccess())
    assert record.read()["chat"].places["acme"].points == 1000
    assert [*record.lowered()] == [("b", "chat")]
    again.guarding.end()


def test_a_budget_of_all_lowers_every_share_but_what_is_rolled_back(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_lowering, "monotonic", lambda: 0.0)  # a busy machine has a turn, too
    run = make("", **{"default_percent = 0 ": "default_percent = 5 "})
    run.turn()
    run.spend("12")
    turn = run.turn()
    texts = [event.text.partition(": budget")[0] for event in turn.events if event.kind == "lower"]
    assert texts == [
        "lowered chat / (default) 5% to 1%, chat / acme 25% to 10%, chat / globex.eu 12.5% to 10%",
        "lowered chat / flag beta-testers 100% to 50%",
        "lowered claude / acme 1% to 0%",
    ]
    assert run.shares() == {"acme": 1000, "globex.eu": 1000, "initech": 1000}
    assert run.parsed().routes["chat"].org_rolled_back("initech")
    rows = [one for one in run.switch.history.rows(run.file) if one.route == "chat"]
    assert {(one.org, one.after) for one in rows} == {
        ("*", "1"), ("acme", "10"), ("globex.eu", "10"), ("beta-testers", "50"),
    }  # fmt: skip
    assert all(one.reason.startswith("budget b: $12 of $10") for one in rows)
    run.spend("12")
    assert run.lowered(70)
    assert run.parsed().routes["chat"].flags == {"beta-testers": 2500}


def test_an_org_that_was_set_by_hand_is_lowered_too_and_that_is_said(make: Make) -> None:
    run = make()
    run.turn()
    run.by_hand("acme", 5000)
    assert "ramp" in kinds(run.turn())
    run.now += 60
    run.spend("12")
    (said,) = run.lowered()
    assert said.endswith("; out of its ramp before: changed outside the guard from 25% to 50%")
    assert run.shares()["acme"] == 2500
    assert "out of its ramp before" in run.switch.history.rows(run.file)[0].reason
    assert of(run.turn()).startswith("changed outside the guard")


def test_an_org_without_a_line_gets_one_where_a_budget_names_it(make: Make) -> None:
    budget = 'key = "prod"\nroute = "chat"\n'
    run = make(budget, **{"default_percent = 0 ": "default_percent = 50 "})
    run.turn()
    run.spend("12", places={"chat": ["stark", "acme"], "claude": ["acme"]})
    (said,) = run.lowered()
    assert said.startswith("lowered chat / acme 25% to 10%, chat / stark 50% to 25%: ")
    assert run.shares() == {"acme": 1000, "globex.eu": 1250, "initech": 1000, "stark": 2500}
    assert run.parsed().routes["chat"].default_points == 5000


@pytest.mark.parametrize(
    ("mode", "at_limit", "spent", "age_s"),
    [
        ("hold", "lower", "12", 0.0), ("observe", "lower", "12", 0.0),
        ("enforce", "hold", "12", 0.0), ("enforce", "lower", "9.99", 0.0),
        ("enforce", "lower", "12", 7201.0),
    ],
)  # fmt: skip
def test_it_lowers_nothing_else(
    make: Make, mode: str, at_limit: str, spent: str, age_s: float
) -> None:
    run = make(mode=mode, at_limit=at_limit)
    run.turn()
    run.spend(spent, age_s=age_s)
    turn = run.turn()
    assert "lower" not in kinds(turn)
    assert run.shares()["acme"] == 2500
    would = [one.sentence for one in turn.alerts if "would lower its shares" in one.sentence]
    assert bool(would) == (mode != "enforce")


def test_a_standby_and_a_read_only_guard_lower_nothing(make: Make) -> None:
    run = make()
    run.turn()
    standby = Budgeted(run.file)
    reader = Budgeted(run.file, read_only=True)
    run.spend("12")
    for other in (standby, reader):
        other.monitor.budgets._next_at = 0.0
        assert "lower" not in kinds(other.turn())
        other.guarding.end()
    assert len(run.lowered()) == 1


@pytest.mark.parametrize("error", [Conflict("rollout.toml", "one", "two"), DiskFull("no space")])
def test_what_was_not_lowered_is_tried_again_in_the_next_turn(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = make("")
    run.turn()
    run.spend("12")
    apply = Switch.apply

    def refused(self: Switch, plan: Plan, **more: Any) -> Done:
        if plan.action in ("set_alias", "set_flag"):
            raise error
        return apply(self, plan, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Switch, "apply", refused)
        assert run.turn().trouble == str(error)
    said, _ = run.lowered(1)
    assert said.startswith("lowered chat / flag beta-testers 100% to 50%: budget b")


def test_a_time_ahead_of_the_clock_keeps_nothing_up(make: Make) -> None:
    run = make()
    run.turn()
    ahead = datetime.fromtimestamp(run.now + 86_400, UTC)
    record = RampRecord(run.file, WriteAccess())
    record.note_lowered("chat", "chat", {"b": ahead}, {"acme": Place(2500)})
    run.spend("12")
    assert len(run.lowered()) == 1


def test_what_can_have_no_line_is_no_org_of_a_key(make: Make) -> None:
    run = make('key = "prod"\n', **{"default_percent = 0 ": "default_percent = 5 "})
    run.turn()
    run.spend("12", places={"chat": ["", CREDENTIAL, "acme"]})
    (said,) = run.lowered()
    assert said.startswith("lowered chat / acme 25% to 10%: budget b")
    assert set(run.shares()) == {"acme", "globex.eu", "initech"}
    assert run.parsed().routes["chat"].default_points == 500


def test_an_alias_that_is_a_credential_is_lowered(make: Make) -> None:
    aliases = {"[routes.chat.keys] ": f"[routes.chat.keys]\n{CREDENTIAL} = 50\n"}
    run = make("", **aliases)
    run.turn()
    run.spend("12")
    said = run.lowered()
    assert len(said) == 4
    assert not [one for one in said if CREDENTIAL in one]
    assert run.parsed().routes["chat"].keys == {CREDENTIAL: 2500}
