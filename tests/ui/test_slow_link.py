"""The console over a real sshd, on a link of 16 kB/s and 150 ms each way."""

import sys
from pathlib import Path

import pytest

from tests.support.pty_console import on_pty
from tests.support.slow_link import ONE_WAY_S, slow_ssh

pytestmark = pytest.mark.slow

ROUND_TRIP_S = 2 * ONE_WAY_S
BUSY_MACHINE_S = 1.5
"""What a busy machine may add; the benchmark prints what an idle one takes."""


def test_keys_dialogs_and_screens(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    demo = (
        f"cd {root} && TERM=xterm-256color TMPDIR={tmp_path} ROLLOUT_STATE_DIR={tmp_path}/state "
        f"exec {sys.executable} -m rollout_console demo"
    )
    with slow_ssh(tmp_path) as ssh, on_pty((*ssh, demo), (80, 24), {}) as console:
        console.until(lambda screen: "route / org" in screen)
        console.bytes_until_quiet(within_s=6)
        console.press("j")
        console.until(lambda screen: "▸ +chat" not in screen, ROUND_TRIP_S + BUSY_MACHINE_S)
        console.bytes_until_quiet(within_s=1)
        for _ in range(2):  # the first opening loads the dialog's module
            console.press("r")
            opens_in = console.until(lambda screen: "esc: cancel" in screen)
            opened = console.bytes_until_quiet(within_s=1)
            console.press("\x1b")
            console.until(lambda screen: "esc: cancel" not in screen)
            closed = console.bytes_until_quiet(within_s=1)
        assert ROUND_TRIP_S < opens_in < ROUND_TRIP_S + BUSY_MACHINE_S
        assert max(opened, closed) < 3000
        console.press("5")
        console.until(lambda screen: screen.startswith(" live ▸"))
        console.bytes_until_quiet(within_s=1)
        console.press("1")
        console.until(lambda screen: screen.startswith(" rollout ▸"))
        assert console.bytes_until_quiet(within_s=1.5) < 4500
