"""The jobs screen, driven by keys, on ledgers of the gate's client."""

import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from textual.widgets import Input

from rollout_console.jobs.job_book import JobBook, Look, Wanted
from rollout_console.sim.server import SimServer
from rollout_console.ui.palette import Palette
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.screens.jobs.actions import JobDialog
from rollout_console.ui.screens.jobs.screen import JobsScreen
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.http.create_records import Create
from tests.cli.test_jobs import make
from tests.jobs.ledgers import create, write
from tests.support.waiting import until, until_shown
from tests.ui.jobs_screens import (
    LOST_ANSWER,
    about,
    app_of,
    asked_of,
    dialog,
    is_polling,
    line,
    read_often,
    rollout_in,
    rows,
    shown,
    standings,
)

HOSTILE = "\x1b[31mevil\u202e[bold] sk-live-abcdef1234567890"


@pytest.fixture
def rollout(tmp_path: Path, sim: SimServer) -> Path:
    return rollout_in(tmp_path, sim)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    read_often(monkeypatch)


def all_kinds(now: float) -> list[Create]:
    """One job of each standing, and one of another org and host."""
    return [
        create("u", now=now, ago=700, job_id="order-1", **LOST_ANSWER),
        create("l", now=now, ago=800, polls=0, side="previous", progress=40, host="app-02"),
        create("t", now=now, ago=2_000, side="previous", progress=80),
        create("o", now=now, ago=30, side="previous", org="globex.eu", route="image", progress=7),
        create("s", now=now, ago=5, state="unknown", task_id=None, status=None, polls=0),
        create("f", now=now, ago=90, state="failed", error="moderation", ended_at=now - 60),
        create("x", now=now, ago=95, state="cancelled", ended_at=now - 80),
        create("c", now=now, ago=99, state="completed", ended_at=now - 57, job_id="order-9"),
    ]


ORDER = ["unknown", "lost", "late", "open", "sending", "failed", "cancelled", "completed"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (40, 12)])
async def test_trouble_comes_first_and_nothing_important_is_cut(
    rollout: Path, size: tuple[int, int]
) -> None:
    whole = "ldtask_" + "0123456789abcdef" * 2
    *others, last = all_kinds(time.time())
    write(rollout.parent, *others, replace(last, task_id=whole))
    async with shown(rollout, size, read_only=True) as pilot:
        seen = ORDER[: size[1] - 5 - (4 if size[1] > 18 else 0)]
        alarm = pilot.app.screen.query_one(".alarm")  # which takes a line, once there is time
        await until_shown(
            pilot, lambda: standings(pilot) in (seen, seen[: -alarm.region.height or None])
        )
        every = rows(pilot)
        assert "11 m" in every[0]
        assert "video / acme" in every[0]
        if size[0] < 80:
            return
        for count in ("1 unknown", "1 lost", "1 completed"):
            assert count in line(pilot, "counts")
        assert "8 jobs by trouble  read-only" in line(pilot, "status")
        assert "40%" in every[1]
        assert "80%" in every[2]
        assert "obex.eu" in every[3]
        assert "previous" in every[3]
        assert "30 s" in every[5], "how long it took, not its age"
        assert "no task is known  job order-1" in about(pilot)
        assert "look for the task at tokenlab; if there is none, f forgets" in about(pilot)
        await pilot.press("j")
        await until_shown(pilot, lambda: "task ldtask_l" in about(pilot))
        assert "fetch the asset, it is paid for" in about(pilot)
        assert ("moderation" in every[5]) is (size[0] >= 120)
        assert ("app-02" in every[1]) is (size[0] >= 200)
        assert (whole in every[7]) is (size[0] >= 200)
        await pilot.press("G")
        await until_shown(pilot, lambda: f"task {whole}  job order-9" in about(pilot))


