"""A rollout file whose shares have stood for long: one that is new would first have to bake."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from console.history.history import History
from console.history.who import Who
from console.operations.edits_of_others import described
from console.rollout.revision import revision_of


def let_it_be_old(history: History, file: Path, hours: float = 1) -> None:
    """Let the history have known the file as it is for some hours."""
    data = file.read_bytes()
    before = datetime.now(UTC) - timedelta(hours=hours)
    history.see(file, Who("jo", "gw-01"), before, (revision_of(data), data), described)
