"""Make the pictures of docs/fleet.md: the console on three servers, of which one lags.

``python -m tests.support.fleet_screenshot docs`` writes ``fleet.svg`` (120x40) and
``fleet-80x24.svg`` into the folder. gw-01 has a mirror and the demo's applications; gw-02 and gw-03
say what their mirrors would. Debian's ``etcd-server`` is needed.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rollout_console.changes.switch import Switch
from rollout_console.cli.credentials import fixed_vault
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.location import history_of
from rollout_console.mirror.mirror import Mirror, Standing
from rollout_console.mirror.registration import Registration
from rollout_console.mirror.service import MirrorService
from rollout_console.sim.demo import Demo
from rollout_console.sim.state import DEMO_TOKEN
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.settings import Settings
from rollout_gate.file.revision import revision_of
from tests.support.etcd import cluster

KEY = "/rollout/prod"
FILE = "/etc/rollout/rollout.toml"
TRAFFIC_S, LAG_S = 45.0, 8.0


@contextmanager
def _mirroring(demo: Demo, address: str) -> Iterator[None]:
    """Mirror the key into the file that the demo's applications read, as gw-01."""
    stop = threading.Event()
    with EtcdClient(address_of(address)) as client:
        switch = Switch(demo.file, history_of(demo.file), Actor("mirror", "gw-01"))
        mirror = Mirror(switch, KEY, lambda said: None, address)
        registration = Registration(client, KEY, "gw-01", FILE)
        service = MirrorService(client, mirror, registration, lambda said: None)
        thread = threading.Thread(target=service.run, args=(stop, lambda words: None))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


async def _draw(demo: Demo, address: str, target: Path, size: tuple[int, int], name: str) -> None:
    with EtcdClient(address_of(address)) as client, EtcdClient(address_of(address)) as others:
        shared = SharedFile(client)
        shared.follow()
        switch = shared_switch(shared, Actor("jo", "gw-01"), WriteAccess())
        monitor = Monitor(switch.path, switch.open().file, servers=lambda: switch.spread)
        vault = fixed_vault({"management_token": DEMO_TOKEN}, {})
        app = ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01", vault=vault)
        two, three = (Registration(others, KEY, host, FILE) for host in ("gw-02", "gw-03"))

        def applies(one: Registration, *latched: str) -> None:
            found = others.get(KEY).values[0]
            one.tell(Standing(revision_of(found.data), found.mod_revision, latched))

        async with app.run_test(size=size) as pilot:
            applies(two)
            applies(three)
            await asyncio.sleep(TRAFFIC_S)
            applies(three)
            await pilot.press("R")
            await asyncio.sleep(0.6)
            await pilot.press("y")
            await asyncio.sleep(1)
            applies(two, "video/acme")
            await asyncio.sleep(LAG_S)
            svg = app.export_screenshot(title="rollout-console -f etcd://gw-01:2379/rollout/prod")
            svg = svg.replace(demo.base_url, "http://127.0.0.1:8000")
            (target / f"{name}.svg").write_text(svg, encoding="utf-8")
        shared.close()


def main() -> None:
    """Run the demo for two minutes and save the pictures."""
    with Demo() as demo, cluster(demo.folder / "etcd") as found:
        os.environ["ROLLOUT_STATE_DIR"] = str(demo.folder / "state")
        os.environ["ROLLOUT_FOLDER"] = str(demo.folder)
        text = demo.file.read_bytes()
        with EtcdClient(address_of(found.address())) as client, ExitStack() as stack:
            for size, name in (((120, 40), "fleet"), ((80, 24), "fleet-80x24")):
                client.put(KEY, text)
                if name == "fleet":
                    stack.enter_context(_mirroring(demo, found.address()))
                asyncio.run(_draw(demo, found.address(), Path(sys.argv[1]), size, name))


if __name__ == "__main__":
    main()
