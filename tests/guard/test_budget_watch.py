"""What budgets and the runway have against raises: by what was counted, and however old it is."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.budgets.periods import period_at
from rollout_console.budgets.spending import (
    Spend,
    Spending,
    keep_spending,
    scopes_at,
    spending_path,
)
from rollout_console.changes.traffic_diff import Move
from rollout_console.common.folders import state_folder
from rollout_console.guard.alerts import Alerts, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.budget_watch import EVERY_S
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.objections import held_move
from rollout_console.tokenlab.types import Balance
from rollout_gate.file.parse import parse

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
FILE = """
schema = 1
algorithm = "fractional-v3"
[guard]
min_runway = "2d"
[routes.chat]
format = "openai_chat_completions"
phase = "rollout"
default_percent = 1
[routes.chat.orgs]
acme = 1
globex = 1
[routes.batch]
format = "openai_chat_completions"
[routes.batch.orgs]
acme = 1
"""

Watched = Callable[..., Monitor]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    def made(budget: str, spent: str = "12", age_s: float = 0.0, **more: object) -> Monitor:
        path = tmp_path / "rollout.toml"
        path.write_text(f'{FILE}[budgets.b]\nper = "month"\nlimit_usd = 10\n{budget}\n')
        file = parse(path.read_bytes())
        (scope,) = scopes_at(file, NOW)
        begins = period_at("month", NOW).begins
        spend = Spend(scope, begins, Decimal(spent), **more)  # type: ignore[arg-type]
        kept = Spending(NOW - age_s, [spend], Decimal(24), 86_400.0, NOW - age_s)
        keep_spending(kept, spending_path(state_folder(), path, "default"))
        monitor = Monitor(path, file)
        monitor.budgets.refresh(file, NOW)
        return monitor

    return made


def balance_of(amount: str) -> BalanceWatch:
    watch = BalanceWatch()
    for at in (NOW - 60, NOW):
        used = Decimal(1) if at == NOW else Decimal(0)
        watch.add(at, Balance("org", Decimal(amount), Decimal(0), used))
    return watch


def held(monitor: Monitor, route: str = "chat", name: str = "acme", subject: str = "org") -> bool:
    move = Move(route, subject, name, 0, 100)  # type: ignore[arg-type]
    words = held_move(monitor, {}, move, BalanceWatch(), NOW)
    assert words in ("", "budget b: $12 of $10 for November, until 1 Dec 00:00 UTC")
    return bool(words)


def told(monitor: Monitor, now: float = NOW) -> list[str]:
    found = alerts_now(monitor, BalanceWatch(), {}, "", now)
    some = [one for one in found if one.key[0] in ("budget", "budgets", "min_runway")]
    assert {one.level for one in some} <= {"warning"}
    return [one.sentence for one in some]


def test_a_budget_of_everything_holds_every_raise(watched: Watched) -> None:
    monitor = watched("")
    assert held(monitor)
    assert held(monitor, "batch")
    assert held(monitor, name="", subject="others")
    assert not held(watched("", "9.99"))


def test_a_budget_holds_what_it_covers_alone(watched: Watched) -> None:
    of_route = watched('route = "chat"')
    assert [held(of_route, route) for route in ("chat", "batch")] == [True, False]
    of_org = watched('org = "acme"')
    assert [held(of_org, name=org) for org in ("acme", "globex")] == [True, False]
    # The default is not acme's, which has a percent of its own; an alias or a flag may be.
    assert not held(of_org, name="", subject="others")
    assert held(of_org, name="beta", subject="flag")
    assert held(watched('org = "initech"'), name="", subject="others")


def test_a_budget_of_a_key_covers_the_orgs_that_used_it(watched: Watched) -> None:
    monitor = watched('key = "prod"', places={"chat": ["acme"]})
    assert held(monitor)
    assert not held(monitor, name="globex")
    assert not held(monitor, "batch")
    assert held(monitor, name="", subject="others")
    assert not held(monitor, "batch", name="", subject="others")


def test_observe_holds_nothing_and_tells(watched: Watched) -> None:
    monitor = watched('at_limit = "lower"\n[routes.chat.guard]\nmode = "observe"')
    assert not held(monitor)
    assert held(monitor, "batch")
    assert told(monitor) == [
        "budget b: $12 (just now) of $10 for November, until 1 Dec 00:00 UTC; would lower its"
        " shares: the guard's mode there is observe"
    ]


def test_80_percent_is_told_and_100_again(watched: Watched) -> None:
    assert told(watched("", "7.99")) == []
    near = watched("", "8")
    assert told(near) == ["budget b: $8 (just now) of $10 for November: 80% is spent"]
    assert not held(near)
    alerts = Alerts()
    for spent, began in (("8", 1), ("9", 0), ("12", 1), ("12.5", 0)):
        monitor = watched("", spent)
        new, _ = alerts.look(alerts_now(monitor, BalanceWatch(), {}, "", NOW), NOW)
        assert len([one for one in new if one.key[0] == "budget"]) == began
    (one,) = [one for one in alerts.open if one.key[2] == "over"]
    assert one.sentence == "budget b: $12.50 (just now) of $10 for November, until 1 Dec 00:00 UTC"


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (59, "just now"),
        (599, "9 m ago"),
        (7_199, "119 m ago"),
        (7_200, "2 h ago"),
        (-30, "just now"),
    ],
)
def test_an_amount_says_how_old_it_is(watched: Watched, age_s: float, words: str) -> None:
    found = told(watched("", age_s=age_s))
    assert found[0] == f"budget b: $12 ({words}) of $10 for November, until 1 Dec 00:00 UTC"


def test_a_stale_count_holds_what_it_held_until_the_period_ends(watched: Watched) -> None:
    old = watched("", age_s=3 * 3600)
    assert held(old)
    assert told(old)[-1] == ("budgets are stale: counted up to 20 Nov 09:00 UTC, 3 h ago")
    assert not held(watched("", "9", age_s=9 * 86_400))
    monitor = watched("")
    move = Move("chat", "org", "acme", 0, 100)
    december = period_at("month", NOW).ends
    assert held_move(monitor, {}, move, BalanceWatch(), december) == ""


def test_what_was_never_counted_holds_nothing_and_is_told(watched: Watched) -> None:
    monitor = watched("")
    path = spending_path(state_folder(), monitor.log_path.with_name("rollout.toml"), "default")
    path.unlink()
    fresh = Monitor(path, monitor.file)
    fresh = Monitor(monitor.log_path.with_name("rollout.toml"), monitor.file)
    fresh.budgets.refresh(fresh.file, NOW)
    assert not held(fresh)
    assert told(fresh) == []
    words = "budgets were never counted: run rollout-console budgets"
    assert told(fresh, NOW + 301) == [words]
    keep_spending(Spending(failed_at=NOW, problem="no token"), path)
    fresh.budgets._next_at = 0.0
    fresh.budgets.refresh(fresh.file, NOW)
    assert told(fresh) == ["budgets were never counted: no token"]
    path.write_bytes(b"\xff{")
    fresh.budgets._next_at = time.monotonic() - EVERY_S
    fresh.budgets.refresh(fresh.file, NOW)
    assert not held(fresh)


def test_a_new_count_and_a_new_limit_are_in_force_at_once(watched: Watched, tmp_path: Path) -> None:
    monitor = watched("")
    assert held(monitor)
    text = (tmp_path / "rollout.toml").read_text().replace("limit_usd = 10", "limit_usd = 100")
    monitor.configure(parse(text.encode()), NOW)
    assert not held(monitor)


@pytest.mark.parametrize(
    ("amount", "fresh", "says"),
    [
        ("40", True, "the balance lasts for 40 h at the burn of the last 24 h, and min_runway is"),
        ("50", True, ""),
        # The samples burn a dollar a minute: $50 last 50 minutes, $3,000 last 50 hours.
        ("50", False, "the balance lasts for 50 m at the burn of the last 60 s, and min_runway is"),
        ("3000", False, ""),
    ],
)
def test_a_runway_below_the_plan_holds(
    watched: Watched, amount: str, fresh: bool, says: str
) -> None:
    monitor = watched("", "1", age_s=0.0 if fresh else 3 * 3600)
    balance = balance_of(amount)
    settings = monitor.file.routes["chat"].guard
    words = monitor.held("chat", "acme", 0, 100, balance, NOW)
    if balance.hold(settings.min_balance_usd, NOW):
        words = monitor.budgets.short_runway(settings.min_runway_s, balance, NOW)
    assert words.startswith(says) if says else not words
    found = [one for one in alerts_now(monitor, balance, {}, "", NOW) if one.key == ("min_runway",)]
    assert [one.sentence for one in found] == ([words] if says else [])


def test_an_unknown_runway_holds_nothing(watched: Watched) -> None:
    monitor = watched("", "1", age_s=3 * 3600)
    once = BalanceWatch()
    once.add(NOW, Balance("org", Decimal(60), Decimal(0), Decimal(0)))
    assert monitor.held("chat", "acme", 0, 100, once, NOW) == ""
    assert monitor.held("chat", "acme", 0, 100, BalanceWatch(), NOW) == ""


def test_ten_thousand_budgets_are_judged_quickly(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    orgs = range(10_000)
    lines = "".join(f"o{n} = 1\n" for n in orgs)
    text = "".join(f'[budgets.b{n}]\norg = "o{n}"\nper = "month"\nlimit_usd = 1\n' for n in orgs)
    path.write_text(f"{FILE}{lines}{text}")
    file = parse(path.read_bytes())
    begins = period_at("month", NOW).begins
    spends = [Spend(scope, begins, Decimal(2)) for scope in scopes_at(file, NOW)]
    keep_spending(Spending(NOW, spends), spending_path(state_folder(), path, "default"))
    monitor = Monitor(path, file)
    monitor.budgets.refresh(file, NOW)
    began = time.process_time()
    held = [monitor.budgets.held(file, "batch", f"o{n}", NOW) for n in orgs]
    assert all(held)
    assert time.process_time() - began < 5.0
    assert told(monitor)[-1].startswith("9,980 more budgets are near their limit, or over it")
