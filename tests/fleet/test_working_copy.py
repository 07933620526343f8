"""The working copy of several consoles of one user: none puts an older version back."""

from pathlib import Path

import pytest

from rollout_console.common.files import write_private
from rollout_console.common.flock import locked_folder
from rollout_console.etcd.address import address_of
from rollout_console.fleet import working_copy
from rollout_console.fleet.working_copy import WorkingCopy


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WorkingCopy, WorkingCopy]:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path))
    address = address_of("etcd://gw:2379/rollout/prod")
    return WorkingCopy(address), WorkingCopy(address)


def test_an_older_revision_is_not_put_over_the_same_files_of_a_later_one(
    copies: tuple[WorkingCopy, WorkingCopy],
) -> None:
    """Somebody changed the file in etcd and back: its text is that of revision 5 again at 7."""
    one, other = copies
    assert one.put(1, 5, {"": b"x"}) == 0
    assert other.put(1, 7, {"": b"x"}) == 0
    assert one.put(1, 6, {"": b"y"}) == 7
    assert one.path.read_bytes() == b"x"
    assert one.put(2, 6, {"": b"x"}) == 0  # of another cluster
    assert other.put(2, 5, {"": b"y"}) == 6


def test_the_same_again_writes_nothing(
    copies: tuple[WorkingCopy, WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = copies
    one.put(1, 5, {"": b"x", "guard": None})
    monkeypatch.setattr(working_copy, "folder_lock", None)
    monkeypatch.setattr(working_copy, "write_private", None)
    assert one.put(1, 5, {"": b"x", "guard": None}) == 0
    assert one.put(1, 4, {"": b"x", "guard": None}) == 0


def test_the_same_files_are_usable_where_the_record_cannot_be_written(
    copies: tuple[WorkingCopy, WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = copies
    one.put(1, 5, {"": b"x"})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(working_copy, "write_private", full)
    assert one.put(1, 6, {"": b"x"}) == 0
    with pytest.raises(OSError, match="No space left"):
        one.put(1, 7, {"": b"y"})


def test_nobody_waits_for_a_lock_to_keep_the_same_files(
    copies: tuple[WorkingCopy, WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = copies
    one.put(1, 5, {"": b"x"})
    waited: list[float] = []
    monkeypatch.setattr("rollout_console.common.flock.time.sleep", waited.append)
    with locked_folder(one.folder, 0):
        assert one.put(1, 6, {"": b"x"}) == 0
    assert waited == []


def test_a_kill_between_record_and_file_puts_no_older_version(
    copies: tuple[WorkingCopy, WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = copies
    one.put(1, 5, {"": b"x"})
    write = write_private
    written: list[Path] = []

    def killed(path: Path, data: bytes, *, durable: bool) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data, durable=durable)

    monkeypatch.setattr(working_copy, "write_private", killed)
    with pytest.raises(KeyboardInterrupt):
        one.put(1, 7, {"": b"z"})
    monkeypatch.undo()
    assert other.put(1, 6, {"": b"y"}) == 7
    assert other.put(1, 7, {"": b"z"}) == 0
    assert other.path.read_bytes() == b"z"
