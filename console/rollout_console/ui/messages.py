"""Messages from the workers to the screen. Workers post these and touch no widget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from rollout_console.changes.snapshot import Snapshot
    from rollout_console.guard.alerts import ModelTrouble
    from rollout_console.health.backfill.reader import Backfill, Part
    from rollout_console.health.log.probe_log import ProbeLine
    from rollout_console.health.log.record import AccessRecord
    from rollout_console.tokenlab.types import Balance
    from rollout_console.ui.settings import Settings
    from rollout_gate.secret import Secret


@dataclass
class FileChanged(Message):
    """The rollout file has a new version; ``foreign`` where it was written outside this console."""

    snapshot: "Snapshot"
    foreign: bool


@dataclass
class FileTrouble(Message):
    """The rollout file is unusable; ``sentence`` says why, and is empty once it is valid again."""

    sentence: str


class HistoryChanged(Message):
    """The history may have new rows."""


@dataclass
class LogRead(Message):
    """New records of the access log, possibly none, and the problem with the log, if any."""

    records: "Sequence[AccessRecord]"
    trouble: str


@dataclass
class OlderRead(Message):
    """A part of the access log's backfill; ``part`` is None at the end."""

    older: "Backfill"
    part: "Part | None"


@dataclass
class BalanceRead(Message):
    """The balance, or why there is none and the seconds until the next attempt.

    ``asked`` is False where there was no credential to ask with.
    """

    balance: "Balance | None"
    trouble: str = ""
    next_in_s: float = 0.0
    asked: bool = True


@dataclass
class KeysRead(Message):
    """The most severe warning about a key that will soon stop working; empty where none will."""

    sentence: str


@dataclass
class ProbesRead(Message):
    """The newest probe result of each route and side."""

    probes: "Mapping[tuple[str, str], ProbeLine]"


@dataclass
class ModelsSeen(Message):
    """Problems of the models in use, by route, according to the current catalogue."""

    troubles: "Mapping[str, ModelTrouble]"


@dataclass
class GuardSeen(Message):
    """Whether a guard acts on the file, and by route the orgs out of their ramp, with reasons."""

    acts: bool
    out: Mapping[str, Mapping[str, str]]


@dataclass
class SettingsChanged(Message):
    """The operator's settings file was edited while the console runs."""

    settings: "Settings"


@dataclass
class CredentialsChanged(Message):
    """A credential that was missing may be available now."""


CLEARED_AFTER_S = 30.0
"""Seconds that a secret may stay in the terminal's clipboard."""


@dataclass
class SecretCopied(Message):
    """A request to copy a secret to the clipboard for CLEARED_AFTER_S."""

    secret: "Secret"


class SecretShown:
    """Marks a screen that shows a secret: screenshots of it are refused."""
