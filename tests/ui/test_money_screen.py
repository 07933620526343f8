"""The money screen on the simulator: pulled, drilled down, reconciled, exported, left and found."""

import csv
import json
import os
import signal
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from textual.widgets import Input

from rollout_console.reconcile.pull_lock import pull_lock
from rollout_console.sim.server import SimServer
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.screens.money.actions import RecordDialog
from rollout_console.ui.screens.money.screen import MoneyScreen
from tests.cost.traffic import DAY, Traffic
from tests.reconcile.world import line as log_line
from tests.support.waiting import has_ended, until, until_shown
from tests.ui.money_screens import (
    Running,
    app_of,
    at,
    billed,
    dialog,
    kept_store,
    line,
    listed,
    opened,
    pressed,
    pulled,
    rows,
    screen,
    shown,
    texts,
)


@pytest.fixture
def traffic(sim: SimServer, tmp_path: Path) -> Traffic:
    return billed(sim, tmp_path)


async def test_before_the_first_pull_it_says_what_to_do(traffic: Traffic) -> None:
    async with shown(traffic.world.path, (80, 24), token="", read_only=True) as pilot:
        assert "No usage record was pulled yet: p pulls" in texts(pilot, "about")
        assert "pulled" not in line(pilot, "status")
        await pilot.press("p")
        await until_shown(pilot, lambda: "a on the keys screen (2) gives" in line(pilot, "notice"))
        assert "no management token for profile 'default'" in line(pilot, "notice")
        await pilot.press("e")
        assert "read-only: nothing is written" in line(pilot, "notice")
        await pressed(pilot, "m", "d", "c")
        assert not kept_store(traffic.world).exists(), "looking writes nothing"


async def test_the_bill_is_drilled_down_and_adds_up(traffic: Traffic) -> None:
    acme = traffic.send(at(), times=1, tokens=(10_000, 1))
    mini = traffic.send(at(9), model="gpt-5.4-mini", tokens=(3, 5))
    globex = traffic.send(at(5), org="globex", tokens=(7, 2))
    batch = traffic.send(at(7), route="batch", key="key_demo")
    unknown = traffic.send(at(8), logged=False)
    traffic.send(at(3 * DAY), tokens=(9, 9))
    for number in range(4):
        said = {"input_tokens": 1000, "output_tokens": 200} if number else {}
        other = {"side": "previous", "model": "m", "input_tokens": None, "output_tokens": None}
        traffic.world.write(log_line(at(10 + number), **{**other, **said}))
    async with shown(traffic.world.path) as pilot:
        await pulled(pilot)
        whole = acme + mini + globex + batch + unknown
        head = texts(pilot, "head")
        assert f"bill    ${whole} " in head
        assert f"burn    ${whole} in the 24 h" in head
        assert "nothing is known" not in head
        assert "pulled " in line(pilot, "status")
        found = [row[1:].split("  ")[0].strip() for row in rows(pilot)]
        assert found == ["chat", "batch", "(billed, not logged)"]
        # Amounts are aligned at the decimal point, whatever their digits.
        points = {row.index(".", row.index("$")) for row in rows(pilot)}
        assert len(points) == 1
        # The previous side: 3 requests of 1,000 and 200 tokens at $2 and $10, one without tokens.
        assert "$4.00" in rows(pilot)[0]
        assert "previous $3.3333 of 3 requests; 1 request without" in texts(pilot, "about")
        await pressed(pilot, "enter")
        assert "chat ▸ by org  2 rows" in line(pilot, "title")
        assert f"${acme + mini + globex}" in line(pilot, "title")
        await pressed(pilot, "j", "k", "enter")
        assert "chat ▸ acme ▸ by model" in line(pilot, "title")
        assert [f"${acme}" in rows(pilot)[0], f"${mini}" in rows(pilot)[1]] == [True, True]
        await pressed(pilot, "v", "v")
        assert "by day" in line(pilot, "title")
        await pressed(pilot, "escape", "escape", "s", "s", "s")
        assert [row[1:].split()[0] for row in rows(pilot)][:2] == ["batch", "chat"]
        await pressed(pilot, "slash", *"!BAT", "enter")
        await until_shown(pilot, lambda: len(rows(pilot)) == 2)
        assert "filter: !BAT" in line(pilot, "notice")
        await pressed(pilot, "escape")
        await until_shown(pilot, lambda: len(rows(pilot)) == 3)
        await pressed(pilot, "w")
        await until_shown(pilot, lambda: line(pilot, "status").startswith(" money ▸ 7 d"))
        await listed(pilot)
        assert "6 requests" in texts(pilot, "head")


