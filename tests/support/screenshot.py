"""Make the README's pictures: the console on the demo, drawn by the app itself.

``python -m tests.support.screenshot docs [WIDTHxHEIGHT]`` writes ``calm.svg``, ``storm.svg`` and
``rollback.svg`` into the folder.
"""

import asyncio
import os
import sys
from pathlib import Path

from rollout_console.changes.switch import Switch
from rollout_console.cli.credentials import fixed_vault
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.location import history_of
from rollout_console.sim.demo import Demo
from rollout_console.sim.incidents import start_incident
from rollout_console.sim.state import DEMO_TOKEN
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.settings import Settings

CALM_S, STORM_S, DRAIN_S = 75.0, 25.0, 10.0


async def _draw(demo: Demo, target: Path, size: tuple[int, int]) -> None:
    who = Actor("jo", "gw-01")
    switch = Switch(demo.file, history_of(demo.file), who)
    monitor = Monitor(demo.file, switch.open().file)
    vault = fixed_vault({"management_token": DEMO_TOKEN}, {})
    app = ConsoleApp(switch, monitor, Settings(), user=who.user, host=who.host, vault=vault)

    def save(name: str) -> None:
        svg = app.export_screenshot(title=f"rollout-console demo: {name}")
        svg = svg.replace(demo.base_url, "http://127.0.0.1:8000")
        (target / f"{name}.svg").write_text(svg, encoding="utf-8")

    async with app.run_test(size=size) as pilot:
        await asyncio.sleep(CALM_S)
        save("calm")
        await asyncio.to_thread(start_incident, demo.base_url, "5xx storm", route="chat")
        await asyncio.sleep(STORM_S)
        save("storm")
        await pilot.press("n", "r")
        await asyncio.sleep(0.6)
        await pilot.press("y")
        await asyncio.sleep(DRAIN_S)
        save("rollback")


def main() -> None:
    """Run the demo for two minutes and save the pictures."""
    width, _, height = (sys.argv[2] if len(sys.argv) > 2 else "120x40").partition("x")
    with Demo() as demo:
        os.environ["ROLLOUT_STATE_DIR"] = str(demo.folder / "state")
        asyncio.run(_draw(demo, Path(sys.argv[1]), (int(width), int(height))))


if __name__ == "__main__":
    main()
