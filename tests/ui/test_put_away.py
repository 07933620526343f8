"""Notices that were put away, in the consoles of one user."""

from pathlib import Path

import pytest

from rollout_console.common.flock import locked_folder
from rollout_console.ui import put_away
from rollout_console.ui.put_away import PutAway


def test_what_two_consoles_put_away_is_kept(tmp_path: Path) -> None:
    """Each has read the file at its start, before the other wrote to it."""
    path = tmp_path / "put-away.json"
    one, other = PutAway(path), PutAway(path)
    assert not one.has("prod", "none")
    assert not other.has("prod", "none")
    one.add("prod", "none")
    other.add("staging", "no token")
    one.add("dev", "none")
    assert one.has("staging", "no token")
    one.discard("dev")
    kept = PutAway(path)
    assert kept.has("prod", "none")
    assert kept.has("staging", "no token")
    assert not kept.has("dev", "none")


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("")
    one = PutAway(folder / "put-away.json")
    one.add("prod", "none")
    folder.unlink()
    one.add("staging", "none")
    assert PutAway(folder / "put-away.json").has("prod", "none")


def test_a_file_that_is_damaged_meanwhile_loses_nothing_of_this_run(tmp_path: Path) -> None:
    path = tmp_path / "put-away.json"
    one = PutAway(path)
    one.add("x", "no key")
    path.write_bytes(b"{")
    one.add("y", "no key")
    assert all(PutAway(path).has(profile, "no key") for profile in ("x", "y"))


def test_a_folder_that_stays_locked_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put_away, "_LOCK_WAIT_S", 0.01)
    with locked_folder(tmp_path, 0):
        PutAway(tmp_path / "put-away.json").add("prod", "none")
    assert PutAway(tmp_path / "put-away.json").has("prod", "none")
