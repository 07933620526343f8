"""Persist the rotations in progress in one JSON file, without secrets, under an advisory lock."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import msgspec
from msgspec.structs import asdict

from rollout_console.common.errors import OperationError
from rollout_console.common.files import descriptor_of, real_path, write_private
from rollout_console.common.flock import take_flock
from rollout_console.credentials.vault.vault import Place
from rollout_console.tokenlab.types import ApiKey

Step = Literal["make", "prove", "use", "silence", "deactivate", "revoke", "done"]

STEPS: tuple[Step, ...] = ("make", "prove", "use", "silence", "deactivate", "revoke", "done")

QUIET_S = 30 * 60.0
"""Quiet period: the old key must be unused for this long before it is deactivated."""

SAFE_S = 24 * 3600.0
"""Grace period: a deactivated key can be reactivated for this long, then it is revoked."""


class Rotation(msgspec.Struct, frozen=True):
    """The state of one rotation; ``step`` is the next to do, ``since`` when it became due.

    Times are ISO 8601 with a zone. The new secret is stored for profile ``PROFILE.new`` and the old
    one, where this vault had it, for ``PROFILE.old``, both until the old key is revoked.
    """

    old_id: str
    old_name: str
    profile: str
    place: Place
    model: str
    started_at: str
    since: str
    step: Step = "make"
    new_id: str = ""
    new_name: str = ""
    quiet_s: float = QUIET_S
    safe_s: float = SAFE_S


class RotationFile:
    """Reads and writes the file; every method raises OperationError if it is unusable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def under_way(self) -> list[Rotation]:
        """Return the rotations in progress; raises OperationError for an unusable file."""
        try:
            table = json.loads(self.path.read_text(encoding="utf-8"))
            return [_checked(Rotation(**entry)) for entry in table["rotations"]]
        except (FileNotFoundError, NotADirectoryError):  # the latter: HOME=/dev/null of a service
            return []
        except OSError as error:
            raise OperationError(f"{self.path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise OperationError(
                f"{self.path} is corrupt; move it away, then look at keys list for keys that a "
                "rotation made, and deactivate the old one by hand"
            ) from None

    def find(self, key: ApiKey) -> Rotation | None:
        """Return the rotation in progress whose old or new key this is; None without one."""
        return next((r for r in self.under_way() if key.id in (r.old_id, r.new_id)), None)

    def keep(self, rotation: Rotation) -> None:
        """Write a rotation; one that is done is removed."""
        others = [r for r in self.under_way() if r.old_id != rotation.old_id]
        self._write([*others, rotation] if rotation.step != "done" else others)

    def drop(self, rotation: Rotation) -> None:
        """Remove a rotation."""
        self._write([r for r in self.under_way() if r.old_id != rotation.old_id])

    def _write(self, rotations: list[Rotation]) -> None:
        table = {"version": 1, "rotations": [asdict(rotation) for rotation in rotations]}
        try:
            write_private(real_path(self.path), (json.dumps(table, indent=2) + "\n").encode())
        except OSError as error:
            raise OperationError(f"{self.path} cannot be written: {error.strerror}") from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold an exclusive, non-blocking flock: one process at a time advances rotations."""
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                opened = descriptor_of(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
                descriptor = stack.enter_context(opened)
            except OSError as error:
                raise OperationError(f"{self.path} cannot be locked: {error.strerror}") from None
            try:
                taken = take_flock(descriptor, 0)
            except OSError as error:
                raise OperationError(
                    f"{self.path} cannot be locked: {error.strerror}; two consoles could advance"
                    " one rotation: set ROLLOUT_STATE_DIR to a folder on a local disk"
                ) from None
            if not taken:
                raise OperationError("another console is advancing a rotation")
            yield

    def current(self, rotation: Rotation) -> Rotation:
        """Reload the rotation from the file: another console may have advanced it."""
        found = next((r for r in self.under_way() if r.old_id == rotation.old_id), None)
        if found is None:
            raise OperationError(f"the rotation of key {rotation.old_name} has ended already")
        return found


def _checked(rotation: Rotation) -> Rotation:
    """Validate a rotation parsed from the file; raises ValueError or TypeError."""
    for value in (rotation.old_id, rotation.old_name, rotation.profile, rotation.model,
                  rotation.new_id, rotation.new_name):  # fmt: skip
        if not isinstance(value, str) or not value.isprintable():
            raise TypeError
    for at in (rotation.started_at, rotation.since):
        if datetime.fromisoformat(at).tzinfo is None:
            raise ValueError
    for span in (rotation.quiet_s, rotation.safe_s):
        timedelta(seconds=span)
    if rotation.step not in STEPS or rotation.place not in get_args(Place):
        raise ValueError
    return rotation