async def test_piles_are_opened_row_by_row_and_exported(
    traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        traffic.send(at(number))
    traffic.send(at(40), logged=False)
    traffic.send(at(41), times=2)
    # A year that is near, and pages of ten, as if there were a hundred thousand.
    monkeypatch.setattr("rollout_console.ui.screens.money.feed.PAGE", 10)
    monkeypatch.setattr("rollout_console.ui.screens.money.feed.NEAR", 2)
    async with shown(traffic.world.path, (80, 24)) as pilot:
        await pulled(pilot)
        assert "▲gap" in line(pilot, "title")
        await pressed(pilot, "m")
        assert [row.split()[-4:] for row in rows(pilot)[:1]] == [["31", "$0.1705", "-", "-"]]
        await pressed(pilot, "enter")
        assert "matched  10 rows, more below" in line(pilot, "title")
        first = rows(pilot)[0]
        for _ in range(5):
            await pressed(pilot, "G")
        assert "matched  31 rows" in line(pilot, "title")
        await pressed(pilot, "g", "s", "s")
        assert "oldest first" in line(pilot, "title")
        assert rows(pilot)[0] != first
        await pressed(pilot, "escape", "j", "j", "j")
        assert "not in the log" in rows(pilot)[3]
        assert "who used the key?" in texts(pilot, "about")
        await pressed(pilot, "enter")
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, RecordDialog))
        record = dialog(pilot)
        usages = traffic.world.sim.state.usage
        (usage,) = (one for one in usages if one.request_id in record.split())
        assert f"billing transaction id {usage.billing_id}" in record
        assert "cost $0.0055" in record
        await pilot.press("Y")
        assert pilot.app.clipboard == f"{usage.billing_id}\n{usage.request_id}"
        await pilot.press("escape")
        for kind in ("csv", "jsonl"):
            await exported(pilot, tmp_path / f"one.{kind}", kind)
        with (tmp_path / "one.csv").open() as stream:
            (row,) = [one for one in csv.DictReader(stream) if one["reason"] == "not in the log"]
        assert (row["request_id"], row["cost_usd"]) == (usage.request_id, "0.0055")
        objects = [json.loads(one) for one in (tmp_path / "one.jsonl").read_text().splitlines()]
        assert {one["pile"] for one in objects} == {"billed-only"}
        # What is no earlier export is not replaced.
        before = traffic.world.path.read_bytes()
        await pilot.press("e")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
        pilot.app.screen.query_one("#field-path", Input).value = str(traffic.world.path)
        await pilot.press("enter", "enter")
        await until_shown(pilot, lambda: "is the rollout file itself" in line(pilot, "notice"))
        assert traffic.world.path.read_bytes() == before


