"""textual-serve's server, narrowed: who may connect, how many tabs, and what a page may load."""

import asyncio
import html
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler, Middleware
from textual_serve.app_service import AppService
from textual_serve.server import Server

from rollout_console.web.origins import Origins
from rollout_console.web.tab import GRACE_S, Tab
from rollout_gate.untrusted import UndecodableError, decode_json

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Server": "rollout-console",
}
"""xterm.js makes style elements (``'unsafe-inline'``); nothing is loaded from another host."""
WAITS_S = 2 * GRACE_S + 1.0
"""Seconds that a new tab waits for one to end: a reload opens the next before the last is gone, and
a console that hangs, which may be why it is reloaded, is killed after twice the grace period."""
_HEARTBEAT_S = 15.0
_MOST_BYTES = 256 * 1024
_MOST_CELLS = 500
_PAGE = files("rollout_console.web") / "page"
_message_of: msgspec.json.Decoder[list[str | dict[str, int]]] = msgspec.json.Decoder(
    list[str | dict[str, int]]
)


class WebView(Server):
    """Serves the read-only console: a page, its static files, and a WebSocket for each tab."""

    def __init__(
        self,
        command: Sequence[str],
        credentials: Mapping[str, str],
        origins: Origins,
        *,
        title: str,
        most_tabs: int,
    ) -> None:
        super().__init__(" ".join(command), title=title)
        self._words = command
        self._credentials = credentials
        self._origins = origins
        self._most_tabs = most_tabs
        self._free = asyncio.Semaphore(most_tabs)
        self._ending = asyncio.Event()
        self._tabs: set[asyncio.Task[None]] = set()
        page = _PAGE.joinpath("index.html").read_text(encoding="utf-8")
        self._index = page.replace("{title}", html.escape(title))

    async def make_app(self) -> web.Application:
        """Return the application; the routes for downloads and for a list of files are left out."""
        app = web.Application(middlewares=[self._checks()], client_max_size=_MOST_BYTES)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/ws", self.handle_websocket),
                web.static("/static", Path(self.statics_path)),
                web.static("/page", Path(str(_PAGE))),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        app.on_shutdown.append(self.on_shutdown)
        return app

    def _checks(self) -> Middleware:
        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            if reason := self._why_refused(request):
                return web.Response(status=403, text=f"{reason}\n")
            return await handler(request)

        return checked

    def _why_refused(self, request: web.Request) -> str:
        """Return why a request is refused; empty where it is not."""
        transport = request.transport
        local = transport.get_extra_info("sockname") if transport is not None else None
        host = request.headers.get("Host", "")
        if not self._origins.serves_host(host, str(local[0]) if local else ""):
            return (
                "This server is not known by that name (Host). Behind a reverse proxy,"
                " rollout-console web needs --public-url."
            )
        origin = request.headers.get("Origin")
        if origin is None and request.path != "/ws":
            return ""
        if origin is None or not self._origins.serves_origin(origin, host):
            return (
                "That page is of another site (Origin). Behind a reverse proxy, rollout-console web"
                " needs --public-url."
            )
        return ""

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._index, content_type="text/html", charset="utf-8")

    async def on_shutdown(self, app: web.Application) -> None:
        """End every tab's console; this returns when none is left."""
        self._ending.set()
        if self._tabs:
            await asyncio.wait(self._tabs)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a console for a tab, until either of them or the server ends."""
        websocket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, max_msg_size=_MOST_BYTES)
        await websocket.prepare(request)
        # A task of its own: a handler that is cancelled must not leave a process.
        serving = asyncio.create_task(self._serve_tab(request, websocket))
        self._tabs.add(serving)
        serving.add_done_callback(self._tabs.discard)
        await asyncio.shield(serving)
        return websocket

    async def _serve_tab(self, request: web.Request, websocket: web.WebSocketResponse) -> None:
        try:
            async with asyncio.timeout(WAITS_S):
                await self._free.acquire()
        except TimeoutError:
            await _say_and_close(
                websocket,
                f"{_tabs(self._most_tabs)} open, and it serves no more at once: close one, or start"
                " it with a larger --tabs.",
            )
            return
        try:
            await self._run_tab(request, websocket)
        finally:
            self._free.release()

    async def _run_tab(self, request: web.Request, websocket: web.WebSocketResponse) -> None:
        if self._ending.is_set():
            return
        tab = Tab(self._words, self._credentials, websocket.send_bytes)
        width, height = (_cells(request.query.get(name, "")) for name in ("width", "height"))
        try:
            try:
                await tab.start(width, height)
            except OSError as error:
                await _say_and_close(websocket, f"No console can be started: {error.strerror}.")
                return
            await _say_and_close(websocket, await self._until_ended(websocket, tab))
        finally:
            await tab.stop()

    async def _until_ended(self, websocket: web.WebSocketResponse, tab: Tab) -> str:
        """Wait for the first of page, console and server to end; return a sentence for the page."""
        reading = asyncio.create_task(self._process_messages(websocket, tab))
        ended = asyncio.create_task(tab.ended())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait([reading, ended, ending], return_when=asyncio.FIRST_COMPLETED)
            return await ended if ended.done() else "The server was stopped."
        finally:
            for one in (reading, ended, ending):
                one.cancel()
            await asyncio.gather(reading, ended, ending, return_exceptions=True)

    async def _process_messages(
        self, websocket: web.WebSocketResponse, app_service: AppService
    ) -> None:
        """Pass on keys, sizes and focus; what is anything else is ignored."""
        async for message in websocket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                found = decode_json(message.data.encode("utf-8", "replace"), _message_of)
            except UndecodableError:
                continue
            match found:
                case ["stdin", str(keys)]:
                    await app_service.send_bytes(keys.encode("utf-8", "replace"))
                case ["resize", {"width": int(width), "height": int(height)}]:
                    await app_service.set_terminal_size(_in_limits(width), _in_limits(height))
                case ["ping", str(sent)]:
                    await websocket.send_json(["pong", sent])
                case ["blur"]:
                    await app_service.blur()
                case ["focus"]:
                    await app_service.focus()


async def serve(view: WebView, sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
    """Serve on the sockets until SIGINT, SIGTERM or SIGHUP; no console is left at the end."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    runner = web.AppRunner(
        await view.make_app(), handle_signals=False, access_log=None, shutdown_timeout=GRACE_S
    )
    await runner.setup()
    try:
        for one in sockets:
            await web.SockSite(runner, one).start()
        ready()
        await told.wait()
    finally:
        await runner.cleanup()


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def _say_and_close(websocket: web.WebSocketResponse, sentence: str) -> None:
    """Send the page why its console has ended, and close; a page that has gone needs neither."""
    try:
        async with asyncio.timeout(GRACE_S):
            await websocket.send_json(["ended", sentence])
            await websocket.close()
    except (TimeoutError, ConnectionError, RuntimeError):
        pass


def _tabs(count: int) -> str:
    return f"{count} tabs of this server are" if count > 1 else "1 tab of this server is"


def _cells(text: str) -> int:
    return _in_limits(int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 80


def _in_limits(cells: int) -> int:
    return min(max(cells, 1), _MOST_CELLS)
