"""Import the screens and dialogs while nobody waits: the first key for one is as fast as the next.

They are imported lazily, so that the first frame waits for none of them. Over a slow link an import
between a key and its effect is felt: it comes on top of the round trip.
"""

import threading
from contextlib import suppress
from importlib import import_module
from time import sleep

AFTER_S = 2.0
"""Seconds after the first frame: the log's first lines are read by then."""
_PAUSE_S = 0.05
_UI = "rollout_console.ui"
_MODULES = (
    # What a rollback needs comes first.
    "dialogs.confirm", "change_question", "dialogs.percent", "screens.live.screen",
    "screens.live.state", "screens.history.screen", "screens.help", "palette",
    "screens.routes.screen", "screens.keys.screen", "screens.models.screen",
    "screens.jobs.screen", "screens.jobs.state", "screens.money.screen", "screens.money.state",
)  # fmt: skip


def preload() -> None:
    """Import them one by one in a thread of its own, with pauses for keys in between."""
    threading.Thread(target=_import_all, name="preload", daemon=True).start()


def _import_all() -> None:
    for name in _MODULES:
        with suppress(Exception):  # a key that needs it meets the same error, and tells it
            import_module(f"{_UI}.{name}")
        sleep(_PAUSE_S)
