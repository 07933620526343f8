"""The cost worker: every drill adds up, pages are the pile, and it ends with whoever asks."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_console.common.child_process import frame_of, read_frame
from rollout_console.cost import row_desk, worker, worker_client
from rollout_console.cost.bill import VIEWS, Figures, View
from rollout_console.cost.costs import CostAsked, attributed
from rollout_console.cost.row_desk import RowDesk
from rollout_console.cost.worker_client import CostWorker
from rollout_console.cost.worker_protocol import (
    Answer,
    CostPage,
    CostRow,
    CostRows,
    Explain,
    Explained,
    Export,
    Failed,
    Loaded,
    Order,
    Parts,
    PartsPage,
    PilePage,
    PileRows,
    Preview,
    Request,
    decode_answer,
    encode,
)
from rollout_console.reconcile.money import total
from rollout_console.reconcile.piles import ORDERS, PILES, Row, time_of
from rollout_gate.file.parse import parse
from tests.cost.traffic import DAY, Traffic
from tests.reconcile.world import NOON, NOW, World, line
from tests.support.waiting import has_ended, until


@pytest.fixture
def traffic(world: World) -> Traffic:
    """A day with every pile in it, and the same a week before; what is of NOW - 60 settles."""
    world.add_key("key_2", "batch")
    made = Traffic(world)
    for shift in (7 * DAY, 0):
        for number in range(12):
            made.send(
                NOON - shift - number, org=("acme", "globex", "hooli")[number % 3],
                route=("chat", "batch")[number % 2], key=("key_demo", "key_2")[number % 2],
                model="gpt-5.4-mini" if number % 5 else "gpt-5.4", tokens=(1000 + number, 7),
            )  # fmt: skip
    made.send(NOON + 10, times=3)
    made.send(NOON + 20, logged=False, key="key_2")
    made.send(NOW - 60, logged=False)
    world.bill(NOON + 25, "-0.25", billing="btx-refund")
    world.write(line(NOON + 30, request="never-billed"), line(NOON + 31), line(NOW - 50))
    return made


def order(world: World, **more: object) -> Order:
    made = Order(
        os.fsencode(world.path), world.path.read_bytes(), os.fsencode(world.state), "prod",
        world.sim.base_url, 86_400.0,
    )  # fmt: skip
    return Order(**{name: getattr(made, name) for name in made.__struct_fields__} | more)


def served(world: World, *requests: Request, **more: object) -> list[Answer]:
    """Return what a worker answers to an order and requests, in this process."""
    answers: list[Answer] = []
    waiting: Iterator[Request] = iter(requests)
    worker.serve(order(world, **more), lambda: next(waiting, None), answers.append, lambda: NOW)
    return answers


PULL = {"pulls": True, "token": "mt-sim-demo", "before_s": 8 * DAY}


def test_every_view_of_every_drill_adds_up_to_the_row_above(world: World, traffic: Traffic) -> None:
    """The whole tree: each row of each view, opened by each view that is left."""
    asked: list[tuple[CostRows, Figures]] = []
    found: list[Answer] = []

    def below(row: CostRow, request: CostRows) -> None:
        fixed: dict[View, str | None] = {**request.fixed, request.view: row.name}
        for view in VIEWS if len(fixed) < 3 else ():
            if view not in fixed:
                made = CostRows(len(asked), view, fixed, "", "name", 0, 1000)
                asked.append((made, row.figures))

    def take(answer: Answer) -> None:
        found.append(answer)
        if isinstance(answer, Loaded):
            asked.extend(
                (CostRows(number, view, {}, "", "cost", 0, 1000), answer.bill)
                for number, view in enumerate(VIEWS)
            )
        elif isinstance(answer, CostPage):
            request, above = asked[answer.serial]
            assert answer.total == len(answer.rows) > 0
            assert answer.sums == above
            assert total(row.figures.cost for row in answer.rows) == above.cost
            for row in answer.rows:
                below(row, request)

    numbers = iter(range(10**6))

    def ask() -> Request | None:
        number = next(numbers)
        return asked[number][0] if number < len(asked) else None

    worker.serve(order(world, **PULL), ask, take, lambda: NOW)
    assert sum(isinstance(one, CostPage) for one in found) == len(asked) > 300


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), by=st.sampled_from(ORDERS))
def test_pages_of_any_size_are_the_pile_in_its_order(
    desk: RowDesk, sizes: list[int], by: str
) -> None:
    for pile in PILES:
        rows: list[Row] = []
        for number in range(100):
            size = sizes[number % len(sizes)]
            made = PileRows(number, pile, "", "", by, len(rows), size)  # type: ignore[arg-type]
            page = desk.answer(made)
            assert isinstance(page, PilePage)
            assert len(page.rows) <= size
            rows += page.rows
            if page.is_end:
                break
        wanted = [*desk._outcome.piles.rows(pile)]
        assert Counter(map(repr, rows)) == Counter(map(repr, wanted))
        times = [time_of(row) for row in rows]
        if by != "dearest":
            assert times == sorted(times, reverse=by == "newest")
        else:
            costs = [row.cost for row in rows if row.cost is not None]
            assert costs == sorted(costs, reverse=True)


@pytest.fixture
def desk(world: World, traffic: Traffic) -> Iterator[RowDesk]:
    file, asked = parse(world.path.read_bytes()), CostAsked(NOW - DAY, NOW)
    with attributed(
        asked, world.room, file, world.path, world.state, clock=lambda: NOW, keeps=False
    ) as (costs, outcome):
        yield RowDesk(costs, outcome, world.room, file, world.path, world.state, lambda: NOW)


def test_a_filter_is_looked_for_in_bounded_time(
    desk: RowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends when its time is over, and the next one goes on there."""
    monkeypatch.setattr(row_desk, "SCAN_S", -1.0)
    monkeypatch.setattr(row_desk, "SCANNED", 2)
    rows: list[Row] = []
    pages = 0
    while True:
        page = desk.answer(PileRows(1, "matched", "", "hooli", "newest", len(rows), 100))
        assert isinstance(page, PilePage)
        rows, pages = [*rows, *page.rows], pages + 1
        if page.is_end:
            break
    assert pages > 3
    assert [row.org for row in rows] == ["hooli"] * 4
    none = desk.answer(PileRows(2, "matched", "refund", "", "newest", 0, 100))
    assert isinstance(none, PilePage)
    assert none.rows == []


