"""What a change keeps of a file, and what is said where something fails after it was made."""

import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes import attributes
from rollout_console.changes import rename_exchange as exchange
from rollout_console.changes.edits import SetPercent, SetRolledBack
from rollout_console.changes.errors import NotWritable, Written
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.in_place import is_mount_point, write_in_place
from rollout_console.changes.leftovers import recovered, temp_name
from rollout_console.changes.replaceable import why_not_replaceable
from rollout_console.common.process_id import may_live, process_id
from rollout_gate.file.parse import parse
from tests.support.other_users import as_user
from tests.support.parts import need

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be other users")
APP, OWNER, OPERATOR, GROUP, OTHERS = 3003, 3001, 3002, 4000, 4001


def opened(path: Path) -> RolloutStore:
    store = RolloutStore(path)
    store.open()
    return store


def roll_back(store: RolloutStore) -> object:
    return store.write(store.prepare([SetRolledBack(True, None, None, "")])) and None


# Attributes


@as_root
@pytest.mark.parametrize(
    ("folder", "file_mode", "user", "why"),
    [
        (0o555, 0o644, 3001, "permission denied in its folder"),
        (0o755, 0o644, 3002, "permission denied in its folder"),
        (0o755, 0o444, 3001, ""),
        (0o1777, 0o666, 3002, "not permitted in its folder"),
        (0o1777, 0o444, 3001, ""),
        (0o555, 0o444, 0, ""),
    ],
)
def test_whether_a_file_can_be_replaced_is_known_before_it_is_tried(
    shared: Path, folder: int, file_mode: int, user: int, why: str
) -> None:
    os.chown(shared, 3001, 3001)
    os.chown(shared.parent, 3001, 3001)
    shared.chmod(file_mode)
    shared.parent.chmod(folder)
    told = as_user(user, (user,), lambda: why_not_replaceable(shared))
    assert told.startswith(why) if why else told == ""
    done = roll_back_as(shared, user, user)
    assert (done == "None") is not bool(why), f"as foretold: {done}"


def roll_back_again(path: Path) -> None:
    store = opened(path)
    store.write(store.prepare([SetPercent("chat", "acme", 700)]))


def roll_back_as(path: Path, user: int, *groups: int) -> str:
    return as_user(user, groups, lambda: str(roll_back(opened(path))))


def reads(path: Path, user: int, *groups: int) -> bool:
    return as_user(user, groups, lambda: str(len(path.read_bytes()))).isdigit()


@pytest.fixture
def shared(file: Path) -> Path:
    """A file of OWNER and GROUP in a folder that GROUP may write, as configuration often is."""
    for folder in (file.parent, *list(file.parent.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    file.parent.chmod(0o2775)
    os.chown(file.parent, OWNER, GROUP)
    os.chown(file, OWNER, GROUP)
    file.chmod(0o640)
    return file


@as_root
def test_who_could_read_the_file_reads_the_next_version(shared: Path) -> None:
    assert roll_back_as(shared, OPERATOR, OTHERS, GROUP) == "None"
    assert parse(shared.read_bytes()).rolled_back
    status = shared.stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode) & 0o707) == (GROUP, 0o600)
    assert reads(shared, APP, GROUP)
    assert reads(shared, OWNER, OTHERS), "its owner, who is not in the group"
    assert not reads(shared, APP, OTHERS)
    # And again, by another member and by root: nobody is lost, and nobody gained.
    resumed = shared.read_text().replace("rolled_back = true\n", "")
    with shared.open("w") as stream:
        stream.write(resumed)
    assert roll_back_as(shared, OPERATOR + 7, GROUP) == "None"
    roll_back_again(shared)
    assert reads(shared, APP, GROUP)
    assert reads(shared, OWNER, OTHERS)
    assert not reads(shared, APP, OTHERS)


@as_root
def test_a_group_that_one_is_not_in_keeps_its_access_too(shared: Path) -> None:
    shared.parent.chmod(0o777)
    shared.chmod(0o640)
    os.chown(shared, OPERATOR, GROUP)
    assert roll_back_as(shared, OPERATOR, OTHERS) == "None"
    assert reads(shared, APP, GROUP)
    assert not reads(shared, APP, OTHERS)


