"""Whether a rollout file is a mirror of one in etcd, which puts most changes of it back."""

from pathlib import Path

import msgspec

from rollout_console.changes.edits import SetDefaultPercent, SetShare
from rollout_console.changes.plan import Plan
from rollout_gate.file.read import read_regular
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_BYTES = 32 * 2**20
_LATCHES = ("rolled back", "in force")


class _Record(msgspec.Struct):
    key: str = ""
    address: str = ""


def record_path(path: Path) -> Path:
    """Return the path of the record that the mirror of a file keeps beside it."""
    return path.with_name(f"{path.name}.mirror.json")


def mirrored_from(path: Path) -> str:
    """Return the address in etcd that a file is a mirror of; empty where it is none."""
    try:
        found = decode_json(read_regular(record_path(path), MOST_BYTES)[0], _RECORD)
    except (OSError, UndecodableError):
        return ""
    return found.address or found.key


def is_put_back(plan: Plan) -> bool:
    """Return whether a mirror puts a change of its file back: all but the safe side is.

    What is rolled back on a server stays so there until it is resumed there; so does a share
    without a latch that is set to 0.
    """
    if plan.latches or plan.action in ("mirror", "resume", "rollback"):
        return False
    if plan.action == "undo":
        values = [(part.before, part.after) for part in plan.parts] or [(plan.before, plan.after)]
        return not all(one in _LATCHES for pair in values for one in pair)
    zeroes = [
        isinstance(edit, (SetShare, SetDefaultPercent)) and edit.points == 0 for edit in plan.edits
    ]
    return not zeroes or not all(zeroes)


_RECORD = msgspec.json.Decoder(_Record)
