"""Messages from the workers to the screen. Workers post these and touch no widget."""

from collections.abc import Mapping, Sequence
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


class FileChanged(Message):
    """The rollout file has a new version; ``foreign`` where it was written outside this console."""

    def __init__(self, snapshot: "Snapshot", foreign: bool) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.foreign = foreign


class FileTrouble(Message):
    """The rollout file is unusable; ``sentence`` says why, and is empty once it is valid again."""

    def __init__(self, sentence: str, *, is_missing: bool = False) -> None:
        super().__init__()
        self.sentence = sentence
        self.is_missing = is_missing


class WriteTrouble(Message):
    """The rollout file cannot be replaced; ``why`` is empty once it can be again."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class HistoryChanged(Message):
    """The history may have new rows."""


class Resized(Message):
    """A screen over home has another size: its alarm line is to be fitted to it."""


class LogRead(Message):
    """New records of the access log, possibly none, and the problem with the log, if any."""

    def __init__(self, records: "Sequence[AccessRecord]", trouble: str) -> None:
        super().__init__()
        self.records = records
        self.trouble = trouble


class OlderRead(Message):
    """A part of the access log's backfill; ``part`` is None at the end."""

    def __init__(self, older: "Backfill", part: "Part | None") -> None:
        super().__init__()
        self.older = older
        self.part = part


class BalanceRead(Message):
    """The balance, or why there is none and the seconds until the next attempt.

    ``asked`` is False where there was no credential to ask with.
    """

    def __init__(
        self,
        balance: "Balance | None",
        trouble: str = "",
        next_in_s: float = 0.0,
        asked: bool = True,
    ) -> None:
        super().__init__()
        self.balance = balance
        self.trouble = trouble
        self.next_in_s = next_in_s
        self.asked = asked


class KeysRead(Message):
    """The most severe warning about a key that will soon stop working; empty where none will."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence


class ProbesRead(Message):
    """The newest probe result of each route and side."""

    def __init__(self, probes: "Mapping[tuple[str, str], ProbeLine]") -> None:
        super().__init__()
        self.probes = probes


class ModelsSeen(Message):
    """Problems of the models in use, by route, according to the current catalogue."""

    def __init__(self, troubles: "Mapping[str, ModelTrouble]") -> None:
        super().__init__()
        self.troubles = troubles


class GuardSeen(Message):
    """Whether a guard acts on the file, and by route the orgs out of their ramp, with reasons."""

    def __init__(self, acts: bool, out: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__()
        self.acts = acts
        self.out = out


class SettingsChanged(Message):
    """The operator's settings file was edited while the console runs."""

    def __init__(self, settings: "Settings") -> None:
        super().__init__()
        self.settings = settings


class CredentialsChanged(Message):
    """A credential that was missing may be available now."""


CLEARED_AFTER_S = 30.0
"""Seconds that a secret may stay in the terminal's clipboard."""


class SecretCopied(Message):
    """A request to copy a secret to the clipboard for CLEARED_AFTER_S."""

    def __init__(self, secret: "Secret") -> None:
        super().__init__()
        self.secret = secret


class SecretShown:
    """Marks a screen that shows a secret: screenshots of it are refused."""
