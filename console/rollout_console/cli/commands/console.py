"""Open the Textual console."""

import gc
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from rollout_console.changes.switch import Done, Switch
from rollout_console.changes.under_way import ROLLING_BACK, UnderWay
from rollout_console.cli.exit_codes import USAGE
from rollout_console.cli.outcome import Outcome
from rollout_console.cli.streams import no_terminal
from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible
from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.ingestion import FIRST_BYTES, OLDER_BYTES
from rollout_console.guard.monitor import Monitor

if TYPE_CHECKING:
    from rollout_console.ui.app import Incidents


def run_console(switch: Switch, vault: Vault, *, in_ascii: bool = False) -> int:
    """Open the console on the switch's file, which must exist; without a terminal, exit code 2."""
    if why_not := no_terminal():
        print(
            f"rollout-console: {why_not}; --plain prints the state and its changes as lines; for"
            " commands see --help",
            file=sys.stderr,
        )
        return USAGE
    return open_screen(switch, vault, in_ascii=in_ascii)


def open_screen(
    switch: Switch,
    vault: Vault,
    incidents: "Incidents | None" = None,
    *,
    in_ascii: bool = False,
    in_browser: bool = False,
) -> int:
    """Run the console until it is quit; return the process's exit code."""
    # Turn the garbage collector off during start-up: what is allocated until the first frame is
    # long-lived, and traversing it repeatedly takes a sixth of the time to that frame. The app
    # enables it again in on_ready.
    gc.disable()
    monitor = Monitor(
        switch.path, switch.open().file, cold_bytes=FIRST_BYTES, older_bytes=OLDER_BYTES,
        servers=lambda: switch.spread,
    )  # fmt: skip
    from rollout_console.ui.run import open_console

    return open_console(
        switch,
        monitor,
        vault,
        user=switch.who.user,
        host=switch.who.host,
        incidents=incidents,
        in_ascii=in_ascii,
        in_browser=in_browser,
        left=partial(_tell_left, switch),
    )


def _tell_left(switch: Switch, change: UnderWay[Any], following: str) -> None:
    """Say what became of a change that was under way when the console was quit; raises if none,
    and where a rollback that was to follow was not begun."""
    named = visible(following.removeprefix(ROLLING_BACK))
    lost = f"NOT ROLLED BACK: {named}: it was to be next, and was not begun"
    try:
        with Outcome(switch) as outcome:
            made = outcome.awaited(change, says_at_once=True)
    except Exception:
        if following:
            print(f"rollout-console: {lost}", file=sys.stderr)
        raise
    said = made.plan.effect if isinstance(made, Done) else change.words
    print(f"rollout-console: done: {visible(said)}", file=sys.stderr)
    if following:
        raise OperationError(lost)
