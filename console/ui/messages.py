"""What the workers tell the screen. Workers post these and touch nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message

from console.health.record import AccessRecord
from console.store.store import Snapshot
from console.tokenlab.types import Balance


@dataclass
class FileChanged(Message):
    """The rollout file says something else; ``foreign`` where somebody else wrote it."""

    snapshot: Snapshot
    foreign: bool


@dataclass
class FileTrouble(Message):
    """The rollout file cannot be used as it is now; empty when it is good again."""

    sentence: str


@dataclass
class LogRead(Message):
    """Lines of the access log, perhaps none, and what is wrong with the log, if anything."""

    records: Sequence[AccessRecord]
    trouble: str


@dataclass
class BalanceRead(Message):
    """The balance, or why there is none and in how many seconds it is asked for again."""

    balance: Balance | None
    trouble: str = ""
    next_in_s: float = 0.0
