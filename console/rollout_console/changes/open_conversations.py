"""How many open conversations a rollback would cut: those that TokenLab holds, and no other side.

The gate keeps in a file beside the access log which side made the id of each answer. It is read by
a thread of its own, for WAIT_S at most: no locked file and no slow disk holds up a rollback.
"""

import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

from rollout_console.changes.plan import Plan
from rollout_console.common.folders import folder_of

WAIT_S = 0.3
OPEN_S = 1800.0
"""A conversation is open for so many seconds after its last turn."""


def cut_by(plan: Plan, path: Path) -> str:
    """Return what a plan for the rollout file at ``path`` would cut, in a few words.

    It is empty where that is nothing, or cannot be known within WAIT_S. Only a rollback cuts a
    conversation: at another share each stays on its side. Blocks for WAIT_S at most.
    """
    file = plan.prepared.before.file
    targets = [one for one in plan.latched if not file.is_latched(*one)] if plan.latches else []
    if not targets:
        return ""
    found: list[int] = []
    log = folder_of(path) / file.access_log

    def look() -> None:
        # Lazy import: the clients of the gate are of no other use here.
        from rollout_gate.http.id_file import open_conversations
        from rollout_gate.http.id_store import IDS_NAME

        with suppress(sqlite3.Error, OSError, ValueError):
            since = time.time() - OPEN_S
            ids = log.with_name(IDS_NAME)
            found.extend([open_conversations(ids, *one, since) for one in targets])

    thread = threading.Thread(target=look, name="open-conversations", daemon=True)
    thread.start()
    thread.join(WAIT_S)
    count = sum(found)
    if not count:
        return ""
    some = "1 open conversation" if count == 1 else f"{count:,} open conversations"
    return f"cuts {some} (of the last {OPEN_S / 60:.0f} m), which TokenLab holds"
