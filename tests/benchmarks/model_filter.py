"""What one key press in the search of 10,000 models costs: filter, rows, and every visible line."""

import asyncio
import os
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from rollout_console.changes.switch import Switch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.models.queries import Shelf
from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.screens.models.screen import ModelsScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line_table import LineTable
from tests.benchmarks.timing import seconds

MODELS = 10_000
FRAME_MS = 16
TYPED = ("g", "gp", "gpt", "gpt-5", "", "openai chat", "7", "no such model", "claude", "image")
_SAMPLE = Path(__file__).resolve().parents[2] / "sample_configs" / "rollout.toml"


def main() -> None:
    """Print the median and the slowest key press."""
    with tempfile.TemporaryDirectory() as folder, SimServer() as server:
        os.environ["ROLLOUT_STATE_DIR"] = folder
        taken = asyncio.run(_typing(Path(folder), server.base_url))
    print(
        f"filter {MODELS:,} models, per key press: median {median(taken) * 1000:.1f} ms, "
        f"slowest {max(taken) * 1000:.1f} ms (target {FRAME_MS} ms, one frame)"
    )


async def _typing(folder: Path, base_url: str) -> list[float]:
    file = folder / "rollout.toml"
    file.write_text(_SAMPLE.read_text().replace("https://api.tokenlab.sh", base_url))
    switch = Switch(file, History(folder / "h.sqlite3"), Actor("jo", "gw-01"))
    app = ConsoleApp(switch, Monitor(file, switch.open().file), Settings(), user="jo", host="gw-01")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await pilot.pause(2.0)
        screen = app.screen
        assert isinstance(screen, ModelsScreen)
        base = screen._room.shelf.models
        screen._room._shelf = Shelf(
            msgspec.structs.replace(base[i % len(base)], id=f"m{i}-{base[i % len(base)].id}")
            for i in range(MODELS)
        )
        table = screen.query_one(LineTable)

        def press(text: str) -> None:
            screen._view.change(text=text)
            screen.show()
            for y in range(table.size.height):
                table.render_line(y)

        press("")
        return [seconds(partial(press, text)) for _ in range(5) for text in TYPED]
