"""Start the console from the command line."""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from rollout_console.changes.switch import Switch
from rollout_console.changes.under_way import UnderWay
from rollout_console.common.errors import OperationError
from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.app import ConsoleApp, Incidents
from rollout_console.ui.ascii_filter import is_ascii, written_encoding
from rollout_console.ui.escape_delay import shorten_escape_delay
from rollout_console.ui.escape_parser import read_escapes_as_keys
from rollout_console.ui.lenient_input import accept_any_byte
from rollout_console.ui.settings import load_settings
from rollout_console.ui.terminal_exit import start_no_more

if TYPE_CHECKING:
    from textual.driver import Driver


def open_console(
    switch: Switch,
    monitor: Monitor,
    vault: Vault,
    *,
    user: str,
    host: str,
    incidents: Incidents | None = None,
    in_ascii: bool = False,
    in_browser: bool = False,
    left: Callable[[UnderWay[Any], str], None],
) -> int:
    """Run the console until it is quit; return the process's exit code.

    ``left`` waits for the outcome of a change that is under way then, and says or raises it, and
    what was to be next.
    ``in_ascii`` is whether ASCII was asked for; settings, locale and terminal may ask as well.
    ``in_browser`` draws for a tab that ``rollout-console web`` serves, over stdin and stdout.
    """
    settings = load_settings()
    drawn = is_ascii(os.environ, written_encoding(), told=in_ascii, setting=settings.ascii)
    app = ConsoleApp(
        switch,
        monitor,
        replace(settings, ascii=drawn),
        user=user,
        host=host,
        vault=vault,
        incidents=incidents,
        tab_driver=_tab_driver() if in_browser else None,
    )
    accept_any_byte()
    shorten_escape_delay()
    read_escapes_as_keys()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, app.end_when_told)
    # No mouse tracking over SSH: reports load the link and, after a reattach, break the session.
    try:
        app.run(mouse="SSH_CONNECTION" not in os.environ)
    finally:
        start_no_more()
    progress = app.session.progress
    if progress.change is not None:
        left(progress.change, progress.next)
    elif progress.is_under_way:
        words = " and ".join(filter(None, (progress.words, progress.next)))
        raise OperationError(f"{words}: it was not begun, and nothing was changed")
    return app.return_code or 0


def _tab_driver() -> "type[Driver]":
    from rollout_console.ui.tab_driver import TabDriver

    return TabDriver
