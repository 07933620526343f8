"""``web``: the read-only console in a browser, a process for each tab."""

import asyncio
import socket
import sys
from argparse import Namespace
from importlib.util import find_spec

from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.console import open_screen
from rollout_console.cli.credentials import (
    given_on,
    handed_to_child,
    make_vault,
    take_from_parent,
)
from rollout_console.cli.exit_codes import DONE, UNREACHABLE, USAGE
from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible

NEEDS = ("textual-serve>=1.1.3,<1.2", "aiohttp>=3.12,<4")
"""The extra ``web``, as pyproject.toml has it."""
_EXPOSED = """\
rollout-console: {host} is not loopback, and there is no log-in: anyone who can connect to port
{port} can read the routes, orgs, figures, history and names of API keys that the console shows. Put
it behind a reverse proxy of your own with a log-in (--public-url), or leave --host out and reach
it by a tunnel: ssh -L {port}:127.0.0.1:{port} {name}
"""


def web(options: Namespace, switch: Switch) -> int:
    """Serve until a signal; ``switch`` must be read-only. With ``--in-tab``, be a tab's console."""
    if options.in_tab:
        return _run_tab(options, switch)
    if any(find_spec(name) is None for name in ("textual_serve", "aiohttp")):
        needed = " ".join(f'"{one}"' for one in NEEDS)
        print(
            f"rollout-console: web needs the extra web, which is not installed: pip install"
            f" {needed}",
            file=sys.stderr,
        )
        return USAGE
    from rollout_console.web.origins import Origins
    from rollout_console.web.server import WebView, serve
    from rollout_console.web.sockets import PortInUse, is_loopback, listen, port_of

    switch.open()  # a file that cannot be used is said here, not in each tab
    given = given_on(options)  # and taken out of the environment, which the tabs inherit
    make_vault(given, asks=False)
    try:
        sockets = listen(options.host, options.port)
    except PortInUse as error:
        print(f"rollout-console: {error}", file=sys.stderr)
        return UNREACHABLE
    except OperationError as error:
        print(f"rollout-console: {visible(str(error))}", file=sys.stderr)
        return USAGE
    port, exposed = port_of(sockets), not is_loopback(sockets)
    names = (options.host, socket.gethostname()) if exposed else (options.host,)
    view = WebView(
        _command_of_tab(options, switch),
        handed_to_child(given),
        Origins(names, options.public_url or ""),
        title=f"{visible(switch.name)}: rollout-console, read-only",
        most_tabs=options.tabs,
    )

    def ready() -> None:
        own = _url(options.host, port)
        print(options.public_url or own, flush=True)
        served = f", served on {own}" if options.public_url else ""
        print(f"read-only: {visible(switch.title)}{served}; ctrl+c ends it", flush=True)
        if exposed:
            about = {"host": options.host, "port": port, "name": socket.gethostname()}
            print(_EXPOSED.format(**about), end="", file=sys.stderr, flush=True)

    asyncio.run(serve(view, sockets, ready))
    return DONE


def _command_of_tab(options: Namespace, switch: Switch) -> list[str]:
    """Return the command line of a tab's console; -P keeps the working directory from sys.path."""
    words = [sys.executable, "-P", "-m", "rollout_console", f"--file={switch.title}", "--read-only"]
    return [*words, *(["--ascii"] if options.ascii else []), "web", "--in-tab"]


def _run_tab(options: Namespace, switch: Switch) -> int:
    """Run the console of a tab: the server has standard input and output."""
    if sys.stdin.isatty() or sys.stdout.isatty():
        print("rollout-console: --in-tab is for the server's own processes", file=sys.stderr)
        return USAGE
    take_from_parent()
    vault = make_vault(given_on(options), asks=False)
    return open_screen(switch, vault, in_ascii=options.ascii, in_browser=True)


def _url(host: str, port: int) -> str:
    """Return the address to open; a wildcard address is that of this machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
