"""The main job in a real terminal: an incident, one key, one confirm, and the proof."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rollout_gate.file.parse import parse
from tests.support.terminal import terminal
from tests.support.waiting import has_ended

HOME = "route / org "
DEMO = f"{sys.executable} -m rollout_console demo"


@pytest.mark.slow
def test_a_new_secret_is_gone_from_the_terminal(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with terminal(DEMO, (80, 24), env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: HOME in screen)
        shown.press("2")
        shown.until(lambda screen: "demo " in screen and "read " in screen)
        shown.press("n")
        shown.until(lambda screen: "New API key" in screen)
        shown.type("drill")
        for _ in range(4):
            shown.press("Enter")
            shown.tmux("run-shell", "sleep 0.2")
        shown.type("once")
        shown.until(lambda screen: "secret to   once" in screen)
        for _ in range(2):
            shown.press("Enter")
            shown.tmux("run-shell", "sleep 0.2")
        shown.until(lambda screen: "its secret shown once" in screen)
        screen = shown.answer("y", lambda screen: "shown this once" in screen)
        (secret,) = re.findall(r"sk-sim-[0-9a-f]{8,}", screen)
        shown.answer("Escape", lambda screen: "drill was made" in screen)
        assert secret not in shown.everything()
        shown.press("1")
        shown.until(lambda screen: HOME in screen)
        shown.press("q")
        shown.until(lambda screen: "[ended 0]" in screen)
        assert secret not in shown.everything()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(secret.encode() in data for data in written)


def only_file(folder: Path) -> Path:
    (found,) = folder.glob("rollout-demo-*/rollout.toml")
    return found


def row_of(screen: str, name: str) -> str:
    return next((line for line in screen.splitlines() if name in line), "")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_storm_is_seen_and_rolled_back_with_one_key(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with terminal(DEMO, size, env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: HOME in screen and " ok" in screen)
        shown.press(":")
        shown.until(lambda screen: "Search" in screen)
        shown.type("storm")
        shown.until(lambda screen: "incident: 5xx storm" in screen)
        shown.press("Enter")
        shown.until(lambda screen: "▲ " in screen and "ROLL BACK: 5xx" in screen)
        file = only_file(tmp_path)
        before = file.read_bytes()
        shown.press("n", "g")  # to the trouble, and to the top: which is first there is a race
        if "▸ +chat" in shown.until(lambda screen: "▸ +chat" in screen or "▸ -chat" in screen):
            shown.press("Enter")
        shown.press("j")
        shown.until(lambda screen: "▸   acme" in screen)
        shown.press("r")
        shown.until(lambda screen: "chat / acme 50% to 0% in rollout.toml" in screen)
        shown.answer("Enter", lambda screen: "to 0% in rollout.toml" not in screen)
        assert file.read_bytes() == before, "enter alone confirmed"
        shown.press("R")
        asked = shown.until(lambda screen: "route chat: all its traffic to 0%" in screen)
        row = row_of(asked, "-chat ")
        shown.until(lambda screen: row_of(screen, "-chat ") != row)  # it goes on behind a dialog
        shown.answer("y", lambda screen: "route chat: all its traffic to 0%" not in screen)
        shown.until(lambda screen: "chat rolled back: drained" in screen)
        assert parse(file.read_bytes()).routes["chat"].rolled_back
        shown.press("q")
        shown.until(lambda screen: "[ended 0]" in screen)
    assert not list(tmp_path.glob("rollout-demo-*")), "the demo cleans up after itself"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["TERM", "HUP"])
def test_a_kill_ends_in_order(tmp_path: Path, how: str) -> None:
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with terminal(DEMO, (80, 24), env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: HOME in screen)
        pid = shown.tmux("display", "-p", "-t", "t", "#{pane_pid}").strip()
        subprocess.run(["pkill", f"-{how}", "-P", pid, "-f", "console demo"], check=True)
        expected = 128 + getattr(signal, f"SIG{how}")
        shown.until(lambda screen: f"[ended {expected}]" in screen)
        assert HOME not in shown.screen(), "the terminal was left as it was"
    assert not list(tmp_path.glob("rollout-demo-*"))


@pytest.mark.slow
def test_told_again_while_it_clears_up_it_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with terminal(DEMO, (80, 24), env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: HOME in screen)
        assert only_file(tmp_path).exists()
        # The kernel tells, and so does whoever closed it: again while it is clearing up.
        pid = shown.tmux("display", "-p", "-t", "t", "#{pane_pid}").strip()
        end = time.monotonic() + 20
        while not subprocess.run(["pkill", "-HUP", "-P", pid, "-f", "console demo"]).returncode:
            assert time.monotonic() < end, "it does not end"
            time.sleep(0.01)
        shown.until(lambda screen: "[ended 129]" in screen)
    assert not list(tmp_path.glob("rollout-demo-*"))


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [None, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_a_terminal_that_is_closed_leaves_nothing_behind(
    tmp_path: Path, after_s: float | None
) -> None:
    """While it runs, or soon after it was told to quit.

    Who closes a terminal says "hang up", then "continue": the console must not start anew.
    """
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with terminal(DEMO, (80, 24), env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: HOME in screen)
        pane = shown.tmux("display", "-p", "-t", "t", "#{pane_pid}").strip()
        found = subprocess.run(["pgrep", "-P", pane], capture_output=True, text=True, check=True)
        consoles = [int(pid) for pid in found.stdout.split()]
        if after_s is not None:
            shown.press("q")
            time.sleep(after_s)
        shown.tmux("new-session", "-d", "-s", "another")  # the server stays for the clean-up
        shown.tmux("kill-session", "-t", "t")
        end = time.monotonic() + 20
        while list(tmp_path.glob("rollout-demo-*")):
            assert time.monotonic() < end, "the demo's folder stays"
            time.sleep(0.05)
        while not all(has_ended(pid) for pid in consoles):
            assert time.monotonic() < end, "the console goes on without a terminal"
            time.sleep(0.05)


@pytest.mark.slow
def test_told_to_continue_while_it_ends_it_ends(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with terminal(DEMO, (80, 24), env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: HOME in screen)
        pane = shown.tmux("display", "-p", "-t", "t", "#{pane_pid}").strip()
        found = subprocess.run(["pgrep", "-P", pane], capture_output=True, text=True, check=True)
        (console,) = [int(pid) for pid in found.stdout.split()]
        shown.press("q")
        end = time.monotonic() + 20
        time.sleep(0.1)  # until the key is there
        while not has_ended(console):
            assert time.monotonic() < end, "it does not end"
            with suppress(ProcessLookupError):
                os.kill(console, signal.SIGCONT)
            time.sleep(0.005)
        shown.until(lambda screen: "[ended 0]" in screen)
    assert not list(tmp_path.glob("rollout-demo-*"))
