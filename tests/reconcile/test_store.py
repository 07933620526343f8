"""The store: what is one record and what two, and what damage it outlives."""

import os
import resource
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.reconcile.errors import CorruptStore, UsageStoreError
from rollout_console.reconcile.money import canonical, plain, total
from rollout_console.reconcile.store import Listing, UsageStore, identities, store_path
from rollout_console.tokenlab.types import UsageRecord
from tests.reconcile.world import NOON, record

BEGIN = int(NOON)


def listing(
    records: Sequence[UsageRecord], begins: int = BEGIN, ends: int = BEGIN + 100,
    read_at: float = NOON,
) -> Listing:  # fmt: skip
    return Listing(begins, ends, read_at, records, len(records), total(r.cost for r in records))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UsageStore]:
    with UsageStore(store_path(tmp_path / "state", "prod", "https://a.example")) as made:
        yield made


def rows(store: UsageStore) -> list[tuple[str | None, str]]:
    with store.snapshot() as db:
        return db.execute("SELECT billing_id, cost FROM main.records ORDER BY at, id").fetchall()


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (record(1, billing="b", request="r"), record(1, billing="b", request="s"), True),
        (record(1, "0.5", billing="b"), record(1, "0.50", billing="b"), True),
        (record(1, "0.5", billing="b"), record(1, "-0.5", billing="b"), False),
        (record(1, billing="b"), record(2, billing="b"), False),
        (record(1, request="r"), record(1, request="r"), True),
        (record(1, request="r"), record(1, "0.6", request="r"), False),
        (record(1), record(1), False),
        (record(1), record(1, model="other"), False),
    ],
)
def test_what_is_one_record(one: UsageRecord, other: UsageRecord, equal: bool) -> None:
    first, second = (identity for identity, _ in identities("key", [one, other]))
    assert (first == second) == equal


def test_a_billing_id_is_of_every_key_and_a_request_id_of_one() -> None:
    for one, shared in ((record(1, billing="b"), True), (record(1, request="r"), False)):
        found = {next(identities(key, [one]))[0] for key in ("a", "b")}
        assert (len(found) == 1) == shared


def test_a_window_is_replaced_and_its_neighbours_stay(store: UsageStore) -> None:
    edge = record(NOON + 100, billing="edge")
    store.commit("k", listing([record(NOON + 1, billing="b1"), edge]))
    store.commit("k", listing([edge, record(NOON + 101, billing="b2")], BEGIN + 100, BEGIN + 200))
    assert [name for name, _ in rows(store)] == ["b1", "edge", "b2"]
    store.commit("k", listing([edge]))
    assert [name for name, _ in rows(store)] == ["edge", "b2"]
    store.commit("k", listing([record(NOON + 150, billing="b3")], BEGIN + 50, BEGIN + 150))
    assert [name for name, _ in rows(store)] == ["b3"]
    assert [(one.begins, one.ends) for one in store.windows("k")] == [(BEGIN + 50, BEGIN + 150)]
    store.commit("other", listing([record(NOON + 60, billing="b4")]))
    assert [name for name, _ in rows(store)] == ["b4", "b3"]


def test_reading_creates_nothing(store: UsageStore) -> None:
    assert (store.known_keys(), store.windows("k"), rows(store)) == ([], [], [])
    assert not store.path.parent.exists()
    store.commit("k", listing([record(NOON)]))
    assert len(rows(store)) == len(store.windows("k")) == 1
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_store_is_of_one_profile_and_one_base_url(tmp_path: Path) -> None:
    names = {
        store_path(tmp_path, profile, url)
        for profile in ("prod", "test")
        for url in ("https://a.example", "https://b.example")
    }
    assert len(names) == 4