async def exported(pilot: Running, path: Path, kind: str) -> None:
    """Export what is shown to a file."""
    await pilot.press("e")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, FormDialog))
    pilot.app.screen.query_one("#field-kind", Input).value = kind
    pilot.app.screen.query_one("#field-path", Input).value = str(path)
    await pilot.press("enter", "enter")
    await until_shown(pilot, lambda: f"written: {path}" in line(pilot, "notice"))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_why_a_bill_differs(traffic: Traffic, tmp_path: Path) -> None:
    before = traffic.send(at(7 * DAY))
    traffic.send(at(), times=1)
    traffic.send(at(1))
    new = traffic.send(at(2), org="globex", tokens=(10, 10))
    traffic.world.write(log_line(at(20 * DAY), request="old"))
    lines = traffic.world.log.read_text().splitlines()
    lines.sort(key=lambda one: json.loads(one)["ts"])
    traffic.world.log.write_text("\n".join(lines) + "\n")
    async with shown(traffic.world.path) as pilot:
        await pulled(pilot)
        await pressed(pilot, "d")
        assert f"+${before + new}" in line(pilot, "title")
        assert [row[1:].split("  ")[0].strip() for row in rows(pilot)] == [
            "volume", "new org or route",
        ]  # fmt: skip
        amounts = [Decimal(row[1:].split("+$")[1].split()[0]) for row in rows(pilot)]
        assert sum(amounts) == before + new
        await pressed(pilot, "enter")
        assert "1 to 2 requests" in rows(pilot)[0]
        for kind in ("csv", "jsonl"):
            await exported(pilot, tmp_path / f"why.{kind}", kind)
        with (tmp_path / "why.csv").open() as stream:
            parts = list(csv.DictReader(stream))
        assert {one["cause"] for one in parts} == {"volume", "new org or route"}
        assert sum(Decimal(one["amount_usd"]) for one in parts) == before + new
        objects = [json.loads(one) for one in (tmp_path / "why.jsonl").read_text().splitlines()]
        assert [{**one} for one in parts] == objects
        since, earlier = (
            datetime.fromisoformat(parts[0][name]) for name in ("since", "earlier_since")
        )
        assert (since - earlier).days == 7
        await pressed(pilot, "escape", "escape", "escape")  # the notice, the parts, the section
        assert "by route" in line(pilot, "title")


async def test_a_pull_is_stopped_and_a_worker_that_dies_is_told(traffic: Traffic) -> None:
    traffic.send(at())
    async with shown(traffic.world.path) as pilot:
        with pull_lock(kept_store(traffic.world)):
            await pilot.press("p")
            await until_shown(pilot, lambda: "waiting for another pull" in texts(pilot, "head"))
            assert "The first usage records are being pulled" in texts(pilot, "about")
            await pilot.press("p")
            await until_shown(pilot, lambda: "p pulls those" in texts(pilot, "about"))
        await pulled(pilot)
        with pull_lock(kept_store(traffic.world)):
            await pilot.press("p")
            await until_shown(pilot, lambda: "waiting for another pull" in texts(pilot, "head"))
            kept, pulls = screen(pilot)._feed.link.processes
            assert len(rows(pilot)) == 1, "what was pulled before stays"
            await pilot.press("p")
            await until_shown(pilot, lambda: has_ended(pulls))
            assert "stopped: what was pulled is kept" in line(pilot, "notice")
        os.kill(kept, signal.SIGKILL)
        await until_shown(pilot, lambda: "has ended; f5 reads again" in line(pilot, "notice"))
        await pressed(pilot, "f5")
        await until_shown(pilot, lambda: screen(pilot)._feed.link.is_ready)
        await pressed(pilot, "enter")
        assert "acme" in rows(pilot)[0]


async def test_it_is_left_without_a_process_and_found_where_it_was(traffic: Traffic) -> None:
    traffic.send(at())
    traffic.send(at(1), org="globex", tokens=(9, 9))
    app = app_of(traffic.world.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pulled(pilot)
        await pressed(pilot, "enter", "j")
        (process,) = screen(pilot)._feed.link.processes
        before = rows(pilot)
        assert before[1].startswith("▸globex")
        await pilot.press("1")
        await until_shown(pilot, lambda: has_ended(process))
        await pilot.press("8")
        await until_shown(pilot, lambda: isinstance(app.screen, MoneyScreen) and bool(rows(pilot)))
        assert rows(pilot) == before, "at once, from before"
        await until_shown(pilot, lambda: screen(pilot)._feed.link.is_ready)
        await listed(pilot)
        assert rows(pilot) == before
        (process,) = screen(pilot)._feed.link.processes
        # Another profile's file: nothing of this one's is shown for it.
        text = traffic.world.path.read_text()
        traffic.world.path.write_text(text.replace("[tokenlab]", '[tokenlab]\nprofile = "other"'))
        await until_shown(pilot, lambda: "No usage record was pulled yet" in texts(pilot, "about"))
        assert "0.0055" not in texts(pilot, "head")
    until(lambda: has_ended(process))