async def test_the_selected_job_stays_selected_while_others_come(rollout: Path) -> None:
    now = time.time()
    path = write(rollout.parent, *(create(f"j{i}", now=now, ago=100 + i) for i in range(40)))
    async with shown(rollout, key="") as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) > 10)
        await pilot.press(*["j"] * 20)
        await until_shown(pilot, lambda: "task ldtask_j20 " in about(pilot) + " ")
        table = pilot.app.screen.query_one(LineTable)
        top = table.scroll_offset.y
        write(path.parent, create("new", now=now, ago=60, **LOST_ANSWER))
        await until_shown(pilot, lambda: "1 unknown" in line(pilot, "counts"))
        assert "task ldtask_j20" in about(pilot)
        assert (table.cursor, table.scroll_offset.y) in ((21, top), (21, top + 1))


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("trouble", ["unknown", "lost", "late"]),
        ("!trouble", ["open", "sending", "failed", "cancelled", "completed"]),
        ("lost", ["lost"]),
        ("globex", ["open"]),
        ("ORDER-9 acme", ["completed"]),
        ("moderation", ["failed"]),
        ("ldtask_x", ["cancelled"]),
        ("nothing", []),
    ],
)
async def test_the_filter(rollout: Path, typed: str, found: list[str]) -> None:
    write(rollout.parent, *all_kinds(time.time()))
    names = {"!": "exclamation_mark", " ": "space", "-": "minus", "_": "underscore"}
    async with shown(rollout, read_only=True) as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == 8)
        await pilot.press("slash", *(names.get(sign, sign) for sign in typed))
        assert pilot.app.screen.query_one("#jobs-filter", Input).value == typed
        await until_shown(pilot, lambda: standings(pilot) == found)
        await until_shown(pilot, lambda: f"{len(found)} of 8 jobs" in line(pilot, "status"))
        assert "1 completed" in line(pilot, "counts"), "the counts are of all"
        await pilot.press("enter")
        await until_shown(pilot, lambda: f"filter: {typed}" in line(pilot, "notice"))
        await pilot.press("escape")
        await until_shown(pilot, lambda: len(rows(pilot)) == 8)
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))


async def test_it_is_sorted(rollout: Path) -> None:
    write(rollout.parent, *all_kinds(time.time()))
    async with shown(rollout, read_only=True) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ORDER)
        await pilot.press("s")
        await until_shown(pilot, lambda: standings(pilot)[:2] == ["sending", "open"])
        await pilot.press("s")
        await until_shown(pilot, lambda: standings(pilot)[:2] == ["late", "lost"])
        assert "by oldest" in line(pilot, "status")
        await pilot.press("s")
        await until_shown(pilot, lambda: standings(pilot)[:2] == ["open", "unknown"])


async def test_the_details_and_the_ids(rollout: Path) -> None:
    now = time.time()
    write(rollout.parent, create("a", now=now, ago=9_000, polls=0, job_id="order-1",
                                 request_id="req_1", billing_transaction_id="btx_1",
                                 model="google-video-1", host="app-01"))  # fmt: skip
    async with shown(rollout, key="") as pilot:
        await until_shown(pilot, lambda: rows(pilot))
        await pilot.press("y")
        assert pilot.app.clipboard == "ldtask_a"
        await pilot.press("Y")
        assert pilot.app.clipboard == "ldtask_a\norder-1\nreq_1\nbtx_1"
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobDialog))
        told = dialog(pilot)
        for words in (
            "lost: video / acme", "task id ldtask_a", "billing transaction id btx_1",
            "host app-01", "what to do: the application has not asked for it",
        ):  # fmt: skip
            assert words in told
        pilot.app.copy_to_clipboard("")
        await pilot.press("y")
        assert pilot.app.clipboard == "ldtask_a"
        assert "ldtask_a: sent to the terminal's clipboard" in dialog(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))


async def test_duplicates_with_both_ids_kind_and_gap(rollout: Path) -> None:
    now = time.time()
    first = create("a", now=now, ago=40, fingerprint=b"f" * 16, cost="0.35")
    path = write(rollout.parent, first)
    async with shown(rollout, key="") as pilot:
        await until_shown(pilot, lambda: rows(pilot))
        await pilot.press("d")
        await until_shown(pilot, lambda: "made twice" in line(pilot, "notice"))
        assert "no job of the last day" in line(pilot, "notice")
        write(path.parent, create("b", now=now, ago=20, fingerprint=b"f" * 16))
        await pilot.press("d")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobDialog))
        told = dialog(pilot)
        assert "video / acme: the same request again, after 20 s" in told
        assert "ldtask_a ($0.35) on tokenlab ldtask_b on tokenlab" in told
        await pilot.press("Y")
        assert pilot.app.clipboard == "ldtask_a\nldtask_b"