@as_root
def test_where_readers_would_be_lost_nothing_is_changed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.setxattr

    def no_acl(path: Any, name: Any, *more: Any) -> None:
        if name == "system.posix_acl_access":
            raise OSError(errno.ENOTSUP, "no ACLs here")
        real(path, name, *more)

    monkeypatch.setattr(os, "setxattr", no_acl)
    monkeypatch.setattr(attributes, "_give_owner", lambda *_: (False, True))
    before = shared.read_bytes()
    with pytest.raises(NotWritable, match=r"its owner \(user 3001\) cannot be kept by user 0"):
        roll_back(opened(shared))
    assert shared.read_bytes() == before
    assert [one.name for one in shared.parent.iterdir()] == ["rollout.toml"]
    shared.chmod(0o644)
    roll_back(opened(shared))
    assert parse(shared.read_bytes()).rolled_back, "who everybody is can read it"


def test_acls_and_extended_attributes_survive_each_edit(file: Path) -> None:
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *one)
        for one in (
            (0x01, 6, 0xFFFFFFFF), (0x02, 4, APP), (0x04, 4, 0xFFFFFFFF),
            (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF),
        )
    )  # fmt: skip
    try:
        os.setxattr(file, "user.origin", b"git@config:rollout")
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    for points in (100, 200):
        store = opened(file)
        store.write(store.prepare([SetPercent("chat", "acme", points)]))
        assert os.getxattr(file, "user.origin") == b"git@config:rollout"
        assert os.getxattr(file, "system.posix_acl_access") == acl


def test_a_default_acl_of_the_folder_gives_nobody_the_file(file: Path) -> None:
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *one)
        for one in (
            (0x01, 7, 0xFFFFFFFF), (0x02, 7, APP), (0x04, 7, 0xFFFFFFFF),
            (0x10, 7, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF),
        )
    )  # fmt: skip
    try:
        os.setxattr(file.parent, "system.posix_acl_default", acl)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    roll_back(opened(file))
    assert "system.posix_acl_access" not in os.listxattr(file)


def test_a_hard_link_that_keeps_the_old_text_is_told(file: Path) -> None:
    os.link(file, file.with_name("backup.toml"))
    with pytest.raises(Written, match="a hard link"):
        roll_back(opened(file))
    assert parse(file.read_bytes()).rolled_back


# A mount point


def test_a_file_that_is_a_mount_point_is_written_in_place(file: Path) -> None:
    need("unshare")
    (file.parent / "app").mkdir()
    (file.parent / "app" / "rollout.toml").touch()
    script = (
        "from pathlib import Path; import sys\n"
        "from rollout_console.changes.edits import SetRolledBack\n"
        "from rollout_console.changes.in_place import is_mount_point\n"
        "from rollout_console.changes.file_store import RolloutStore\n"
        "store = RolloutStore(Path(sys.argv[1])); store.open()\n"
        "assert is_mount_point(store.path) and not is_mount_point(store.path.parent)\n"
        "store.write(store.prepare([SetRolledBack(True, None, None, '')]))\n"
    )
    mounted = str(file.parent / "app" / "rollout.toml")
    command = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$2"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, "sh", str(file), mounted, sys.executable, script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr[:100]}")
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(file.read_bytes()).rolled_back
    assert os.listdir(file.parent / "app") == ["rollout.toml"]
    assert not is_mount_point(file)


