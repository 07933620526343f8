"""A crash says so, exits non-zero, and shows no local variables."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from rollout_console.history.history import History
from rollout_console.history.actor import Actor
from rollout_console.guard.monitor import Monitor
from rollout_console.changes.switch import Switch
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.settings import Settings

class Crashing(ConsoleApp):
    def on_ready(self):
        local = "canary-" + "in-a-local"
        raise RuntimeError("broken on purpose")

path = Path(sys.argv[1])
switch = Switch(path, History(path.parent / "h"), Actor("jo", "x"))
app = Crashing(switch, Monitor(path, switch.open().file), Settings(), user="jo", host="x")
app.run()
sys.exit(app.return_code or 0)
"""


def test_a_crash_shows_no_locals(file: Path) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(file)],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm-256color"},
    ) as child:  # fmt: skip
        os.close(slave)
        said = b""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                piece = os.read(master, 65_536)
            except OSError:
                break
            if not piece:
                break
            said += piece
        os.close(master)
        assert child.wait(timeout=10) != 0
    assert b"broken on purpose" in said
    assert b"internal error" in said
    assert b"canary-in-a-local" not in said
