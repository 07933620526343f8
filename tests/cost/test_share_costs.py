"""What a raise would add a day: linear in the share, from what was pulled, or why it is unknown."""

import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.changes.plan import ALL_ORGS, Plan
from rollout_console.changes.recorded import Recorded
from rollout_console.changes.switch import Switch
from rollout_console.cost import share_costs
from rollout_console.cost.share_costs import (
    KEPT_S,
    ShareCost,
    ShareCosts,
    ShareTally,
    added_by,
    keep,
    kept,
    kept_path,
)
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.reconcile.piles import Row
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from tests.support.waiting import soon

NOW = 1_790_000_000.0
HOUR = 3600.0
FILE = """
schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
default_percent = 5
[routes.chat.orgs]
acme = 10
globex = 20
initech = { percent = 40, rolled_back = true }
[routes.flagged]
format = "openai_chat_completions"
[routes.flagged.orgs]
acme = 10
[routes.flagged.flags]
beta = 100
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "costs"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.toml"
    path.write_text(FILE)
    os.utime(path, (NOW - 90 * HOUR, NOW - 90 * HOUR))
    return path


@pytest.fixture
def switch(path: Path) -> Switch:
    made = Switch(path, History(path.with_name("h.sqlite3")), Actor("jo", "gw", ""))
    made.open()
    return made


def share(points: int, a_day: str, seconds: float = 23 * HOUR) -> ShareCost:
    return ShareCost(points, Decimal(a_day), seconds)


def keep_costs(path: Path, folder: Path, until: float = NOW - HOUR, **routes: object) -> None:
    costs = ShareCosts(until, routes)  # type: ignore[arg-type]
    keep(costs, kept_path(folder, path, parse(path.read_bytes()).base_url))


def added(plan: Plan, path: Path, folder: Path, now: float = NOW) -> str:
    return added_by(plan, path, folder, now)


def test_a_step_adds_in_proportion(path: Path, folder: Path, switch: Switch) -> None:
    keep_costs(path, folder, chat={"acme": share(1000, "4.96"), "globex": share(2000, "2")})
    plan = switch.planner.plan_set("chat", "acme", 3500)
    said = "about +$12.40 a day on TokenLab, from its cost in 23 h, 60 m ago"
    assert added(plan, path, folder) == said
    both = switch.planner.plan_sets([("chat", "acme"), ("chat", "globex")], lambda *_: 4000)
    assert "about +$16.88 a day" in added(both, path, folder)
    tiny = switch.planner.plan_set("chat", "globex", 2001)
    assert "about less than +$0.01 a day" in added(tiny, path, folder)


def test_a_share_that_was_changed_since_is_still_linear(
    path: Path, folder: Path, switch: Switch
) -> None:
    keep_costs(path, folder, chat={"acme": share(500, "1")})
    assert "+$2.00 a day" in added(switch.planner.plan_set("chat", "acme", 2000), path, folder)


def test_resuming_adds_what_was_there(path: Path, folder: Path, switch: Switch) -> None:
    keep_costs(path, folder, chat={"initech": share(4000, "7.5")})
    assert "+$7.50 a day" in added(switch.planner.plan_resume("chat", "initech"), path, folder)


def test_the_default_share_is_of_orgs_without_a_line(
    path: Path, folder: Path, switch: Switch
) -> None:
    keep_costs(
        path, folder, chat={"acme": share(1000, "9"), "x": share(500, "1"), "y": share(500, "2")}
    )
    plan = switch.planner.plan_set("chat", ALL_ORGS, 1000)
    assert "+$3.00 a day" in added(plan, path, folder)


def test_what_is_not_known_of_some_is_said(path: Path, folder: Path, switch: Switch) -> None:
    keep_costs(path, folder, chat={"acme": share(1000, "1")})
    both = switch.planner.plan_sets([("chat", "acme"), ("chat", "globex")], lambda *_: 4000)
    assert added(both, path, folder).endswith("nothing is known of 1 of 2 shares")


RUN_COST = "added cost unknown: no cost was added up within a day (rollout-console cost)"


def test_why_nothing_is_known_is_said(path: Path, folder: Path, switch: Switch) -> None:
    plan = switch.planner.plan_set("chat", "acme", 3500)
    assert added(plan, path, folder) == RUN_COST, "nothing was pulled"
    keep_costs(path, folder, chat={"globex": share(2000, "1")})
    said = "added cost unknown: its share has no cost of an hour or more"
    assert added(plan, path, folder) == said, "nothing of this org"
    first = switch.planner.plan_set("chat", "new", 600)
    assert added(first, path, folder) == said, "it had the default share"
    resumed = switch.planner.plan_resume("chat", "initech")
    none = "added cost unknown: nothing of it is on TokenLab to tell from"
    assert added(resumed, path, folder) == none
    alias = switch.planner.plan_share("chat", "keys", "batch", 3500)
    assert added(alias, path, folder) == (
        "added cost unknown: costs are not known by key alias or flag"
    )
    keep_costs(path, folder, chat={"acme": share(1000, "1")})
    assert added(plan, path, folder).startswith("about +$2.50 a day")
    assert added(switch.planner.plan_set("chat", "acme", 500), path, folder) == "", "it is lowered"
    assert added(plan, path, folder, NOW - HOUR + KEPT_S + 1) == RUN_COST, "too old"
    assert added(plan, path, folder, NOW - HOUR - KEPT_S - 1) == RUN_COST, "of a clock set back"
    assert added(plan, path.with_name("other.toml"), folder) == RUN_COST, "of another file"


@pytest.mark.parametrize(
    "text",
    [
        '{"until": "soon"}', "", "[]",
        '{"until":1789996400,"routes":{"chat":{"acme":[1000,"NaN",9]}}}',
        '{"until":1789996400,"routes":{"chat":{"acme":[1000,"1E+999999",9]}}}',
        '{"until":1789996400,"routes":{"chat":{"acme":[1000,"1",1e308]}}}',
        '{"until":1789996400,"routes":{"chat":{"acme":[0,"1",9]}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_none(path: Path, folder: Path, switch: Switch, text: str) -> None:
    keep_costs(path, folder)
    kept_path(folder, path, parse(path.read_bytes()).base_url).write_text(text)
    assert added(switch.planner.plan_set("chat", "acme", 3500), path, folder) == RUN_COST


def test_where_flags_or_aliases_move_traffic_as_well_it_is_a_bound(
    path: Path, folder: Path, switch: Switch
) -> None:
    """An org's cost is of its own share and of what a flag added: never less than the former."""
    keep_costs(
        path, folder, flagged={"acme": share(1000, "4.961")}, chat={"acme": share(1000, "1")}
    )
    plan = switch.planner.plan_set("flagged", "acme", 3500)
    assert added(plan, path, folder) == (
        "at most +$12.41 a day on TokenLab, from its cost in 23 h, with what aliases and flags"
        " added, 60 m ago"
    )
    places = [("flagged", "acme"), ("chat", "acme")]
    both = switch.planner.plan_sets(places, lambda *_: 3500)
    assert added(both, path, folder).startswith("at most +$14.91 a day")