@pytest.mark.parametrize("size", [10, 4096, 100_000])
def test_garbage_is_named_and_set_aside(store: UsageStore, size: int) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(b"garbage!" * (size // 8))
    with pytest.raises(CorruptStore, match="are corrupt"):
        store.commit("k", listing([record(NOON)]))
    with pytest.raises(CorruptStore):
        rows(store)
    aside = store.set_aside()
    assert aside.read_bytes().startswith(b"garbage!")
    store.commit("k", listing([record(NOON)]))
    assert len(rows(store)) == 1
    store.close()
    store.path.write_bytes(b"again!!!" * (size // 8))
    again = store.set_aside()
    assert again.read_bytes().startswith(b"again!!!")
    assert aside.read_bytes().startswith(b"garbage!"), "an earlier copy is kept"


def test_damage_in_the_middle_is_named(store: UsageStore) -> None:
    many = [record(NOON + i / 100, billing=f"b{i}" * 10) for i in range(2000)]
    store.commit("k", listing(many))
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"\xff" * (size - 16384))
    with pytest.raises(CorruptStore):
        rows(store)


@pytest.mark.parametrize(
    "damage",
    ["cost = 'NaN'", "ends = 9223372036854775807", "begins = ends + 1", "read_at = 9e999"],
)
def test_a_window_that_is_none_is_named_as_damage(store: UsageStore, damage: str) -> None:
    store.commit("k", listing([record(NOON, billing="b1")]))
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute(f"UPDATE windows SET {damage}")
    db.close()
    with pytest.raises(CorruptStore, match="are corrupt: delete that file"):
        store.windows("k")


def test_the_burn_of_damaged_records_is_no_number(store: UsageStore) -> None:
    store.commit("k", listing([record(NOON, billing="b1")]))
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE records SET cost = 'NaN'")
    db.close()
    with pytest.raises(CorruptStore, match="are corrupt: delete that file"):
        store.costs(0, BEGIN * 2_000_000)


def test_a_newer_version_is_left_alone(store: UsageStore) -> None:
    store.commit("k", listing([record(NOON)]))
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(UsageStoreError, match="another version") as caught:
        store.windows("k")
    assert not isinstance(caught.value, CorruptStore)


@contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_what_was_committed(store: UsageStore) -> None:
    store.commit("k", listing([record(NOON + 1, billing="b1")]))
    many = [record(NOON + 200 + i / 100, billing=f"b{i}" * 10) for i in range(3000)]
    used = max(path.stat().st_size for path in store.path.parent.iterdir())
    with no_more_than(used + 20_000), pytest.raises(UsageStoreError, match="is kept") as caught:
        store.commit("k", listing(many, BEGIN + 100, BEGIN + 300))
    assert not isinstance(caught.value, CorruptStore)
    assert [name for name, _ in rows(store)] == ["b1"]
    store.commit("k", listing(many, BEGIN + 100, BEGIN + 300))
    assert len(rows(store)) == 3001


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with UsageStore(tmp_path / "file" / "usage.sqlite3") as store, pytest.raises(UsageStoreError):
        store.commit("k", listing([record(NOON)]))


def test_several_at_once(store: UsageStore) -> None:
    failed: list[BaseException] = []

    def pull(number: int) -> None:
        try:
            with UsageStore(store.path) as mine:
                for part in range(10):
                    begins = BEGIN + 100 * part
                    found = [record(begins + 1, billing=f"{number % 2}-{part}")]
                    mine.commit(f"k{number % 2}", listing(found, begins, begins + 100))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(str(name) for name, _ in rows(store)) == sorted(
        f"{number}-{part}" for number in range(2) for part in range(10)
    )
    assert len(store.windows("k0")) == len(store.windows("k1")) == 10


def test_a_deleted_store_is_made_again(store: UsageStore) -> None:
    store.commit("k", listing([record(NOON, billing="b1")]))
    for path in store.path.parent.iterdir():
        os.unlink(path)
    assert store.windows("k") == []
    assert store.replaced == 1
    store.commit("k", listing([record(NOON, billing="b2")]))
    assert [name for name, _ in rows(store)] == ["b2"]


@pytest.mark.parametrize("create", [True, False])
def test_a_store_that_is_replaced_while_it_is_opened_is_opened_again(
    store: UsageStore, create: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit("k", listing([record(NOON, billing="b1")]))
    store.close()
    really = UsageStore._connect
    replaced: list[UsageStore] = []

    def connect(self: UsageStore, *, create: bool) -> sqlite3.Connection | None:
        """The file is deleted, and another process makes it again, right after it was opened."""
        db = really(self, create=create)
        if not replaced:
            replaced.append(self)
            for path in store.path.parent.iterdir():
                os.unlink(path)
            with UsageStore(store.path) as other:
                other.commit("k", listing([record(NOON, billing="b2")]))
        return db

    monkeypatch.setattr(UsageStore, "_connect", connect)
    if not create:
        assert [one.total for one in store.windows("k")] == [1]
    store.commit("other", listing([record(NOON + 1, billing="b3")]))
    assert sorted(str(name) for name, _ in rows(store)) == ["b2", "b3"]


def test_what_is_pulled_goes_to_a_file_that_another_process_is_just_making(
    store: UsageStore,
) -> None:
    store.path.parent.mkdir(parents=True, exist_ok=True)
    store.path.touch(0o600)  # and has no schema yet
    assert store.windows("k") == []
    store.commit("k", listing([record(NOON, billing="b1")]))
    assert [name for name, _ in rows(store)] == ["b1"]
    with UsageStore(store.path) as other:
        assert len(other.windows("k")) == 1


def test_sums_of_money() -> None:
    amounts = [Decimal("1e15"), Decimal("1e-40"), Decimal("-0.10")]
    assert plain(total(amounts)) == "999999999999999.9000000000000000000000000000000000000001"
    assert canonical(Decimal("0.100")) == canonical(Decimal("1E-1")) == "0.1"
    assert canonical(Decimal("-0.00")) == canonical(Decimal(0)) == "0"
