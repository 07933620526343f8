"""Incidents as an operator meets them at 80x24: seconds until home says so, keys until drained."""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from rollout_console.sim.incidents import start_incident
from rollout_gate.file.parse import parse
from tests.support.terminal import Terminal, terminal

SIZE = (80, 24)
WARM_S = 45.0
"""Seconds of healthy traffic before an incident."""
WITHIN_S = 120.0
GRACE_S = 0.4
"""Seconds until a confirm takes an answer, with a margin."""

_MOST_TIMES = 3
"""How often an operator rolls back what the alarm line says, until it is the incident's."""


class Case(msgspec.Struct, frozen=True):
    """An incident of the simulator, on one route or all; ``away`` puts the cursor elsewhere.

    ``said`` must be on the alarm line, ``latched`` is a route or org that is then rolled back.
    """

    title: str
    incident: str
    route: str
    said: str
    latched: tuple[str, str | None]
    away: bool = False


CASES = (
    Case("storm here", "5xx storm", "chat", "chat: 5xx", ("chat", None)),
    Case("storm off-screen", "5xx storm", "claude", "claude: 5xx", ("claude", None), away=True),
    Case("slow", "slow", "chat", "chat: ", ("chat", None)),
    Case("wrong key", "wrong key", "claude", "refuses the key", ("claude", None), away=True),
    Case("one sick org", "one sick org", "", " / ", ("chat", "")),
)


def main() -> None:
    """Play each incident in a demo of its own, and print a line for it."""
    print(f"at {SIZE[0]}x{SIZE[1]}, after {WARM_S:.0f} s of healthy traffic")
    for case in CASES:
        _in_a_demo(partial(_play, case))
    _in_a_demo(_wrong_press)


def _in_a_demo(play: Callable[[Terminal, Path], str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = {"TMPDIR": folder, "ROLLOUT_STATE_DIR": f"{folder}/state"}
        command = f"{sys.executable} -m rollout_console demo"
        with terminal(command, SIZE, env, Path(__file__).parents[2]) as shown:
            shown.until(lambda screen: "route / org" in screen)
            (file,) = Path(folder).glob("rollout-demo-*/rollout.toml")
            time.sleep(WARM_S)
            print(f"  {play(shown, file)}", flush=True)
            shown.press("q")
            shown.until(lambda screen: "[ended" in screen)


def _play(case: Case, shown: Terminal, file: Path) -> str:
    base_url = parse(file.read_bytes()).base_url
    if case.away:  # the filter shows another route alone
        shown.press("/")
        shown.type("gemini")
        shown.press("Enter")
    start_incident(base_url, case.incident, route=case.route)
    began = time.monotonic()

    def alarm(screen: str) -> str:
        return screen.splitlines()[1] if "▲" in screen else ""

    seen = shown.until(lambda screen: case.said in alarm(screen), WITHIN_S)
    visible_s = time.monotonic() - began
    said = alarm(seen).strip()
    for times in range(1, _MOST_TIMES + 1):
        drained_s = _roll_back(shown)
        if _is_latched(case, file):
            return (
                f"{case.title}: visible after {visible_s:.1f} s ({said[:60]}),"
                f" {3 * times} keys (n r y{f', {times} times' if times > 1 else ''}),"
                f" drained {drained_s:.1f} s after the last"
            )
        # An org with the first errors is blamed alone, until others have them too.
        shown.until(lambda screen: case.said in alarm(screen), WITHIN_S)
    raise AssertionError(f"{case.title}: not rolled back, but {said}")


def _roll_back(shown: Terminal) -> float:
    """Roll back what the alarm line says, until it has drained; return how long that took."""
    for key in ("n", "r"):
        shown.press(key)
    shown.until(lambda screen: "y: roll back" in screen)
    time.sleep(GRACE_S)
    pressed = time.monotonic()
    shown.press("y")
    shown.until(lambda screen: "drained in" in screen, WITHIN_S)
    return time.monotonic() - pressed


def _is_latched(case: Case, file: Path) -> bool:
    route, org = case.latched
    sick = parse(file.read_bytes()).routes[route]
    return sick.rolled_back if org is None else any(s.rolled_back for s in sick.orgs.values())


def _wrong_press(shown: Terminal, file: Path) -> str:
    before = file.read_bytes()
    shown.press("R")
    shown.until(lambda screen: "y: roll back" in screen)
    time.sleep(GRACE_S)
    shown.press("y")
    shown.until(lambda screen: "rolled back: " in screen)
    began = time.monotonic()
    shown.press("u")
    shown.until(lambda screen: "y: do it" in screen)
    time.sleep(GRACE_S)
    shown.press("y")
    shown.until(lambda screen: "done: undo" in screen)
    took = time.monotonic() - began
    assert file.read_bytes() == before
    return f"wrong press: put right by 2 keys (u y) in {took:.1f} s, the file as it was"
