"""The demo's two child processes: ``serve`` the simulator, or ``play`` the traffic, at a rate.

Both exit at EOF on stdin, so that no orphans are left however the parent ended.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the child process that the first argument names; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments[:1] == ["serve"]:
        return _serve(int(arguments[1]))
    if arguments[:1] == ["play"]:
        return asyncio.run(_play(Path(arguments[1]), float(arguments[2])))
    return 2


def _serve(port: int) -> int:
    from rollout_console.sim.server import SimServer

    server = SimServer(port, realistic=True)
    _end_with_parent(lambda: os._exit(0))
    server.serve_forever(_say)
    return 0


async def _play(file: Path, rate: float) -> int:
    from rollout_console.sim.traffic import Traffic

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    _end_with_parent(lambda: loop.call_soon_threadsafe(stop.set))
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    traffic = Traffic(file, api_key=os.environ["TOKENLAB_API_KEY"], rate=rate)
    _say("playing")
    await traffic.run(stop)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _end_with_parent(end: Callable[[], object]) -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        end()

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