@pytest.mark.parametrize("longer", [True, False])
@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "posix_fallocate"])
def test_what_was_there_is_put_back_where_writing_in_place_fails(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str, longer: bool
) -> None:
    before = file.read_bytes()
    after = before + b"# more\n" * 10 if longer else before[:-5]
    if call == "posix_fallocate" and not longer:
        return
    real, calls = getattr(os, call), []

    def fail(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            if call == "pwrite":
                real(given[0], given[1][:7], given[2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given)

    monkeypatch.setattr(os, call, fail)
    from rollout_gate.file.revision import revision_of

    with pytest.raises(NotWritable, match="is unchanged"):
        write_in_place(file, file, revision_of(before), after)
    assert file.read_bytes() == before


# Failures after the change was made


FAILURES: dict[str, Callable[..., bool]] = {
    "unlink": lambda name, *_, **__: ".tmp" in str(name),
    "open": lambda name, flags, *_, **more: ".tmp" in str(name) and "dir_fd" in more,
    "fsync": lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode),
    "close": lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode),
    "listdir": lambda *_: True,
}


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EINTR])
@pytest.mark.parametrize("call", sorted(FAILURES))
def test_what_was_done_is_not_denied(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    store, real = opened(file), getattr(os, call)

    def fail(*given: Any, **more: Any) -> Any:
        if FAILURES[call](*given, **more):
            if call == "close":
                real(*given)
            raise OSError(number, os.strerror(number))
        return real(*given, **more)

    prepared = store.prepare([SetRolledBack(True, None, None, "")])
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        if call in ("close", "listdir"):
            store.write(prepared)  # nothing that anybody needs to know
        else:
            with pytest.raises(Written, match=r"rollout\.toml was changed; ") as told:
                store.write(prepared)
            assert "unchanged" not in str(told.value)
    assert parse(file.read_bytes()).rolled_back
    assert store.snapshot is not None
    assert store.snapshot.file.rolled_back


# Writers that were killed


KILLED = """
import os, pathlib, signal, sys, time
from rollout_console.changes.edits import SetPercent
from rollout_console.changes import rename_exchange as exchange
from rollout_console.changes.file_store import RolloutStore
from tests.support.other_users import as_user
real, calls = exchange._exchange, []
def killing(*given):
    calls.append(given)
    if len(calls) == 1:
        path = pathlib.Path(sys.argv[1])
        new = path.with_name("editor")
        new.write_text(path.read_text() + "# the editor's\\n")
        new.rename(path)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)
exchange._exchange = killing
store = RolloutStore(pathlib.Path(sys.argv[1])); store.open()
store.write(store.prepare([SetPercent("chat", "acme", 5000)]))
"""


def test_what_an_editor_saved_is_put_back_after_a_writer_was_killed(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "the editor's" not in file.read_text()
    said = recovered(file)
    assert said == (
        "rollout.toml was restored to the version that another writer saved before a writer was"
        " killed"
    )
    assert file.read_text().endswith("# the editor's\n")
    assert parse(file.read_bytes()).routes["chat"].orgs["acme"].points == 2500
    assert [one.name for one in file.parent.iterdir()] == ["rollout.toml"]


def test_where_the_file_has_gone_on_it_is_kept_beside(file: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    with file.open("a") as stream:
        stream.write("# somebody else\n")
    with pytest.raises(Written, match=r"is kept in rollout\.toml\.kept-"):
        roll_back(opened(file))
    (kept,) = file.parent.glob("rollout.toml.kept-*")
    assert kept.read_text().endswith("# the editor's\n")


@pytest.mark.parametrize("ending", ["part", "tmp"])
def test_what_nobody_needs_is_removed(file: Path, ending: str) -> None:
    ours = RolloutStore(file).open().revision
    name = temp_name(ours, "f" * 64).replace(process_id(), "999999-x")
    left = file.with_name(f"{name}.{ending}")
    left.write_bytes(file.read_bytes() if ending == "tmp" else b"half")
    assert recovered(file) == ""
    assert not left.exists()


def test_a_living_writers_file_is_let_be(file: Path) -> None:
    left = file.with_name(f"{temp_name('a' * 64, 'b' * 64)}.part")
    left.write_bytes(b"half")
    recovered(file)
    assert left.exists()


def test_a_number_of_a_process_that_was_given_again_is_another_process() -> None:
    pid, _, started = process_id().partition("-")
    assert may_live(process_id())
    assert may_live(pid), "as older versions wrote them"
    boot, _, ticks = started.partition(".")
    assert not may_live(f"{pid}-{boot}.{int(ticks) - 1}")
    assert not may_live(f"{pid}-ffffffff.{ticks}")
    assert not may_live("999999999")
    assert not may_live("x")
    assert exchange._TURNS
