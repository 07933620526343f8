"""Opening the console."""

import gc
import sys
from typing import TYPE_CHECKING

from console.cli.codes import USAGE
from console.operations.monitor import Monitor
from console.operations.switch import Switch
from console.operations.watch import FIRST_BYTES, OLDER_BYTES
from console.vault.vault import Vault

if TYPE_CHECKING:
    from console.ui.app import Incidents


def run_console(switch: Switch, vault: Vault) -> int:
    """Open the console on the switch's file; there must be one to show."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        print("rollout-console: no terminal; use a command, see --help", file=sys.stderr)
        return USAGE
    return open_screen(switch, vault)


def open_screen(switch: Switch, vault: Vault, incidents: "Incidents | None" = None) -> int:
    """Run the console until it is quit; return the process's exit code."""
    # All that is loaded and drawn first is there to stay; walking it again and again takes a
    # sixth of the time to the first frame. The app turns this on again when it stands.
    gc.disable()
    monitor = Monitor(
        switch.path, switch.open().file, cold_bytes=FIRST_BYTES, older_bytes=OLDER_BYTES
    )
    from console.ui.open import open_console

    return open_console(
        switch, monitor, vault, user=switch.who.user, host=switch.who.host, incidents=incidents
    )