async def test_read_only_changes_and_asks_nothing(rollout: Path, sim: SimServer) -> None:
    make(rollout, sim, "order-1")
    path = write(rollout.parent, create("u", now=time.time(), ago=60, **LOST_ANSWER))
    before = path.read_bytes()
    (task,) = (row.create.task_id for row in JobBook(path).rows(time.time()) if row.create.task_id)
    async with shown(rollout, (120, 40), read_only=True) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["unknown", "open"])
        for key in ("p", "x", "f"):
            await pilot.press(key)
            assert "read-only: nothing is polled or changed" in line(pilot, "notice")
            assert isinstance(pilot.app.screen, JobsScreen)
            await pilot.press("escape")
        assert "not polled: read-only" in line(pilot, "notice")
        await pilot.press("d", "y")
        assert not is_polling(pilot)
    assert path.read_bytes() == before
    assert not any(task in one for one in asked_of(sim))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12)])
async def test_without_a_ledger_it_says_what_makes_one(
    rollout: Path, size: tuple[int, int]
) -> None:
    async with shown(rollout, size) as pilot:
        await until_shown(pilot, lambda: "There is no ledger of jobs at" in about(pilot))
        assert "the gate's client makes it with the first async create" in about(pilot)
        await until_shown(pilot, lambda: pilot.app.screen.query_one("#job").size.height > 1)
        assert line(pilot, "counts").strip() == "no ledger yet"
        path = write(rollout.parent)
        assert not path.exists()
        now = time.time()
        write(rollout.parent, create("old", now=now, ago=200_000, state="completed"))
        await until_shown(pilot, lambda: "none was sent within a day" in about(pilot))
        write(rollout.parent, create("a", now=now))
        await until_shown(pilot, lambda: standings(pilot) == ["open"])


async def test_looking_makes_no_ledger(rollout: Path) -> None:
    log = AccessLog(rollout.parent / "access.jsonl")
    log.append(_line_of_other_host())
    log.close()
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "There is no ledger" in about(pilot))
        await pilot.press("escape")
    assert not rollout.with_name("rollout-jobs.sqlite3").exists()


async def test_jobs_of_other_hosts_come_from_the_access_log(rollout: Path) -> None:
    write(rollout.parent, create("a", now=time.time(), side="previous"))
    log = AccessLog(rollout.parent / "access.jsonl")
    log.append(_line_of_other_host())
    log.close()
    async with shown(rollout, (200, 60), key="") as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == 2)
        assert "elsewhere" in "".join(rows(pilot))


def _line_of_other_host() -> AccessLine:
    ts = timestamp(datetime.fromtimestamp(time.time() - 30, UTC))
    return AccessLine(
        ts=ts, route="video", org="hooli", side="previous", model="m", status=200, latency_ms=5.0,
        host="elsewhere", task_id="ldtask_of_elsewhere", task_status="open",
    )  # fmt: skip