def test_what_was_pulled_is_shown_offline_and_explained(world: World, traffic: Traffic) -> None:
    (nothing, _) = served(world)
    assert isinstance(nothing, Loaded)
    assert nothing.horizon is None
    assert any(isinstance(one, Loaded) for one in served(world, **PULL))
    world.sim.state.usage.clear()
    why, parts = Explain(1, 7.0 * DAY), Parts(2, "new org or route", "", 0, 10)
    found = served(world, why, parts)
    preview, loaded, _, explained, page = found
    assert isinstance(preview, Preview)
    assert isinstance(loaded, Loaded)
    assert isinstance(explained, Explained)
    assert isinstance(page, PartsPage)
    assert preview.cost == loaded.bill.cost == explained.now
    assert preview.burn == loaded.burn
    assert loaded.horizon == loaded.until == NOW
    assert total(one.amount for one in explained.causes) == explained.now - explained.earlier
    assert sum(one.parts for one in explained.causes if one.cause == "new org or route") == (
        page.total
    )
    gaps = {(one.pile, one.reason): one.is_gap for one in loaded.piles}
    assert gaps["billed-only", "refund"] is False
    assert gaps["billed-only", "not in the log"] is True
    assert gaps["matched", ""] is gaps["settling", ""] is False
    assert loaded.has_gap


def test_errors_are_sentences_without_the_token(world: World, traffic: Traffic) -> None:
    (failed,) = served(world, pulls=True, token="mt-no-such")
    assert isinstance(failed, Failed)
    assert (failed.serial, "mt-no-such" in failed.sentence) == (0, False)
    (failed,) = served(world, file=b"routes = [")
    assert isinstance(failed, Failed)
    assert "line 1" in failed.sentence
    served(world, **PULL)
    (store,) = world.state.glob("usage-*.sqlite3")
    export = Export(7, os.fsencode(store), "csv", pile="matched")
    assert isinstance(answer := served(world, export)[-1], Failed)
    assert (answer.serial, "is not an earlier export" in answer.sentence) == (7, True)
    failed = served(world, Export(8, os.fsencode(world.state / "why.csv"), "csv", why=True))[-1]
    assert isinstance(failed, Failed)
    assert failed.sentence == "the periods are not compared yet: export again then"
    store.write_bytes(b"no database at all" * 100)
    (failed,) = served(world)
    assert isinstance(failed, Failed)
    assert failed.sentence.endswith("are corrupt: delete that file")
    assert "mt-sim-demo" not in repr(order(world, **PULL))


@pytest.mark.parametrize("way", ["end of stdin", "SIGTERM"])
def test_it_ends_when_it_is_told_to(world: World, traffic: Traffic, way: str) -> None:
    served(world, **PULL)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "rollout_console.cost.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame_of(encode(order(world))))
        process.stdin.flush()
        data = read_frame(process.stdout)
        assert data is not None
        assert isinstance(decode_answer(data), Preview)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"mt-" not in command
        if way == "SIGTERM":
            process.terminate()
        else:
            process.stdin.close()
        assert process.wait(60) == 0


def test_one_that_is_stopped_ends_with_its_screen(world: World, traffic: Traffic) -> None:
    async def stopped() -> int:
        worker = CostWorker(order(world))
        async with aclosing(worker.answers()) as answers:
            await anext(answers)
            process = worker.process
            assert process is not None
            os.kill(process, signal.SIGSTOP)
        return process

    process = asyncio.run(stopped())
    until(lambda: not Path(f"/proc/{process}").exists())


async def test_an_answer_that_cannot_be_read_ends_it_with_a_sentence(
    world: World, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_client, "decode_answer", lambda data: decode_answer(data[:-1]))
    asked = CostWorker(order(world))
    async with aclosing(asked.answers()) as answers:
        found = [answer async for answer in answers]
    assert found == [Failed(0, worker_client.ENDED)]
    assert asked.process is not None
    until(lambda: has_ended(asked.process or 0))
