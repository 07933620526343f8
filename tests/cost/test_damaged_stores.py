"""Kept records and days with values that are none: one sentence with its remedy, no traceback."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

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
    costs = {Cell("chat", "acme", "k"): Decimal(1)}
    with DayCells(path) as days:
        days.keep({20_000: costs}, {20_000: NOON})
        assert days.days(20_000, 20_000) == {20_000: NOON}
    changed(path, statement, value)
    with DayCells(path) as days:
        assert {**days.days(20_000, 20_000)} == {} or days.day(20_000) is None
        assert "were unusable" in days.trouble
        assert days.days(20_000, 20_000) == {}, "begun anew"
    assert path.with_name(f"{path.name}.corrupt").exists()
    # A cursor left open would be reported when it is collected.
    assert not [one for one in recwarn if "closed database" in str(one.message)]
