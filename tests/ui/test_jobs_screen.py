"""The jobs screen, driven by keys, on ledgers of the gate's client and tasks of the simulator."""

import asyncio
import re
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Input, Static

from rollout_console.changes.switch import Switch
from rollout_console.cli.credentials import fixed_vault
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.jobs.job_book import JobBook, Look, Wanted
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import GRACE_S, ConfirmDialog
from rollout_console.ui.palette import Palette
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.screens.jobs.actions import JobDialog
from rollout_console.ui.screens.jobs.screen import JobsScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.http.create_records import Create
from tests.cli.test_jobs import make
from tests.jobs.ledgers import FILE, create, write
from tests.sim.asking import set_fault
from tests.support.waiting import until, until_shown

Running = Pilot[None]
HOSTILE = "\x1b[31mevil\u202e[bold] sk-live-abcdef1234567890"
LOST_ANSWER: dict[str, Any] = {"state": "unknown", "task_id": None, "status": 504}


@pytest.fixture
def rollout(tmp_path: Path, sim: SimServer) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    path = folder / "rollout.toml"
    path.write_text(FILE.format(url=sim.base_url))
    return path


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the ledger four times a second, that nothing here waits for it for long."""
    monkeypatch.setattr("rollout_console.ui.screens.jobs.screen.EVERY_S", 0.25)


def app_of(
    path: Path, *, read_only: bool = False, key: str = DEMO_KEY, **settings: Any
) -> ConsoleApp:
    switch = Switch(
        path, History(path.parent / "h.sqlite3"), Actor("jo", "gw-01"),
        access=WriteAccess(read_only=read_only),
    )  # fmt: skip
    vault = fixed_vault({"api_key": key} if key else {}, {})
    return ConsoleApp(
        switch, Monitor(path, switch.open().file), Settings(**settings), user="jo", host="gw-01",
        vault=vault,
    )  # fmt: skip


@asynccontextmanager
async def shown(path: Path, size: tuple[int, int] = (80, 24), **how: Any) -> AsyncIterator[Running]:
    app = app_of(path, **how)
    async with app.run_test(size=size) as pilot:
        await opened(pilot)
        yield pilot
        assert app._exception is None


async def opened(pilot: Running) -> None:
    await pilot.press("7")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))
    await until_shown(pilot, lambda: "ago" in line(pilot, "status"))


def line(pilot: Running, name: str) -> str:
    found = pilot.app.screen.query(f"#jobs-{name}")
    return found.first(TextLine).text if found else ""


def about(pilot: Running) -> str:
    found = pilot.app.screen.query("#job")
    return str(found.first(Static).render()).replace("\n", " ") if found else ""


def rows(pilot: Running) -> list[str]:
    found = pilot.app.screen.query(LineTable)
    if not found:
        return []
    table = found.first()
    texts = [table.render_line(y).text for y in range(1, table.size.height)]
    return [text.rstrip() for text in texts if text.strip()]


def standings(pilot: Running) -> list[str]:
    return [row[1:].split()[0] for row in rows(pilot)]


def dialog(pilot: Running) -> str:
    texts = (str(one.render()) for one in pilot.app.screen.query(Static))
    return " ".join("\n".join(texts).split())


def is_polling(pilot: Running) -> bool:
    return any(one.group == "jobs-poll" and one.is_running for one in pilot.app.workers)


async def confirmed(pilot: Running, answer: str) -> str:
    """Answer the confirm that is about to open; return what it asked."""
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await pilot.pause(GRACE_S + 0.05)
    asked = dialog(pilot)
    await pilot.press(answer)
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, JobsScreen))
    return asked


def asked_of(sim: SimServer) -> list[str]:
    return [one.path for one in sim.state.requests]


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
        await until_shown(pilot, lambda: rows(pilot))
        assert standings(pilot) == ORDER[: size[1] - 5 - (4 if size[1] > 18 else 0)]
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


async def test_it_follows_tasks_to_their_end_and_creates_none(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    make(rollout, sim, "order-1", None)
    tasks, served = len(sim.state.tasks), len(asked_of(sim))
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["open", "open"])
        await until_shown(pilot, lambda: "polling: next in" in line(pilot, "notice"))
        monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)
        await until_shown(pilot, lambda: standings(pilot) == ["completed", "completed"])
        assert "2 completed" in line(pilot, "counts")
        asked = asked_of(sim)[served:]
        assert len(asked) == 4, "each once while it ran, and once at its end"
        assert all(path.startswith("/v1/tasks/") for path in asked)
    assert len(sim.state.tasks) == tasks


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


async def test_a_rate_limit_is_told_and_kept_when_the_screen_is_opened_again(
    rollout: Path, sim: SimServer, api: httpx.Client
) -> None:
    make(rollout, sim, "order-1", "order-2")
    set_fault(api, kind="error", status=429, path="/v1/tasks")
    served = len(asked_of(sim))
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "polling waits" in line(pilot, "notice"))
        assert "429" in line(pilot, "notice")
        assert len(asked_of(sim)) - served == 1, "the others wait as well"
        poller = pilot.app.screen._poller  # type: ignore[attr-defined]
        poller._paused_until = time.monotonic() + 300
        await pilot.press("escape")
        await until_shown(pilot, lambda: not is_polling(pilot))
        await opened(pilot)
        await until_shown(pilot, lambda: "polling waits 29" in line(pilot, "notice"))
        assert len(asked_of(sim)) - served == 1


@pytest.mark.parametrize("way", ["escape", "p", "q"])
async def test_polling_ends_in_the_middle_of_a_request(
    rollout: Path, sim: SimServer, api: httpx.Client, way: str
) -> None:
    make(rollout, sim, "order-1")
    set_fault(api, kind="slow", latency_ms=20_000, path="/v1/tasks")
    began = time.monotonic()
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "0 answers" in line(pilot, "notice"))
        await pilot.press(way)
        if way != "q":
            await until_shown(pilot, lambda: not is_polling(pilot))
            assert pilot.app.is_running
    assert time.monotonic() - began < 19, "it waited for the answer"


async def test_it_polls_only_while_it_is_switched_on(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    make(rollout, sim, "order-1")
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "next in" in line(pilot, "notice"))
        await pilot.press("p")
        await until_shown(pilot, lambda: "not polled; p polls" in line(pilot, "notice"))
        served = len(asked_of(sim))
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await opened(pilot)
        await until_shown(pilot, lambda: "not polled; p polls" in line(pilot, "notice"))
        assert len(asked_of(sim)) == served, "the choice is kept"
        await pilot.press("p")
        await until_shown(pilot, lambda: "next in" in line(pilot, "notice"))
        await until_shown(pilot, lambda: len(asked_of(sim)) > served)


async def test_a_missing_key_is_told_once(rollout: Path) -> None:
    write(rollout.parent, create("a", now=time.time()))
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: "a key: no API key for profile" in line(pilot, "notice"))
        assert "not polled; a on the keys screen (2) gives" in line(pilot, "notice")
        await pilot.press("escape")
        quiet = "not polled: no API key; p looks for one again"
        await until_shown(pilot, lambda: quiet in line(pilot, "notice"))
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await opened(pilot)
        await until_shown(pilot, lambda: quiet in line(pilot, "notice"))
        await pilot.press("p")
        await until_shown(pilot, lambda: "gives a key" in line(pilot, "notice"))
        assert type(pilot.app.screen) is JobsScreen, "nothing asks for a passphrase"


async def test_a_queued_task_is_cancelled_with_a_confirm(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 3_600.0)
    make(rollout, sim, "order-1")
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["open"])
        await pilot.press("x")
        asked = await confirmed(pilot, "enter")
        assert "cancel ldtask_" in asked
        assert "of video / acme at TokenLab" in asked
        await until_shown(pilot, lambda: "nothing was cancelled" in line(pilot, "notice"))
        assert standings(pilot) == ["open"], "enter alone confirmed"
        await pilot.press("x")
        await confirmed(pilot, "y")
        await until_shown(pilot, lambda: standings(pilot) == ["cancelled"])
        await until_shown(pilot, lambda: "is cancelled" in line(pilot, "notice"))
        await pilot.press("x")
        assert "it cannot be cancelled: it is cancelled" in line(pilot, "notice")


async def test_a_task_that_runs_is_refused_by_the_api_in_words(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    make(rollout, sim, "order-1")
    async with shown(rollout, (200, 60)) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["open"])
        await pilot.press("x")
        await confirmed(pilot, "y")
        await until_shown(
            pilot, lambda: "it is not queued any more; it goes on" in line(pilot, "notice")
        )
        assert "409" in line(pilot, "notice")
        assert standings(pilot) == ["open"]


@pytest.mark.parametrize(
    ("given", "key", "why"),
    [
        ({"side": "previous"}, "x", "it is open, on the previous side"),
        (LOST_ANSWER, "x", "it has no known task"),
        ({"state": "completed"}, "x", "it is completed"),
        ({"state": "completed"}, "f", "what became of its create is known"),
        ({**LOST_ANSWER, "status": None}, "f", "its answer may still come"),
    ],
)
async def test_what_cannot_be_done_says_why_before_any_confirm(
    rollout: Path, given: dict[str, Any], key: str, why: str
) -> None:
    write(rollout.parent, create("a", now=time.time(), ago=20, **given))
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: rows(pilot))
        await pilot.press(key)
        assert why in line(pilot, "notice")
        assert isinstance(pilot.app.screen, JobsScreen)


async def test_a_forgotten_job_may_be_created_again(
    rollout: Path, sim: SimServer, api: httpx.Client
) -> None:
    set_fault(api, kind="error", status=504, path="/v1/videos")
    make(rollout, sim, "order-2", None, status=504)
    await asyncio.to_thread(api.delete, "/_sim/faults")
    make(rollout, sim, "order-2", status=409)
    tasks = len(sim.state.tasks)
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["unknown", "unknown"])
        await pilot.press("slash", *"order", "enter")
        await until_shown(pilot, lambda: len(rows(pilot)) == 1)
        await pilot.press("f")
        asked = await confirmed(pilot, "n")
        assert "job order-2 of video / acme may be created again" in asked
        assert "look for its task at tokenlab first" in asked
        assert standings(pilot) == ["unknown"]
        await pilot.press("f")
        await confirmed(pilot, "y")
        await until_shown(pilot, lambda: "done: job order-2" in line(pilot, "notice"))
        await pilot.press("escape")
        await until_shown(pilot, lambda: standings(pilot) == ["unknown"])
        assert len(sim.state.tasks) == tasks, "forgetting made one"
        make(rollout, sim, "order-2")
        await until_shown(pilot, lambda: standings(pilot) == ["unknown", "open"])
        await pilot.press("g", "f")
        assert "nothing prevents that it is created again" in await confirmed(pilot, "y")
        await until_shown(pilot, lambda: standings(pilot) == ["open"])


async def test_a_ledger_that_is_locked_is_not_forgotten_from(rollout: Path) -> None:
    path = write(rollout.parent, create("a", now=time.time(), ago=60, **LOST_ANSWER))
    other = sqlite3.connect(path, isolation_level=None)
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["unknown"])
        other.execute("begin immediate")
        await pilot.press("f")
        await confirmed(pilot, "y")
        await until_shown(pilot, lambda: "nothing was forgotten" in line(pilot, "notice"))
        other.execute("rollback")
        assert standings(pilot) == ["unknown"]
    other.close()


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
        assert pilot.app.screen.query_one("#job").size.height > 1
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
        words = "video: 1 unknown and 1 lost async jobs: see the jobs screen"
        await until_shown(pilot, lambda: words in alarm.text)
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
