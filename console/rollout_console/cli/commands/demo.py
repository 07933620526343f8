"""``demo`` and ``sim``: the console on the simulator, and the simulator alone."""

import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from rollout_console.changes.external_edits import described
from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.console import open_screen
from rollout_console.cli.commands.plain import plain
from rollout_console.cli.credentials import fixed_vault
from rollout_console.cli.exit_codes import DONE, PROBLEMS, UNREACHABLE, USAGE
from rollout_console.cli.streams import no_terminal
from rollout_console.common.errors import OperationError
from rollout_console.credentials.vault.environment import PROVIDER_VARIABLES
from rollout_console.history.actor import whoami
from rollout_console.history.history import History
from rollout_console.history.location import history_of
from rollout_console.sim.demo import ROUTE, Demo, DemoError, run_headless
from rollout_console.sim.incidents import ALL_CLEAR, INCIDENTS, clear_incidents, start_incident
from rollout_console.sim.state import DEMO_KEY, DEMO_TOKEN
from rollout_gate.file.revision import revision_of


def run_demo(options: Namespace) -> int:
    """Run the demo, with the console or headless."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # unwind, or folder and child processes would stay
    try:
        if options.headless_seconds is not None:
            summary = run_headless(options.headless_seconds, rollback=_roll_back)
            print(json.dumps(summary, indent=2))
            return DONE if summary["ok"] else PROBLEMS
        if not options.plain and (why_not := no_terminal()):
            said = f"{why_not}; use --plain or --headless-seconds N"
            print(f"rollout-console: {said}", file=sys.stderr)
            return USAGE
        with Demo() as demo:
            os.environ["ROLLOUT_STATE_DIR"] = str(demo.folder / "state")
            return _open(demo, options)
    except DemoError as error:
        print(f"rollout-console: {error}", file=sys.stderr)
        return UNREACHABLE


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def run_sim(options: Namespace) -> int:
    """Serve the simulator until a signal."""
    from rollout_console.sim.server import SimServer

    try:
        server = SimServer(options.port, realistic=options.realistic)
    except OSError as error:
        print(f"rollout-console: port {options.port}: {error.strerror}", file=sys.stderr)
        return UNREACHABLE
    server.serve_forever(lambda url: print(url, flush=True))
    return DONE


def _open(demo: Demo, options: Namespace) -> int:
    let_it_be_old(history_of(demo.file), demo.file)
    switch = Switch(demo.file, history_of(demo.file), whoami(), access=options.access)
    vault = fixed_vault(
        {"api_key": DEMO_KEY, "management_token": DEMO_TOKEN},
        dict.fromkeys(PROVIDER_VARIABLES, "prev-demo"),
    )
    if options.plain:
        return plain(options, switch, vault)
    return open_screen(switch, vault, _DemoIncidents(demo.base_url), in_ascii=options.ascii)


def let_it_be_old(history: History, file: Path) -> None:
    """Backdate the history's first record of the file by an hour, so that no share has to bake."""
    data = file.read_bytes()
    before = datetime.now(UTC) - timedelta(hours=1)
    history.see(file, whoami(), before, (revision_of(data), data), described)


def _roll_back(file: Path) -> None:
    """Roll the demo's route back through ``Switch``, as the console's key does."""
    switch = Switch(file, History(file.parent / "state" / "history.sqlite3"), whoami())
    switch.open()
    plan = switch.planner.plan_rollback(ROUTE, None, "5xx storm of the demo")
    switch.apply(plan, reason="5xx storm of the demo")


class _DemoIncidents:
    """The incidents of the demo, for the command palette."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def offered(self) -> Iterable[tuple[str, str]]:
        """Yield each incident's name and description."""
        yield from ((incident.name, incident.about) for incident in INCIDENTS.values())
        yield ALL_CLEAR, "end every incident"

    def start(self, name: str) -> None:
        """Start one, or clear all; raises OperationError if the simulator does not answer."""
        try:
            if name == ALL_CLEAR:
                clear_incidents(self._base_url)
            else:
                start_incident(self._base_url, name)
        except httpx.HTTPError as error:
            raise OperationError(f"the simulator did not answer: {type(error).__name__}") from None