@pytest.mark.slow
async def test_a_slow_read_of_the_ledger_keeps_no_key_waiting(
    rollout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    write(rollout.parent, create("a", now=now), create("b", now=now, ago=1))
    look, gate, reads = JobBook.look, threading.Event(), []

    def slow(book: JobBook, *given: Any, **more: Any) -> Look:
        reads.append(threading.current_thread() is threading.main_thread())
        if len(reads) > 2:
            gate.wait(30)
        return look(book, *given, **more)

    monkeypatch.setattr(JobBook, "look", slow)
    async with shown(rollout, read_only=True) as pilot:
        try:
            await until_shown(pilot, lambda: len(reads) > 2)
            assert not gate.is_set()
            await pilot.press("j")
            await until_shown(pilot, lambda: "task ldtask_b" in about(pilot))
            age = re.compile(r"read [2-9] s ago")
            await until_shown(pilot, lambda: age.search(line(pilot, "status")))
            await pilot.press("escape")
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        finally:
            gate.set()
    assert not any(reads), "the ledger was read on the event loop"


async def test_a_read_that_nobody_waits_for_is_stopped(
    rollout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(rollout.parent, create("a", now=time.time()))
    stops: list[threading.Event] = []
    look = JobBook.look

    def noted(book: JobBook, now: float, since: float, wanted: Wanted, **more: Any) -> Look:
        stops.append(more["stop"])
        if len(stops) == 2:
            more["stop"].wait(30)
        return look(book, now, since, wanted, **more)

    monkeypatch.setattr(JobBook, "look", noted)
    async with shown(rollout, key="") as pilot:
        await until_shown(pilot, lambda: len(stops) == 2)
        assert not stops[1].is_set()
        await pilot.press("slash", "a")
        await until_shown(pilot, lambda: stops[1].is_set())
        await until_shown(pilot, lambda: "1 of 1 job" in line(pilot, "status"))


async def test_a_broken_ledger_says_so_and_comes_back(rollout: Path) -> None:
    path = write(rollout.parent, create("a", now=time.time()))
    kept = path.read_bytes()
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: rows(pilot))
        await pilot.press("escape")
        path.write_bytes(b"no database at all, for sure" * 100)
        await pilot.press("7")
        await until_shown(pilot, lambda: "cannot be read" in line(pilot, "notice"))
        path.write_bytes(kept)
        await pilot.press("f5")
        await until_shown(pilot, lambda: standings(pilot) == ["open"])
        await until_shown(pilot, lambda: "cannot be read" not in line(pilot, "notice"))


async def test_text_from_outside_is_only_text(rollout: Path) -> None:
    write(rollout.parent, create("a", now=time.time(), ago=90, org=HOSTILE, job_id=HOSTILE,
                                 error=HOSTILE, state="failed", host=HOSTILE))  # fmt: skip
    async with shown(rollout, (200, 60), key="") as pilot:
        await until_shown(pilot, lambda: rows(pilot))
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobDialog))
        told = dialog(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))
        everything = told + about(pilot) + "".join(rows(pilot))
        assert "evil" in everything
        for bad in ("\x1b", "\u202e", "abcdef"):
            assert bad not in everything


@pytest.mark.slow
async def test_home_has_an_alarm_until_it_is_over_or_acknowledged(
    rollout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.guard.job_watch.EVERY_S", 0.1)
    monkeypatch.setattr("rollout_console.guard.alerts.OVER_AFTER_S", 1.0)
    now = time.time()
    given = [create("a", now=now, ago=60, **LOST_ANSWER), create("b", now=now, ago=800, polls=0)]
    path = write(rollout.parent, *given)
    app = app_of(rollout, key="")
    async with app.run_test(size=(120, 40)) as pilot:
        alarm = app.home.query_one("#alarm", TextLine)
        words = "video: 1 unknown, 1 lost async jobs: see the jobs screen"
        await until_shown(pilot, lambda: words in alarm.text)
        await until_shown(pilot, lambda: app.home._alarm_sight.is_ready)
        await pilot.press("n", "a")
        await until_shown(pilot, lambda: words not in alarm.text)
        (one,) = [alert for alert in app.session.alerts.open if alert.key == ("jobs", "video")]
        assert (one.level, one.acknowledged_by) == ("warning", "jo@gw-01")
        book = JobBook(path)
        book.forget_create(given[0])
        book.close()
        write(path.parent, create("b", now=now, ago=800))
        await until_shown(
            pilot, lambda: all(alert.key[0] != "jobs" for alert in app.session.alerts.open)
        )
        write(path.parent, create("c", now=now, ago=60, **LOST_ANSWER))
        await until_shown(pilot, lambda: "video: 1 unknown async job: see" in alarm.text)


async def test_the_palette_and_another_key_open_it(rollout: Path) -> None:
    app = app_of(rollout, keymap={"screen.jobs": "f7"}, key="")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f7")
        await until_shown(pilot, lambda: isinstance(app.screen, JobsScreen))
        await pilot.press("escape", "colon")
        await until_shown(pilot, lambda: isinstance(app.screen, Palette))
        await pilot.press(*"async media")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until_shown(pilot, lambda: isinstance(app.screen, JobsScreen))
    until(lambda: not app.is_running)
