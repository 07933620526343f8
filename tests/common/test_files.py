"""Files that are replaced whole: by threads at once, by writers that are killed or that fail."""

import os
import threading
import time
from pathlib import Path

import pytest

from rollout_console.common.files import replacing, write_private


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_threads_that_write_one_file_never_mix_their_texts(tmp_path: Path) -> None:
    """Processes of two containers have the same process id, as these threads have."""
    path = tmp_path / "state.json"
    texts = [b"short", b"long" * 50_000]
    path.write_bytes(texts[0])
    errors: list[BaseException] = []

    def write(text: bytes) -> None:
        try:
            for _ in range(100):
                write_private(path, text, durable=False)
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_bytes())
    assert errors == []
    assert seen <= set(texts)
    assert names(tmp_path) == ["state.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_writer_left_is_removed_an_hour_later(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    old, new = tmp_path / ".state.json.4711.tmp", tmp_path / ".state.json.0badcafe.tmp"
    other = tmp_path / ".other.json.4711.tmp"
    for one in (old, new, other):
        one.write_bytes(b"half")
    for one in (old, other):
        os.utime(one, (time.time() - 3700,) * 2)
    write_private(path, b"whole")
    assert names(tmp_path) == sorted([new.name, other.name, "state.json"])


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"before")

    def fail() -> None:
        with replacing(path) as stream:
            stream.write(b"half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["state.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_root_writes_belongs_to_whom_it_or_the_folder_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    write_private(folder / "state.json", b"{}")
    found = (folder / "state.json").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o600)
    os.chown(folder / "state.json", 1234, 65534)
    write_private(folder / "state.json", b"{1}")
    assert (folder / "state.json").stat().st_uid == 1234

    def refuses(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuses)  # as without CAP_CHOWN
    write_private(folder / "state.json", b"{2}")
    assert (folder / "state.json").read_bytes() == b"{2}"
