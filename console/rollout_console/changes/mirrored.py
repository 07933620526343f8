"""Whether a rollout file is a mirror of one in etcd, which puts most changes of it back."""

from pathlib import Path

import msgspec

from rollout_console.changes.edits import SetDefaultPercent, SetShare
from rollout_console.changes.external_edits import rolled_back
from rollout_console.changes.plan import Plan
from rollout_gate.file.errors import FileError
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_regular
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_BYTES = 32 * 2**20
_LATCHES = ("rolled back", "in force")


class _Applied(msgspec.Struct):
    data: bytes = b""


class _Record(msgspec.Struct):
    key: str = ""
    address: str = ""
    base: _Applied | None = None


def record_path(path: Path) -> Path:
    """Return the path of the record that the mirror of a file keeps beside it."""
    return path.with_name(f"{path.name}.mirror.json")


def mirrored_from(path: Path) -> str:
    """Return the address in etcd that a file is a mirror of; empty where it is none."""
    found = _record(path)
    return found.address or found.key


def is_put_back(plan: Plan, path: Path) -> bool:
    """Return whether the mirror of the file at ``path`` puts a change of it back: all but the safe
    side is.

    What is rolled back on a server stays so there until it is resumed there; so does a share
    without a latch that is set to 0. What is rolled back in etcd is resumed there alone.
    """
    if plan.latches or plan.action in ("mirror", "rollback"):
        return False
    if _resumes_of_etcd(plan, path):
        return True
    if plan.action == "resume":
        return False
    if plan.action == "undo":
        values = [(part.before, part.after) for part in plan.parts] or [(plan.before, plan.after)]
        return not all(one in _LATCHES for pair in values for one in pair)
    zeroes = [
        isinstance(edit, (SetShare, SetDefaultPercent)) and edit.points == 0 for edit in plan.edits
    ]
    return not zeroes or not all(zeroes)


def _record(path: Path) -> _Record:
    try:
        return decode_json(read_regular(record_path(path), MOST_BYTES)[0], _RECORD)
    except (OSError, UndecodableError):
        return _Record()


def _resumes_of_etcd(plan: Plan, path: Path) -> bool:
    """Return whether a plan resumes what the version of etcd in force has rolled back."""
    base, after = _record(path).base, plan.prepared.after.file
    try:
        in_etcd = set() if base is None else set(rolled_back(after, parse(base.data)))
    except FileError:
        return False
    return not in_etcd.isdisjoint(rolled_back(after, plan.prepared.before.file))


_RECORD = msgspec.json.Decoder(_Record)