def test_a_flag_that_was_there_when_it_was_counted_makes_a_bound(
    path: Path, folder: Path, switch: Switch
) -> None:
    costs = ShareCosts(NOW - HOUR, {"chat": {"acme": share(1000, "1")}}, ("chat",))
    keep(costs, kept_path(folder, path, parse(path.read_bytes()).base_url))
    plan = switch.planner.plan_set("chat", "acme", 3500)
    assert added(plan, path, folder).startswith("at most +$2.50 a day")


def test_a_slow_disk_does_not_delay_a_confirm(
    path: Path, folder: Path, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = kept_path(folder, path, parse(path.read_bytes()).base_url)
    folder.mkdir()
    os.mkfifo(fifo)  # a read of it blocks for as long as nobody writes
    monkeypatch.setattr(share_costs, "WAIT_S", 0.05)
    with soon():
        said = added(switch.planner.plan_set("chat", "acme", 3500), path, folder)
    assert said == "added cost unknown: what cost has kept cannot be read in time"
    os.close(os.open(fifo, os.O_WRONLY))


def row(at: float, cost: str, org: str = "acme", route: str = "chat", pile: str = "matched") -> Row:
    return Row(pile, at=0, line_at=round(at * 1e6), route=route, org=org, cost=Decimal(cost))  # type: ignore[arg-type]


def tally(file: RolloutFile, recorded: Recorded, changed_at: float, *rows: Row) -> ShareCosts:
    until = NOW - HOUR
    made = ShareTally(file, recorded, changed_at, NOW - 24 * HOUR, until)
    for one in rows:
        made.add(one)
    return made.found()


def test_a_tally_is_of_the_share_that_is_there(path: Path, switch: Switch) -> None:
    file = parse(path.read_bytes())
    found = tally(
        file, Recorded(), NOW - 90 * HOUR,
        row(NOW - 24 * HOUR, "1.15"), row(NOW - 24 * HOUR - 1, "100"), row(NOW - HOUR, "100"),
        row(NOW - 2 * HOUR, "0.23", org="x"), row(NOW - 2 * HOUR, "5", org="initech"),
        row(NOW - 2 * HOUR, "5", route="flagged"), row(NOW - 2 * HOUR, "5", pile="billed-only"),
        row(NOW - 2 * HOUR, "5", route="gone"), row(NOW - 2 * HOUR, "-5", org="globex"),
    )  # fmt: skip
    assert found.routes == {
        "chat": {"acme": share(1000, "1.2"), "x": share(500, "0.24")},
        "flagged": {"acme": share(1000, "5.217391304347826086956521739")},
    }
    assert found.mixed == ("flagged",)
    assert found.until == NOW - HOUR


def test_a_tally_begins_at_the_last_change_of_the_share(path: Path) -> None:
    clock = [NOW - 50 * HOUR]
    history = History(path.with_name("h.sqlite3"))
    switch = Switch(
        path, history, Actor("jo", "gw", ""), clock=lambda: datetime.fromtimestamp(clock[0], UTC)
    )
    switch.open()
    for ago, org, points in ((50, "globex", 1500), (5, "acme", 2000), (1.5, "globex", 2500)):
        clock[0] = NOW - ago * HOUR
        switch.apply(switch.planner.plan_set("chat", org, points), reason="")
    file = switch.open().file
    rows = (
        row(NOW - 6 * HOUR, "70"), row(NOW - 4 * HOUR, "3"), row(NOW - 1.2 * HOUR, "1"),
        row(NOW - 1.2 * HOUR, "9", org="globex"), row(NOW - 8 * HOUR, "23", org="x"),
    )  # fmt: skip
    found = tally(file, switch.recorded(), NOW, *rows).routes["chat"]
    assert found["acme"] == ShareCost(2000, Decimal(24), 4 * HOUR)
    assert found["x"] == ShareCost(500, Decimal(24), 23 * HOUR)
    assert "globex" not in found, "its share is half an hour old"
    edited = tally(file, Recorded(), NOW - 3 * HOUR, *rows).routes["chat"]
    assert edited["acme"] == ShareCost(2000, Decimal(12), 2 * HOUR), "of an edit by hand"
    assert "x" not in edited


def test_a_log_that_is_younger_than_an_hour_has_nothing_of_any_share(path: Path) -> None:
    begun = NOW - 0.5 * HOUR
    made = ShareTally(parse(path.read_bytes()), Recorded(), NOW, begun, NOW - HOUR)
    made.add(row(begun, "1"))
    assert made.found() == ShareCosts(NOW - HOUR, {})


def test_what_is_kept_is_private_and_read_again(path: Path, folder: Path) -> None:
    costs = ShareCosts(NOW, {"chat": {"acme": share(1000, "0.000000000000000000000000000001")}})
    where = kept_path(folder, path, "https://api.tokenlab.sh/v1")
    assert where == kept_path(folder, path, "https://api.tokenlab.sh")
    keep(costs, where)
    assert where.stat().st_mode & 0o777 == 0o600
    assert kept(where, NOW) == costs
    folder.chmod(0o500)
    keep(ShareCosts(NOW, {}), where / "none")
    folder.chmod(0o700)
    assert kept(where, NOW) == costs
