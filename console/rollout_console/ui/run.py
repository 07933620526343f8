"""Start the console from the command line."""

import os
import signal

from rollout_console.changes.switch import Switch
from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.app import ConsoleApp, Incidents
from rollout_console.ui.settings import load_settings
from rollout_console.ui.terminal_exit import start_no_more


def open_console(
    switch: Switch,
    monitor: Monitor,
    vault: Vault,
    *,
    user: str,
    host: str,
    incidents: Incidents | None = None,
) -> int:
    """Run the console until it is quit; return the process's exit code."""
    app = ConsoleApp(
        switch,
        monitor,
        load_settings(),
        user=user,
        host=host,
        vault=vault,
        incidents=incidents,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, app.end_when_told)
    # No mouse tracking over SSH: reports load the link and, after a reattach, break the session.
    try:
        app.run(mouse="SSH_CONNECTION" not in os.environ)
    finally:
        start_no_more()
    return app.return_code or 0
