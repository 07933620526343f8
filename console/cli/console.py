"""Opening the console."""

import sys

from console.cli.codes import USAGE
from console.operations.monitor import Monitor
from console.operations.switch import Switch
from console.vault.vault import Vault


def run_console(switch: Switch, vault: Vault) -> int:
    """Open the console on the switch's file; there must be one to show."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        print("rollout-console: no terminal; use a command, see --help", file=sys.stderr)
        return USAGE
    snapshot = switch.open()
    from console.ui.open import open_console

    who = switch.who
    monitor = Monitor(switch.path, snapshot.file)
    return open_console(switch, monitor, vault, user=who.user, host=who.host)
