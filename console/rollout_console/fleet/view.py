"""What etcd has of one rollout file at one revision: read by one transaction."""

from collections.abc import Mapping

import msgspec

from rollout_console.changes.spread import Registered
from rollout_console.etcd.answers import Answer, Range, Value
from rollout_console.etcd.client import EtcdClient
from rollout_console.mirror.registration import mirrors_key, registered, servers_key
from rollout_gate.file.revision import revision_of

PARTS = ("guard", "plan")
"""The console's own files beside the rollout file, each a key below the file's."""
NO_WRITES = 2**62
"""After this revision there are none."""
PAGE = 50
"""Writes of the history that are read at once: each has a text."""


class View(msgspec.Struct, frozen=True):
    """The file and what is kept below its key; ``writes`` are those after the one asked for."""

    cluster: int
    revision: int
    file: Value | None
    parts: Mapping[str, Value]
    mirrors: tuple[Registered, ...]
    leader: Value | None
    writes: tuple[Value, ...]

    @property
    def text_revision(self) -> str:
        """The revision of the file's text, as the gates have it; empty without a file."""
        return "" if self.file is None else revision_of(self.file.data)

    @property
    def mod_revision(self) -> int:
        """The cluster's revision of the file's last change; 0 without a file."""
        return 0 if self.file is None else self.file.mod_revision

    @property
    def is_whole(self) -> bool:
        """Whether no more writes are to be read."""
        return len(self.writes) < PAGE


def history_key(key: str) -> str:
    """Return the key below which the history of a rollout file is."""
    return f"{key}/history"


def changed_key(key: str) -> str:
    """Return the key that is set with each write of the history: its revision is the newest's."""
    return f"{key}/changed"


def leader_key(key: str) -> str:
    """Return the key that the guard has which acts."""
    return f"{key}/leader"


def read_view(client: EtcdClient, after: int) -> View:
    """Read a file, with the writes of its history after a revision; raises EtcdError.

    A member that is asked for those looks through all of the history, texts and all: it is not
    asked unless there are any.
    """
    key = client.address.key
    file, mirrors, servers, leader, *parts = client.read(
        Range(key),
        Range(mirrors_key(key), prefix=True),
        Range(servers_key(key), prefix=True),
        Range(leader_key(key)),
        *(Range(f"{key}/{part}") for part in PARTS),
        Range(history_key(key), prefix=True, after=after, limit=PAGE),
        if_changed=(changed_key(key), after),
    )
    writes = parts.pop().values if len(parts) > len(PARTS) else ()
    return View(
        file.cluster,
        file.revision,
        _one(file),
        {part: value for part, found in zip(PARTS, parts, strict=True) if (value := _one(found))},
        tuple(registered(mirrors.values, servers.values)),
        _one(leader),
        writes,
    )


def _one(answer: Answer) -> Value | None:
    return answer.values[0] if answer.values else None
