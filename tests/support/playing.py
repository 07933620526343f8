"""The demo's rollout file with its traffic on the simulator, both in threads of the tests."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout_console.common.assets import asset_folder
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY, DEMO_TOKEN
from rollout_console.sim.traffic import Traffic

CREDENTIALS = {"TOKENLAB_API_KEY": DEMO_KEY, "TOKENLAB_MANAGEMENT_TOKEN": DEMO_TOKEN}
"""The simulator's, as environment variables of a console."""


class Playing:
    """``file`` is the rollout file, ``access.jsonl`` beside it the log; ``base_url`` TokenLab's."""

    def __init__(self, folder: Path, base_url: str, rate: float) -> None:
        self.file = folder / "rollout.toml"
        self.base_url = base_url
        text = (asset_folder("sample_configs") / "demo.toml").read_text()
        self.file.write_text(text.replace("BASE_URL", base_url))
        self._rate = rate
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(Traffic(self.file, api_key=DEMO_KEY, rate=self._rate).run(self._stop))

    def stop(self) -> None:
        """Stop the traffic, and wait for requests in flight to be logged."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()


@contextmanager
def playing(folder: Path, *, rate: float) -> Iterator[Playing]:
    """Play ``rate`` requests a second on a simulator of its own."""
    with SimServer(realistic=True) as sim:
        made = Playing(folder, sim.base_url, rate)
        try:
            yield made
        finally:
            made.stop()
