"""A rollback on a disk without a free byte, which a log that fills it in an incident leaves."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rollout_console.changes.errors import DiskFull, NotWritable
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import NotRecorded
from rollout_console.guard.ladder import next_up
from rollout_console.history.actor import Actor
from rollout_console.history.location import history_of
from rollout_gate.file.parse import parse
from tests.conftest import SAMPLE
from tests.support.parts import missing_part


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """The sample on a file system of 64 KiB that is full to the last byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        missing_part("a tmpfs cannot be mounted here")
    try:
        path = folder / "rollout.toml"
        path.write_bytes(SAMPLE.read_bytes())
        with suppress(OSError), (folder / "fill").open("wb", buffering=0) as stream:
            while stream.write(b"\0" * 512):
                pass
        yield path
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _switch(path: Path) -> Switch:
    switch = Switch(path, history_of(path), Actor("jo", "gw-01"))
    switch.open()
    return switch


def test_everything_is_rolled_back_without_a_free_byte(full: Path) -> None:
    before = full.read_bytes()
    switch = _switch(full)
    done = switch.apply(switch.planner.plan_rollback(), reason="5xx")
    after = full.read_bytes()
    assert parse(after).rolled_back
    assert len(after) == len(before)
    assert after == before.replace(b"rolled_back = false", b"rolled_back = true ", 1)
    assert done.snapshot.data == after
    assert any("the disk is full" in warning for warning in done.warnings)


def test_a_raise_of_several_leaves_all_as_it_was(full: Path) -> None:
    before = full.read_bytes()
    switch = _switch(full)
    two: list[tuple[str, str | None]] = [("chat", "acme"), ("chat", "globex.eu")]
    with pytest.raises((DiskFull, NotRecorded)):
        switch.apply(switch.planner.plan_sets(two, next_up))
    assert full.read_bytes() == before
    assert switch.recent(9)[0] == []


def test_what_needs_space_names_the_rollback_that_needs_none(full: Path) -> None:
    before = full.read_bytes()
    switch = _switch(full)
    with pytest.raises(DiskFull, match=r"the disk is full.*; a rollback of everything needs no"):
        switch.apply(switch.planner.plan_rollback("chat", "acme"))
    with pytest.raises(DiskFull, match=r"try again$"):
        switch.apply(switch.planner.plan_set("chat", "acme", 0))
    assert full.read_bytes() == before


def test_a_latch_that_is_in_the_file_is_turned_on_for_one_org(full: Path) -> None:
    text = full.read_text().replace("rolled_back = true }", "rolled_back = false}", 1)
    with full.open("r+b") as stream:
        stream.write(text.encode())
    switch = _switch(full)
    switch.apply(switch.planner.plan_rollback("chat", "initech"))
    file = parse(full.read_bytes())
    assert file.is_latched("chat", "initech")
    assert not file.is_latched("chat", "acme")


def test_a_file_that_cannot_be_written_in_place_is_a_full_disk(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: object) -> list[str]:
        raise NotWritable(f"{path} is unchanged: it is a mount point")

    monkeypatch.setattr("rollout_console.changes.atomic_swap.write_in_place", denied)
    switch = _switch(full)
    with pytest.raises(DiskFull, match="the disk is full"):
        switch.apply(switch.planner.plan_rollback())
