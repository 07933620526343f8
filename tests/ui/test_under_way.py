"""A change that takes its time is said on every screen, is not made twice, and then its outcome."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes import folder_lock
from rollout_console.changes.errors import NotWritable, Uncertain
from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet import shared_file
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp_record import Out, RampRecord
from rollout_console.history.actor import Actor
from rollout_console.ui import under_way
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.keymap import HOME_KEYS, Key
from rollout_console.ui.screens.help import HelpScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.under_way import UnderWayLine
from rollout_console.ui.widgets.line_table import LineTable
from rollout_gate.file.parse import parse
from tests.support.etcd import cluster
from tests.support.lossy import Link, lossy
from tests.support.waiting import until_shown
from tests.ui.test_home import Running, app_of, confirm, notices, running, share
from tests.ui.test_rollback import answer_and_be_asked_again

KEY = "/rollout/prod"
Points = Callable[[], tuple[int, bool]]


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    with cluster(tmp_path / "etcd") as etcd, lossy(etcd.members[0].url) as found:
        yield found


@pytest.fixture
def in_etcd(link: Link, file: Path) -> Iterator[Points]:
    """The share of chat / acme, and whether it is rolled back."""
    with EtcdClient(address_of(f"etcd://{link.member.partition('://')[2]}{KEY}")) as client:
        client.put(KEY, file.read_bytes())

        def points() -> tuple[int, bool]:
            route = parse(client.get(KEY).values[0].data).routes["chat"]
            return route.org_points("acme"), route.org_rolled_back("acme")

        yield points


@pytest.fixture
def app(
    link: Link, in_etcd: Points, file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConsoleApp]:
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(shared_file, "SETTLE_S", 60)
    with EtcdClient(address_of(f"etcd://{link.url.partition('://')[2]}{KEY}")) as client:
        shared = SharedFile(client)
        shared.follow()
        switch = shared_switch(shared, Actor("jo", "gw-01"), WriteAccess())
        monitor = Monitor(switch.path, switch.open().file, servers=lambda: switch.spread)
        yield ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01")
        shared.close()


def line(pilot: Running) -> str:
    """Return the line above the screen that is shown; empty where there is none."""
    return "".join(one.text for one in pilot.app.screen.query(UnderWayLine))


async def lower_while_held(pilot: Running, link: Link) -> None:
    """Lower chat / acme while etcd answers nothing, and wait until that is said."""
    link.lose = ["held"] * 99
    await pilot.press("minus")
    await confirm(pilot)
    await until_shown(pilot, lambda: "answered: lowering chat / acme" in line(pilot))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_slow_rollback_is_said_on_every_screen_until_its_outcome_is(
    app: ConsoleApp, link: Link, in_etcd: Points, size: tuple[int, int]
) -> None:
    async with running(app, size) as pilot:
        link.lose = ["held"] * 99
        await pilot.press("r")
        await confirm(pilot)
        said = " s, etcd has not answered: rolling back chat / acme"
        await until_shown(pilot, lambda: said in line(pilot))
        assert line(pilot).startswith(" … UNDER WAY ")
        assert pilot.app.screen.query_one(UnderWayLine).region.y == 0
        for key in ("r", "minus", "u"):
            await pilot.press(key)
            await until_shown(
                pilot, lambda: "rolling back chat / acme is under way: wait" in notices(pilot)
            )
            await pilot.press("escape")  # which dismisses the notice, and no change
            assert not isinstance(pilot.app.screen, ConfirmDialog)
        await pilot.press("question_mark")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await until_shown(pilot, lambda: said in line(pilot))
        await pilot.press("escape")
        await pilot.press("6")
        await until_shown(pilot, lambda: said in line(pilot))
        link.released.set()
        await until_shown(pilot, lambda: " ● done after " in line(pilot))
        assert "chat / acme 25% to 0% in etcd:" in line(pilot)
        assert in_etcd() == (2500, True)
        assert [one.action for one in app.session.switch.recent(9)[0]] == ["rollback"]
        await pilot.press("escape")
        await until_shown(pilot, lambda: not line(pilot))
        assert app.screen is not app.home, "the first escape dismisses the line alone"


async def test_a_rollback_is_confirmed_while_a_change_is_under_way_and_made_after_it(
    app: ConsoleApp, link: Link, in_etcd: Points
) -> None:
    async with running(app) as pilot:
        await lower_while_held(pilot, link)
        await pilot.press("r")
        await confirm(pilot)
        said = " s, next: rolling back chat / acme; etcd has not answered: lowering chat / acme 25%"
        await until_shown(pilot, lambda: said in line(pilot))
        for key in ("r", "R", "exclamation_mark", "minus", "u"):
            await pilot.press(key)
            await until_shown(pilot, lambda: "is under way: wait" in notices(pilot))
            await pilot.press("escape")
            assert not isinstance(pilot.app.screen, ConfirmDialog), "one alone is next"
        assert in_etcd() == (2500, False)
        link.released.set()
        await until_shown(pilot, lambda: in_etcd()[1])
        assert in_etcd() == (1000, True), "on top of the version that was there by then"
        await until_shown(pilot, lambda: "chat / acme rolled back" in notices(pilot))
        await until_shown(pilot, lambda: " ● done after " in line(pilot))  # however quick it was
        assert "chat / acme 10% to 0%" in line(pilot)
        rows = app.session.switch.recent(9)[0]
        assert [one.action for one in rows] == ["rollback", "set"]
        await pilot.press("u")
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))


@pytest.mark.parametrize("outcome", ["an error", "not known"])
async def test_a_rollback_is_made_whatever_became_of_the_change_before(
    app: ConsoleApp, link: Link, in_etcd: Points, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    switch = app.session.switch
    apply, held, tries = switch.apply, threading.Event(), []

    def applied(plan: Plan, **given: Any) -> Done:
        tries.append(plan)
        if len(tries) > 1:
            return apply(plan, **given)
        held.wait(60)
        raise (NotWritable if outcome == "an error" else Uncertain)("etcd has said no")

    monkeypatch.setattr(switch, "apply", applied)
    async with running(app) as pilot:
        await pilot.press("minus")
        await confirm(pilot)
        await until_shown(pilot, lambda: "answered: lowering chat / acme" in line(pilot))
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: "next: rolling back route chat;" in line(pilot))
        held.set()
        await until_shown(pilot, lambda: " ! done after " in line(pilot))
        assert "before that NOT " in line(pilot)
        assert "lowering chat / acme 25% to 10%" in line(pilot)
        assert [one.action for one in switch.recent(9)[0]] == ["rollback"]
        await pilot.press("escape")
        await until_shown(pilot, lambda: not line(pilot))


async def test_an_undo_that_is_under_way_can_be_rolled_back(
    app: ConsoleApp, link: Link, in_etcd: Points
) -> None:
    switch = app.session.switch
    async with running(app) as pilot:
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: app.session.monitor.file.is_latched("chat", "acme"))
        await until_shown(pilot, lambda: not app.session.progress.is_under_way)
        link.lose = ["held"] * 99
        await pilot.press("u")
        await confirm(pilot)
        await until_shown(pilot, lambda: "etcd has not answered: making the" in line(pilot))
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: "next: rolling back chat / acme;" in line(pilot))
        link.released.set()
        await until_shown(pilot, lambda: len(switch.recent(9)[0]) == 3)
        assert in_etcd() == (2500, True)


async def test_a_rollback_that_is_cancelled_meanwhile_is_none(
    app: ConsoleApp, link: Link, in_etcd: Points
) -> None:
    async with running(app) as pilot:
        await lower_while_held(pilot, link)
        await pilot.press("exclamation_mark")
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        link.released.set()
        await until_shown(pilot, lambda: " ● done after " in line(pilot))
        await pilot.press("escape")
        await until_shown(pilot, lambda: not isinstance(app.screen, ConfirmDialog))
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: in_etcd() == (1000, True))


async def test_a_rollback_of_a_local_file_waits_for_the_change_before_it_as_well(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "LOCK_WAIT_S", 600.0)
    app, folder = app_of(file), os.open(file.parent, os.O_RDONLY)
    async with running(app) as pilot:
        fcntl.flock(folder, fcntl.LOCK_EX)  # as another console that writes
        await pilot.press("minus")
        await confirm(pilot)
        await until_shown(pilot, lambda: "not written yet: lowering chat / acme" in line(pilot))
        await pilot.press("exclamation_mark")
        await confirm(pilot)
        await until_shown(pilot, lambda: "next: rolling back everything;" in line(pilot))
        assert not parse(file.read_bytes()).rolled_back
        os.close(folder)
        await until_shown(pilot, lambda: parse(file.read_bytes()).rolled_back)
        assert share(file)[0] == 1000


async def test_what_was_done_is_not_said_for_ever(
    app: ConsoleApp, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "_TOLD_FOR_S", 0.5)
    async with running(app) as pilot:
        link.lose = ["held"] * 99
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: "UNDER WAY" in line(pilot))
        link.released.set()
        await until_shown(pilot, lambda: "done after" in line(pilot))
        await until_shown(pilot, lambda: not line(pilot))


async def test_a_change_of_a_local_file_has_no_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "SHOWN_AFTER_S", 2.0)  # more than a busy host takes for it
    app = app_of(file)
    seen = []
    async with running(app) as pilot:
        for key in ("r", "u"):
            await pilot.press(key)
            await confirm(pilot)
            await until_shown(pilot, lambda key=key: share(file)[1] == (key == "r"))  # type: ignore[misc]
            await until_shown(pilot, lambda: not app.session.progress.is_under_way)
            await pilot.pause(under_way.SHOWN_AFTER_S + 0.1)
            seen += [line(pilot)]
    assert seen == ["", ""]


async def test_a_change_goes_on_when_its_screen_is_left(
    app: ConsoleApp, link: Link, in_etcd: Points
) -> None:
    switch = app.session.switch
    switch.apply(switch.planner.plan_set("chat", "acme", 1000))
    switch.apply(switch.planner.plan_set("chat", "acme", 2500), held="", reason="as before")
    async with running(app) as pilot:
        await pilot.press("6")
        await until_shown(pilot, lambda: app.screen.query("#history-status"))
        await until_shown(pilot, lambda: len(app.screen.query_one(LineTable).rows) == 2)
        await pilot.press("j", "o")
        link.lose = ["held"] * 99
        await confirm(pilot)
        said = " s, etcd has not answered: restoring the whole of "
        await until_shown(pilot, lambda: said in line(pilot))
        await pilot.press("1")
        await until_shown(pilot, lambda: app.screen is app.home)
        assert said in line(pilot)
        await pilot.press("minus")
        await until_shown(pilot, lambda: "wait for its outcome first" in notices(pilot))
        link.released.set()
        await until_shown(pilot, lambda: " ● done after " in line(pilot))
        assert in_etcd() == (1000, False)
        await until_shown(pilot, lambda: "done: the whole of" in notices(pilot))


async def test_a_change_that_is_not_known_is_said_until_it_is_seen(
    app: ConsoleApp, link: Link, in_etcd: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "SETTLE_S", 0.3)
    monkeypatch.setattr(under_way, "SHOWN_AFTER_S", 0.0)
    async with running(app) as pilot:
        link.lose = ["request"] * 99
        await pilot.press("minus")
        await confirm(pilot)
        said = " ! NOT KNOWN WHETHER DONE: lowering chat / acme 25% to 10%; 6 lists it if it was"
        await until_shown(pilot, lambda: said in line(pilot))
        await pilot.press("escape")
        await until_shown(pilot, lambda: not line(pilot))
        link.lose = ["late"] + ["request"] * 99
        await pilot.press("minus")
        await confirm(pilot)
        await until_shown(pilot, lambda: said in line(pilot))
        link.released.set()
        await until_shown(
            pilot, lambda: line(pilot) == " ● done after all: lowering chat / acme 25% to 10%"
        )
        assert in_etcd() == (1000, False)


async def test_a_change_that_is_not_known_is_said_however_soon_it_was_given_up(
    app: ConsoleApp, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "SETTLE_S", 0.0)
    monkeypatch.setattr(shared_file, "_SETTLE_NOTE_S", 0.0)
    monkeypatch.setattr(under_way, "SHOWN_AFTER_S", 60.0)
    async with running(app) as pilot:
        link.lose = ["request"] * 99
        await pilot.press("minus")
        await confirm(pilot)
        await until_shown(pilot, lambda: " ! NOT KNOWN WHETHER DONE: lowering" in line(pilot))


async def test_an_outcome_is_said_by_the_time_also_where_no_turn_of_the_line_came(
    app: ConsoleApp, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host that stalls: the timer of the line comes too late."""
    monkeypatch.setattr(under_way, "SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(under_way, "_EVERY_S", 3600.0)
    async with running(app) as pilot:
        await pilot.press("minus")
        await confirm(pilot)
        await until_shown(pilot, lambda: line(pilot).startswith(" ● done after "))


async def test_a_rollback_that_is_not_known_is_said_above_its_dialog_and_after_it(
    app: ConsoleApp, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "SETTLE_S", 0.3)
    monkeypatch.setattr(under_way, "SHOWN_AFTER_S", 0.0)
    async with running(app) as pilot:
        link.lose = ["request"] * 99
        await pilot.press("r")
        assert "NOT KNOWN WHETHER ROLLED BACK" in await answer_and_be_asked_again(pilot)
        said = " ! NOT KNOWN WHETHER ROLLED BACK: chat / acme; 6 lists it if it was"
        await until_shown(pilot, lambda: said in line(pilot))
        await pilot.press("escape", "6")
        await until_shown(pilot, lambda: app.screen.query("#history-status"))
        await until_shown(pilot, lambda: said in line(pilot))


async def test_what_is_kept_beside_the_file_is_under_way_as_well(
    app: ConsoleApp, link: Link
) -> None:
    switch = app.session.switch
    record = RampRecord(switch.path, WriteAccess(), switch.publisher("guard"))
    record.take_out("chat", {"acme": Out(datetime.now(UTC), "it was lowered by hand")})
    async with running(app) as pilot:
        await until_shown(pilot, lambda: not app.home.why_not(_key("ramp.back")))
        link.lose = ["held"] * 99
        await pilot.press("b")
        await confirm(pilot)
        await until_shown(
            pilot, lambda: "answered: putting chat / acme back into its ramp" in line(pilot)
        )
        await pilot.press("minus")
        await until_shown(pilot, lambda: "wait for its outcome first" in notices(pilot))
        link.released.set()
        await until_shown(pilot, lambda: " ● done after " in line(pilot))
        assert not record.read()["chat"].out


async def test_a_put_back_without_etcd_is_no_internal_error(app: ConsoleApp, link: Link) -> None:
    switch = app.session.switch
    record = RampRecord(switch.path, WriteAccess(), switch.publisher("guard"))
    record.take_out("chat", {"acme": Out(datetime.now(UTC), "it was lowered by hand")})
    async with running(app) as pilot:
        await until_shown(pilot, lambda: not app.home.why_not(_key("ramp.back")))
        await pilot.press("b")
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        link.is_cut = True
        await confirm(pilot)
        await until_shown(pilot, lambda: "etcd does not answer: whether" in notices(pilot))
        assert "internal error" not in notices(pilot)


def _key(name: str) -> Key:
    return next(key for key in HOME_KEYS if key.id == name)
