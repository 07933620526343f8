"""On-disk cache of the last good catalogue, and of the baseline that the operator has seen.

An unreadable or invalid file counts as a cache miss; a failed write is reported.
"""

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from rollout_console.common.files import write_private
from rollout_console.tokenlab.models import ModelInfo
from rollout_gate.untrusted import UndecodableError, decode_json


class Kept(msgspec.Struct):
    """The cached state: the models as last read, when, and the seen baseline (``seen``)."""

    base_url: str
    at: datetime
    models: list[ModelInfo]
    seen: list[ModelInfo] | None = None


_kept_of = msgspec.json.Decoder(Kept)


class CatalogueCache:
    """One cache file for each base URL, in ``folder``."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._base_url = base_url
        digest = hashlib.sha256(base_url.encode()).hexdigest()[:16]
        self.path = folder / f"models-{digest}.json"

    def load(self) -> Kept | None:
        """Load the cached state; None for a miss."""
        try:
            kept = decode_json(self.path.read_bytes(), _kept_of)
        except (OSError, UndecodableError):
            return None
        models = (*kept.models, *(kept.seen or ()))
        usable = kept.base_url == self._base_url and kept.at.tzinfo is not None
        return kept if usable and all(model.in_order for model in models) else None

    def save(self, kept: Kept) -> str:
        """Save the state; return why that failed, empty if it did not."""
        try:
            write_private(self.path, msgspec.json.encode(kept))
        except OSError as error:
            return f"{self.path} cannot be written: {error.strerror}"
        return ""
