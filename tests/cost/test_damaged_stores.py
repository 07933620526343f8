"""Kept records and days with values that are none: one sentence with its remedy, no traceback."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.cost import day_cells
from rollout_console.cost.day_cells import Cell, DayCells
from rollout_console.reconcile.errors import CorruptStore
from tests.cost.traffic import Traffic, costs_of
from tests.reconcile.world import NOON, World

# SQLite keeps any type in any column, and a page that is damaged in a value is well to it.
VALUES: dict[str, tuple[object, ...]] = {
    "cost": ("NaN", "sNaN", "-Infinity", "1E+999999", "1E-9999", "9" * 5000, "", "ten", b"\xff"),
    "tokens_in": (9e300, float("inf"), "NaN", b"\xff"),
    "tokens_out": (-9e300, "many"),
    "model": (b"\xff\x00",),
    "key_id": (b"\xff\x00",),
    "quantity": (b"\xff",),
}


COSTS = {Cell("chat", "acme", "k"): Decimal(1)}


def changed(path: Path, statement: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, (value,))


@pytest.mark.parametrize(
    ("column", "value"), [(name, value) for name, some in VALUES.items() for value in some]
)
def test_a_record_that_is_none_is_a_corrupt_store(world: World, column: str, value: object) -> None:
    traffic = Traffic(world)
    for number in range(3):
        traffic.send(NOON + number)
    assert costs_of(world).bill.all.requests == 3
    (path,) = world.state.glob("usage-*.sqlite3")
    changed(path, f"update records set {column} = ? where id = 2", value)
    with pytest.raises(CorruptStore, match="are corrupt: delete that file") as found:
        costs_of(world, offline=True)
    assert str(path) in str(found.value)
    path.unlink()
    assert costs_of(world).bill.all.requests == 3, "the remedy helps"


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        *(("update days set since = ?", one) for one in (9e300, -1.0, "soon", b"\xff")),
        *(("update cells set cost = ?", one) for one in ("NaN", "1E+999999", b"\xff")),
        ("update cells set route = ?", b"\xff"),
        ("update cells set key_id = ?", b"\xff"),
    ],
)
def test_a_kept_day_that_is_none_is_set_aside(
    tmp_path: Path, statement: str, value: object, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "days.sqlite3"
    with DayCells(path) as days:
        days.keep({20_000: COSTS}, {20_000: NOON})
        assert days.days(20_000, 20_000) == {20_000: NOON}
    changed(path, statement, value)
    with DayCells(path) as days:
        assert {**days.days(20_000, 20_000)} == {} or days.day(20_000) is None
        assert "were unusable" in days.trouble
        assert days.days(20_000, 20_000) == {}, "begun anew"
    assert path.with_name(f"{path.name}.corrupt").exists()
    # A cursor left open would be reported when it is collected.
    assert not [one for one in recwarn if "closed database" in str(one.message)]


def test_a_first_opening_that_is_killed_leaves_a_file_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed at any statement: all of the tables are made, or none."""
    path = tmp_path / "days.sqlite3"
    for number in range(len(day_cells._SCHEMA)):
        cut = (*day_cells._SCHEMA[: number + 1], "killed here")
        monkeypatch.setattr(day_cells, "_SCHEMA", cut)
        with pytest.raises(sqlite3.OperationalError):
            DayCells(path)._opened()
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("select count(*) from sqlite_master").fetchone() == (0,)
        monkeypatch.undo()
    with DayCells(path) as days:
        days.keep({20_000: COSTS}, {})
        assert (days.day(20_000), days.trouble) == ([*COSTS.items()], "")


def test_a_file_that_was_left_half_made_is_used(tmp_path: Path) -> None:
    path = tmp_path / "days.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute(day_cells._SCHEMA[0])
    with DayCells(path) as days:
        days.keep({20_000: COSTS}, {})
        assert (days.day(20_000), days.trouble) == ([*COSTS.items()], "")


def test_two_first_openings_at_once_make_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked at the version before the first has made the tables."""
    path = tmp_path / "days.sqlite3"
    version, looked = day_cells._version, []

    def other_is_first(database: sqlite3.Connection) -> int:
        found = version(database)
        looked.append(found)
        if len(looked) == 1:
            with DayCells(path) as first:
                first.keep({20_000: COSTS}, {})
        return found

    monkeypatch.setattr(day_cells, "_version", other_is_first)
    with DayCells(path) as days:
        assert looked[0] == 0
        assert (days.day(20_000), days.trouble) == ([*COSTS.items()], "")


def test_a_second_damage_keeps_the_copy_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "days.sqlite3"
    for number in range(3):
        path.write_bytes(b"damage %d" % number * 100)
        with DayCells(path) as days:
            assert "were unusable" in days.trouble
    for number, name in enumerate((".corrupt", ".corrupt-2", ".corrupt-3")):
        assert path.with_name(f"{path.name}{name}").read_bytes() == b"damage %d" % number * 100


def test_what_another_process_has_begun_anew_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "days.sqlite3"
    with DayCells(path) as days:
        days.keep({20_000: COSTS, 20_001: COSTS}, {})
    changed(path, "update cells set cost = ? where day = 20000", "x")
    with DayCells(path) as first, DayCells(path) as second:
        assert first.day(20_000) is None
        first.keep({20_002: COSTS}, {})
        assert second.day(20_000) is None
        assert f"see {path}.corrupt" in second.trouble
        assert second.day(20_002) == [*COSTS.items()]
    with closing(sqlite3.connect(f"{path}.corrupt")) as copy:
        assert copy.execute("select day from days").fetchall() == [(20_000,), (20_001,)]
