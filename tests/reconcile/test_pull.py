"""Pulling: each record once, from pages that shift, limits that bite, and pulls that stop."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from rollout_console.reconcile.errors import Unstable
from rollout_console.reconcile.pacing import MOST_WAIT_S, TRIES, Pacer
from rollout_console.reconcile.pull import MOST_RECORDS, Progress, Pulled, Puller
from rollout_console.reconcile.store import UsageStore
from rollout_console.tokenlab.client import ManagementClient
from rollout_console.tokenlab.errors import Garbage, Refused, Unreachable
from rollout_console.tokenlab.types import UsageRecord
from tests.reconcile.world import NOON, TOKEN, Listing, record
from tests.support.loopback import Origin, Received, Reply

KEY = {
    "id": "key_1", "name": "prod", "key_prefix": "sk-abc", "status": "active",
    "used_amount_decimal": "0", "created_at": "2026-09-01T00:00:00Z",
}  # fmt: skip
SINCE, UNTIL = int(NOON) - 3600, int(NOON) + 3600


class Server:
    """The management API of one key, whose usage is a Listing."""

    def __init__(self, listing: Listing, folder: Path) -> None:
        self.listing = listing
        self.listings = {str(KEY["id"]): listing}
        self.path = folder / "usage.sqlite3"
        self.keys = [KEY]
        self.now = float(UNTIL)
        self.slept: list[float] = []
        self.progress: list[Progress] = []
        self.origin = Origin(self.answer)

    def answer(self, request: Received) -> Reply:
        url = urlsplit(request.target)
        if not url.path.endswith("/usage"):
            return Reply(200, {"data": self.keys})
        listing = self.listings.get(url.path.split("/")[4])
        if listing is None:
            return Reply(404, {"error": {"message": "no such key", "type": "not_found"}})
        query = dict(parse_qsl(url.query))
        listing.asked.append(query)
        refused = listing.before(len(listing.asked))
        if refused is not None:
            status, headers = refused
            return Reply(status, {"error": {"message": "no", "type": "x"}}, headers)
        return Reply(200, listing.body(query), listing.headers)

    async def pull(self, since: int = SINCE, until: int = UNTIL, *, again: bool = False) -> Pulled:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += seconds

        async with ManagementClient(self.origin.url, TOKEN) as client:
            with UsageStore(self.path) as store:
                pacer = Pacer(sleep=sleep, clock=lambda: self.now)
                puller = Puller(
                    store, client, pacer, clock=lambda: self.now, progress=self.progress.append
                )
                return await puller.pull(since, until, again=again)

    def rows(self) -> list[tuple[str | None, str | None, str]]:
        with sqlite3.connect(self.path) as db:
            found = db.execute(
                "SELECT billing_id, request_id, cost FROM records ORDER BY at, id"
            ).fetchall()
        db.close()
        return found

    def asked(self) -> int:
        """Return how many usage requests there were, and forget them."""
        count = len(self.listing.asked)
        self.listing.asked.clear()
        return count


@contextmanager
def serving(records: Sequence[UsageRecord], folder: Path) -> Iterator[Server]:
    server = Server(Listing(records), folder)
    with server.origin:
        yield server


def many(count: int, begin: float = NOON - 3000, step: float = 1.0) -> list[UsageRecord]:
    return [
        record(begin + step * number, f"0.{number + 1:06}", billing=f"b{number}")
        for number in range(count)
    ]


def costs(records: Sequence[UsageRecord]) -> Decimal:
    return sum((one.cost for one in records), Decimal(0))


def stored(server: Server) -> Decimal:
    return sum((Decimal(cost) for _, _, cost in server.rows()), Decimal(0))


async def test_page_by_page_and_then_only_what_is_new(tmp_path: Path) -> None:
    records = many(250)
    with serving(records, tmp_path) as server:
        found = await server.pull()
        assert (found.records, found.until, server.asked()) == (250, UNTIL, 3)
        assert stored(server) == costs(records)
        # What was read at once is read again later, and then compared by its count and sum.
        server.now += 7200
        assert (await server.pull()).records == 250
        server.now += 2 * 86_400
        assert ((await server.pull()).records, server.asked()) == (0, 3 + 1)
        # After that nothing of it is asked for again, and only the time since then is read.
        server.now += 86_400
        assert ((await server.pull()).records, server.asked()) == (0, 0)
        later = [record(NOON + 4000 + i, "0.3", billing=f"later{i}") for i in range(10)]
        server.listing.records += later
        found = await server.pull(until=UNTIL + 2 * 86_400)
        assert found.records == 10
        assert server.listing.asked[0]["startDate"] == "2026-10-01T13:00:00Z"
        assert stored(server) == costs(records) + costs(later)


async def test_an_unchanged_window_costs_one_request(tmp_path: Path) -> None:
    records = many(1000)
    with serving(records, tmp_path) as server:
        server.now += 7200
        await server.pull()
        assert server.asked() == 10
        server.now += 7200
        await server.pull()
        assert server.asked() == 1
        server.listing.records.append(record(NOON - 100, "7", billing="late"))
        await server.pull()
        assert server.asked() == 1 + 11
        assert stored(server) == costs(records) + 7


async def test_what_settles_late_and_what_vanishes_within_a_day(tmp_path: Path) -> None:
    records = many(5)
    with serving(records, tmp_path) as server:
        await server.pull()
        server.now += 20 * 3600
        server.listing.records = [*records[1:], record(NOON, "9", request="late")]
        await server.pull()
        assert stored(server) == costs(server.listing.records)


async def test_an_earlier_period_is_read_as_well(tmp_path: Path) -> None:
    records = many(20, NOON - 2 * 86_400, 8640.0)
    with serving(records, tmp_path) as server:
        server.now = UNTIL + 10 * 86_400.0
        await server.pull()
        before = stored(server)
        await server.pull(since=SINCE - 3 * 86_400)
        assert (
            before
            < stored(server)
            == costs([one for one in records if one.at.timestamp() <= UNTIL])
        )


@pytest.mark.parametrize("at", [2, 3, 4])
async def test_a_page_that_shifts_is_read_again(tmp_path: Path, at: int) -> None:
    records = many(350)
    with serving(records, tmp_path) as server:

        def shift(number: int) -> None:
            if number == at:
                server.listing.records.append(record(NOON + 3000, "5", billing="new"))

        server.listing.before = shift
        await server.pull()
        assert stored(server) == costs(server.listing.records)
        assert len(server.rows()) == 351


@pytest.mark.parametrize("with_ids", [True, False])
async def test_a_page_that_shifts_under_an_equal_count(tmp_path: Path, with_ids: bool) -> None:
    """One record comes and another goes: the count stays, a record is twice, another nowhere."""
    name = "new" if with_ids else None
    # With ids of equal costs, so that the sum stays too; without them the sum is what tells.
    records = [
        record(NOON - 3000 + i, "0.5", billing=f"b{i}") if with_ids
        else record(NOON - 3000 + i, f"0.{i:06}")
        for i in range(250)
    ]  # fmt: skip
    with serving(records, tmp_path) as server:

        def shift(number: int) -> None:
            if number == 2:
                server.listing.records.append(record(NOON + 3000, "0.5", billing=name))
                server.listing.records.remove(records[0])

        server.listing.before = shift
        await server.pull()
        assert stored(server) == costs(server.listing.records)
        assert len(server.rows()) == 250


async def test_a_list_that_never_stands_still_is_given_up(tmp_path: Path) -> None:
    with serving(many(150), tmp_path) as server:

        def shift(number: int) -> None:
            server.listing.records.append(record(NOON - 1, "0.1", billing=f"n{number}"))

        server.listing.before = shift
        server.now = UNTIL + 86_400.0
        with pytest.raises(Unstable, match="changed each of 6 times"):
            await server.pull()
        # Where it is the newest records, they are left for the next pull.
        server.now = float(UNTIL)
        server.listing.before = lambda number: server.listing.records.append(
            record(NOON + 3590, "0.1", billing=f"m{number}")
        )
        found = await server.pull()
        assert found.until == UNTIL - 600
        assert len(server.rows()) == sum(one.at.timestamp() <= UNTIL - 600
                                         for one in server.listing.records)  # fmt: skip


async def test_equal_records_without_ids_are_several(tmp_path: Path) -> None:
    records = [record(NOON, "0.25") for _ in range(150)]
    with serving([*records, *[record(NOON, "0.25", request="r1")] * 2], tmp_path) as server:
        await server.pull()
        found = server.rows()
    assert sum(one == (None, None, "0.25") for one in found) == 150
    assert sum(one == (None, "r1", "0.25") for one in found) == 1


async def test_a_sum_that_is_not_that_of_the_records_is_told(tmp_path: Path) -> None:
    records = many(120)
    with serving(records, tmp_path) as server:
        server.listing.cost = "123.45"
        await server.pull()
        assert stored(server) == costs(records)
        with UsageStore(server.path) as store:
            (note,) = store.notes(SINCE, UNTIL)
    assert "the API's own sum from" in note
    assert "$123.45" in note
    assert f"${costs(records)}" in note


async def test_without_a_sum_two_readings_must_be_equal(tmp_path: Path) -> None:
    with serving(many(150), tmp_path) as server:
        server.listing.cost = None
        await server.pull()
        assert server.asked() == 4
        assert len(server.rows()) == 150


async def test_a_long_range_is_split_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    records = many(MOST_RECORDS * 3, NOON - 3000, 1.0)
    with serving(records, tmp_path) as server:
        server.now = UNTIL + 86_400.0 * 3
        server.listing.before = lambda number: (401, {}) if number > 40 else None
        with pytest.raises(Refused):
            await server.pull(until=UNTIL + 3600)
        kept = len(server.rows())
        assert 1000 < kept < 40 * 100
        server.asked()
        server.listing.before = lambda number: None
        await server.pull(until=UNTIL + 3600)
        assert stored(server) == costs(records)
        assert len(server.rows()) == len(records)
        assert server.asked() <= (len(records) - kept) / 100 + 15
        shares = [one.part for one in server.progress]
        assert shares[0] < 0.1
        assert shares[-1] == 1


@pytest.mark.parametrize("stop", range(1, 9))
async def test_an_interruption_anywhere_drops_and_doubles_nothing(
    tmp_path: Path, stop: int
) -> None:
    records = many(450)
    with serving(records, tmp_path) as server:
        server.listing.before = lambda number: (403, {}) if number == stop else None
        for _ in range(2):
            try:
                await server.pull()
            except Refused:
                continue
        assert stored(server) == costs(records)
        assert len(server.rows()) == 450


async def test_a_record_that_moves_to_a_later_time_is_counted_once(tmp_path: Path) -> None:
    early, late = record(NOON - 3000, "2", billing="b1"), record(NOON + 86_000, "2", billing="b1")
    with serving([early], tmp_path) as server:
        server.now = NOON + 5 * 86_400
        await server.pull()
        server.now = NOON + 10 * 86_400
        server.listing.records = [late]
        await server.pull(until=int(NOON) + 90_000)
        assert server.rows() == [("b1", None, "2")]
        # Two entries that are both in the list are two.
        server.listing.records = [early, late]
        await server.pull(until=int(NOON) + 90_000, again=True)
        assert server.rows() == [("b1", None, "2")] * 2


async def test_the_rate_limit_is_waited_for(tmp_path: Path) -> None:
    with serving(many(250), tmp_path) as server:
        server.listing.headers = {
            "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(server.now) + 30)
        }  # fmt: skip
        await server.pull()
        assert server.slept == [30.0]
        assert len(server.rows()) == 250


async def test_a_429_is_waited_for_as_long_as_it_says(tmp_path: Path) -> None:
    with serving(many(250), tmp_path) as server:
        server.listing.before = lambda number: (
            (429, {"Retry-After": "7"}) if number in (2, 3) else None
        )
        await server.pull()
        assert server.slept == [7.0, 7.0]
        assert stored(server) == costs(many(250))


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (429, {"Retry-After": str(int(MOST_WAIT_S) + 1)}, 0),
        (503, {}, TRIES - 1),
        (500, {"Retry-After": "1"}, TRIES - 1),
    ],
)
async def test_waits_are_bounded(
    tmp_path: Path, status: int, headers: dict[str, str], waits: int
) -> None:
    with serving(many(5), tmp_path) as server:
        server.listing.before = lambda number: (status, headers)
        with pytest.raises(Unreachable, match="given up"):
            await server.pull()
        assert len(server.slept) == waits
        server.listing.before = lambda number: (429, {})
        with pytest.raises(Unreachable, match="given up"):
            await server.pull()
        assert max(server.slept) == 32.0
        assert sum(server.slept) < 1000


async def test_a_wrong_token_is_not_tried_again(tmp_path: Path) -> None:
    with serving(many(5), tmp_path) as server:
        server.listing.before = lambda number: (401, {})
        with pytest.raises(Refused):
            await server.pull()
        assert (server.asked(), server.slept) == (1, [])


async def test_revoked_keys_are_read_and_vanished_ones_told(tmp_path: Path) -> None:
    records = many(5)
    with serving(records, tmp_path) as server:
        server.keys = [KEY | {"status": "revoked"}]
        await server.pull()
        assert len(server.rows()) == 5
        server.now += 3600
        server.keys = [KEY | {"id": "key_2", "name": "new"}]
        found = await server.pull(until=UNTIL + 1800)
        assert len(server.rows()) == 5
        assert found.unreadable == [
            "usage of key new (key_2) can no longer be read: it is not there"
        ]
        with UsageStore(server.path) as store:
            assert [(one.name, one.status, one.listed) for one in store.known_keys()] == [
                ("new", "active", True), ("prod", "revoked", False)
            ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"cost_decimal": None},
        {"cost_decimal": "1e99"},
        {"cost_decimal": "NaN"},
        {"cost_decimal": 0.5},
        {"created_at": "yesterday"},
    ],
)
async def test_an_answer_without_exact_money_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with serving(many(3), tmp_path) as server:
        whole = server.listing.body

        def spoiled(query: dict[str, str]) -> dict[str, object]:
            body = whole(query)
            body["items"][0] |= change
            return json.loads(json.dumps(body))  # type: ignore[no-any-return]

        server.listing.body = spoiled  # type: ignore[method-assign]
        with pytest.raises(Garbage, match=r"^usage of key \S+ from 20.* to 20.*Z: the answer "):
            await server.pull()
        assert server.rows() == []


async def test_a_store_that_is_deleted_in_the_middle_is_filled_again(tmp_path: Path) -> None:
    records = many(MOST_RECORDS * 2)
    with serving(records, tmp_path) as server:

        def delete(number: int) -> None:
            if number == 30:
                for path in tmp_path.glob("usage.sqlite3*"):
                    path.unlink()

        server.listing.before = delete
        await server.pull(until=UNTIL + 3600)
        assert stored(server) == costs(records)


async def test_a_store_that_is_deleted_after_a_key_was_read(tmp_path: Path) -> None:
    with serving(many(5), tmp_path) as server:
        server.keys.append(KEY | {"id": "key_2", "name": "second"})
        other = Listing([record(NOON, "2", billing="other")])
        server.listings["key_2"] = other

        def delete(number: int) -> None:
            if number == 1:
                for path in tmp_path.glob("usage.sqlite3*"):
                    path.unlink()

        other.before = delete
        await server.pull()
        assert stored(server) == costs(many(5)) + 2


async def test_a_clock_that_was_set_back_reads_again(tmp_path: Path) -> None:
    records = many(5)
    with serving(records, tmp_path) as server:
        server.now = UNTIL + 400 * 86_400.0
        await server.pull()
        server.now = float(UNTIL)
        server.listing.records.append(record(NOON, "3", billing="late"))
        await server.pull()
        assert stored(server) == costs(records) + 3
