"""What the workers tell the screen. Workers post these and touch nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from rollout_console.changes.snapshot import Snapshot
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.health.log.probe_log import ProbeLine
from rollout_console.health.log.record import AccessRecord
from rollout_console.tokenlab.types import Balance
from rollout_gate.secret import Secret

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part


@dataclass
class FileChanged(Message):
    """The rollout file says something else; ``foreign`` where somebody else wrote it."""

    snapshot: Snapshot
    foreign: bool


@dataclass
class FileTrouble(Message):
    """The rollout file cannot be used as it is now; empty when it is valid again."""

    sentence: str


class HistoryChanged(Message):
    """The history may have other rows."""


@dataclass
class LogRead(Message):
    """Lines of the access log, perhaps none, and what is wrong with the log, if anything."""

    records: Sequence[AccessRecord]
    trouble: str


@dataclass
class OlderRead(Message):
    """A part of the older lines of the access log; None where there is no more."""

    older: "Backfill"
    part: "Part | None"


@dataclass
class BalanceRead(Message):
    """The balance, or why there is none and in how many seconds it is asked for again.

    ``asked`` is False where there was no credential to ask with.
    """

    balance: Balance | None
    trouble: str = ""
    next_in_s: float = 0.0
    asked: bool = True


@dataclass
class KeysRead(Message):
    """What will soon stop a key from working, in one line; empty where nothing will."""

    sentence: str


@dataclass
class ProbesRead(Message):
    """The newest probe of each route and side."""

    probes: Mapping[tuple[str, str], ProbeLine]


@dataclass
class ModelsSeen(Message):
    """What is wrong with the model of a route, as the catalogue has it now."""

    troubles: Mapping[str, ModelTrouble]


@dataclass
class GuardSeen(Message):
    """Whether a guard acts on the file, and by route the orgs that are out of their ramp."""

    acts: bool
    out: Mapping[str, Mapping[str, str]]


@dataclass
class CredentialsChanged(Message):
    """There may be a credential now where there was none."""


CLEARED_AFTER_S = 30.0
"""How long a secret may stay in the terminal's clipboard."""


@dataclass
class SecretCopied(Message):
    """A secret is to go to the clipboard for CLEARED_AFTER_S."""

    secret: Secret


class SecretShown:
    """Marks a screen that shows a secret: no picture of it is made."""
