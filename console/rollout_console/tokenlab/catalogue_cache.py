"""The last good catalogue on disk, and the one that the operator has seen.

A cache: a file that cannot be used is as good as none, and one that cannot be written is told.
"""

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from rollout_console.common.files import write_private
from rollout_console.tokenlab.models import ModelInfo
from rollout_gate.untrusted import UndecodableError, decode_json


class Kept(msgspec.Struct):
    """What is kept: the models as last read, when, and as they were at the last look."""

    base_url: str
    at: datetime
    models: list[ModelInfo]
    seen: list[ModelInfo] | None = None


_kept_of = msgspec.json.Decoder(Kept)


class CatalogueCache:
    """One file for each base URL, in ``folder``."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._base_url = base_url
        digest = hashlib.sha256(base_url.encode()).hexdigest()[:16]
        self.path = folder / f"models-{digest}.json"

    def load(self) -> Kept | None:
        """Return what is kept, None where there is nothing usable."""
        try:
            kept = decode_json(self.path.read_bytes(), _kept_of)
        except (OSError, UndecodableError):
            return None
        models = (*kept.models, *(kept.seen or ()))
        usable = kept.base_url == self._base_url and kept.at.tzinfo is not None
        return kept if usable and all(model.in_order for model in models) else None

    def save(self, kept: Kept) -> str:
        """Keep it; return why that was not possible, empty where it was."""
        try:
            write_private(self.path, msgspec.json.encode(kept))
        except OSError as error:
            return f"{self.path} cannot be written: {error.strerror}"
        return ""
