"""``web``: the read-only console in a real Chromium, and what the server refuses."""

import http.client
import json
import os
import re
import signal
import socket
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.web import NEEDS
from rollout_console.cli.credentials import handed_to_child, take_from_parent
from rollout_console.cli.main import run
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.environment import Given
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.opening import open_shared, shared_switch
from rollout_console.health.prometheus import login
from rollout_console.history.actor import Actor
from rollout_console.history.location import history_of
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_TOKEN
from rollout_console.ui.keymap import APP_KEYS, CONTEXTS, Key
from rollout_gate import AccessLine, AccessLog, timestamp
from tests.conftest import SAMPLE
from tests.mirror.servers import text as rollout_text
from tests.support.chromium import Chromium, Page, chromium
from tests.support.etcd import cluster
from tests.support.waiting import until
from tests.support.web_view import View, is_gone, web_view

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
REFUSED = "read-only in a browser: nothing is changed"
SCREENS = {"home": "1", "keys": "2", "models": "3", "routes": "4", "live": "5", "history": "6",
           "jobs": "7", "money": "8"}  # fmt: skip
PRESSED = {
    "plus": "+", "minus": "-", "exclamation_mark": "!", "enter": "Enter", "asterisk": "*",
}  # fmt: skip
LOADED = {"keys": ["key_demo"], "models": ["anthropic-chat-1"]}
ENDED = "#sentence"


def rollout_file(folder: Path, base_url: str = "http://127.0.0.1:9") -> Path:
    """The sample file; TokenLab is nobody's port, or the simulator's."""
    folder.mkdir()
    path = folder / "rollout.toml"
    text = SAMPLE.read_text().replace("https://api.tokenlab.sh", base_url)
    path.write_text(re.sub(r"https://api\.(openai|anthropic)\.com", "http://127.0.0.1:9", text))
    return path


def traffic(file: Path, count: int) -> None:
    log = AccessLog(file.parent / "access.jsonl")
    for _ in range(count):
        log.append(
            AccessLine(ts=timestamp(), route="chat", org="acme", side="tokenlab", model="m",
                       status=200, latency_ms=50.0)
        )  # fmt: skip
    log.close()


def tree(*folders: Path) -> dict[str, bytes]:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def ask(view: View, path: str = "/", **headers: str) -> tuple[int, str]:
    """Send a GET request with headers; return the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", view.port, timeout=60)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in ({"Host": f"127.0.0.1:{view.port}"} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = b"" if answer.status == 101 else answer.read()
        return answer.status, body.decode("utf-8", "replace")
    finally:
        connection.close()


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c2FtcGxlIG5vbmNlIDEyMw==",
}  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, sim: SimServer) -> Path:
    path = rollout_file(tmp_path_factory.mktemp("served") / "etc", sim.base_url)
    made = Switch(path, history_of(path), Actor("jo", "gw-01"))
    made.open()
    made.apply(made.planner.plan_rollback("claude", None, "5xx"), reason="5xx after 14:00")
    return path


@pytest.fixture(scope="module")
def view(file: Path) -> Iterator[View]:
    """The server that most tests share, with credentials in its environment."""
    given = {"TOKENLAB_MANAGEMENT_TOKEN": DEMO_TOKEN, "OPENAI_API_KEY": "sk-canary-of-openai"}
    with web_view(file, file.parents[1] / "server", **given) as found:
        yield found


def home(browser: Chromium, view: View) -> Page:
    """Open a tab, which the fixture closes, and wait for its home screen."""
    page = browser.page(view.url)
    page.until("route / org", "globex", "read-only")
    return page


@pytest.fixture(autouse=True)
def _no_tab_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close the tabs of a test, and wait for the ends of the shared server's consoles."""
    yield
    if "browser" in request.fixturenames:
        request.getfixturevalue("browser").close_pages()
    if "view" in request.fixturenames:
        view = request.getfixturevalue("view")
        until(lambda: not view.consoles())


def test_the_page_shows_home_and_loads_nothing_from_elsewhere(
    browser: Chromium, view: View
) -> None:
    page = home(browser, view)
    shown = page.until("-chat", "-claude", "wins over the org")
    assert " 12.5 " in shown
    asked = {event["request"]["url"] for event in page.events("Network.requestWillBeSent")}
    assert all(url.startswith(view.url) for url in asked), asked
    assert f"{view.url}static/fonts/RobotoMono-VariableFont_wght.ttf" in asked
    assert page.events("Runtime.exceptionThrown") == []
    errors = [e for e in page.events("Log.entryAdded") if e["entry"]["level"] == "error"]
    assert errors == [], "such as a violation of the Content-Security-Policy"
    picture = page.picture()
    page.press("?")
    page.until("(disabled: read-only)")
    assert page.picture() != picture, "the canvas is drawn"


def test_traffic_in_the_log_moves_the_figures(browser: Chromium, view: View, file: Path) -> None:
    page = home(browser, view)
    page.until("hold: no data")
    traffic(file, 40)
    until(lambda: " 0.0 " not in next(x for x in page.screen().splitlines() if " acme " in x))
    until(lambda: "  live" in page.screen().splitlines()[0])
    page.press("5")
    page.until(" live ▸ chat")


def names(key: Key) -> Sequence[str]:
    return [
        PRESSED.get(name, name) for name in key.keys.split(",") if len(name) == 1 or name in PRESSED
    ]


def test_no_key_changes_writes_or_sends_anything_and_each_says_why(
    browser: Chromium, view: View, file: Path
) -> None:
    """Screen after screen in one tab: to open one costs more than all keys of a screen."""
    page = home(browser, view)
    for context, number in SCREENS.items():
        page.press(number)
        page.until("route / org" if context == "home" else f" {context} ▸")
        for text in LOADED.get(context, ()):  # a read that ends replaces a notice
            page.until(text)
        before = tree(file.parents[1])
        own = [key for key in CONTEXTS[context] if key not in APP_KEYS]
        off = [key for key in own if key.changes or key.at_terminal]
        assert off, context
        for key in off:
            assert names(key), key
            page.press(names(key)[-1])
            try:
                page.until(REFUSED)
            except AssertionError as error:
                raise AssertionError(f"{context} {key.id}: {error}") from None
            page.press("Escape")
            until(lambda: REFUSED not in page.screen())
        assert tree(file.parents[1]) == before, context


def test_what_looks_writes_nothing_either_and_shows_no_credential(
    browser: Chromium, view: View, file: Path
) -> None:
    """Every screen with TokenLab there to be read: catalogue, balance, API keys and checks."""
    before = tree(file.parents[1])
    page = home(browser, view)
    seen = [page.until("$"), *_each_screen(page)]
    (console,) = view.consoles()
    environ = b""
    with suppress(PermissionError):  # root alone may read it
        environ = Path(f"/proc/{console}/environ").read_bytes()
    assert tree(file.parents[1]) == before
    assert DEMO_TOKEN.encode() not in environ
    assert b"canary" not in environ
    assert not [one for one in seen if DEMO_TOKEN in one or "canary" in one]


def _each_screen(page: Page) -> Iterator[str]:
    page.press("2")
    yield page.until("from $TOKENLAB_MANAGEMENT_TOKEN", "key_demo")
    page.press("3")
    yield page.until(" models ▸", "anthropic-chat-1")
    page.press("4")
    page.until(" routes ▸")
    page.press("c")
    yield page.until("what fails")
    page.press("Escape")
    until(lambda: "what fails" not in page.screen())
    page.press("8")
    yield page.until(" money ▸", "No usage record was pulled yet")
    page.press("6")
    yield page.until(" history ▸ 1 change", "5xx after 14:00")
    page.press("Enter")
    yield page.until("esc: close")
    page.press("Escape")
    until(lambda: "esc: close" not in page.screen())
    page.press(":")
    yield page.until("theme: day-ops")
    page.press("Escape")


def test_two_tabs_are_two_consoles_and_one_that_is_killed_ends_alone(
    browser: Chromium, view: View
) -> None:
    one = home(browser, view)
    other = home(browser, view)
    first, second = view.consoles()
    one.press("6")
    one.until(" history ▸")
    other.press("4")
    other.until(" routes ▸")
    assert " history ▸" in one.screen()
    os.kill(first, signal.SIGKILL)
    until(lambda: "stopped by an error" in one.text(ENDED))
    assert other.text(ENDED) == ""
    other.press("5")
    other.until(" live ▸")
    assert view.consoles() == [second]
    one.value("document.querySelector('#again').click()")
    one.until("route / org")


def test_a_tab_gets_the_login_of_a_prometheus_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_given", {})
    monkeypatch.setenv(login.TOKEN, "canary")
    handed = handed_to_child(Given({}, {}, previous={}))
    assert handed == {login.TOKEN: "canary"}
    assert login.TOKEN not in os.environ
    line = [bytes([one]) for one in json.dumps(handed).encode() + b"\n"]
    monkeypatch.setattr("rollout_console.cli.credentials.os.read", lambda *_: line.pop(0))
    take_from_parent()
    assert os.environ[login.TOKEN] == "canary"


def test_quit_ends_the_tab_and_says_so(browser: Chromium, view: View) -> None:
    page = home(browser, view)
    page.press("q")
    until(lambda: "You have quit" in page.text(ENDED))
    until(lambda: not view.consoles())
    assert ask(view)[0] == 200


def test_a_page_of_another_site_is_refused(browser: Chromium, view: View) -> None:
    """Cross-site WebSocket hijacking: the browser sends the other page's Origin."""
    page = browser.page("about:blank")
    connects = f"""
      new Promise((done) => {{
        const socket = new WebSocket("ws://127.0.0.1:{view.port}/ws?width=80&height=24");
        socket.onopen = () => done("opened");
        socket.onerror = () => done("refused");
      }})"""
    assert page.value(connects) == "refused"
    own = home(browser, view)
    assert own.value(connects) == "opened", "the same address from its own page"


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", None])
def test_a_foreign_origin_gets_403(view: View, origin: str | None) -> None:
    own = {} if origin is None else {"Origin": origin}
    status, body = ask(view, "/ws", **UPGRADE, **own)
    assert (status, "Origin" in body) == (403, True)
    assert ask(view, "/ws", **UPGRADE, Origin=f"http://127.0.0.1:{view.port}")[0] == 101


@pytest.mark.parametrize("path", ["/", "/ws", "/static/js/textual.js", "/page/page.js"])
def test_a_foreign_host_gets_403(view: View, path: str) -> None:
    """DNS rebinding: the browser sends the name that was made to resolve to this address."""
    host = f"evil.example:{view.port}"
    status, body = ask(view, path, **UPGRADE, Host=host, Origin=f"http://{host}")
    assert (status, "Host" in body) == (403, True)


def test_nothing_but_the_page_is_served(view: View, file: Path) -> None:
    paths = ("/download/x", "/static/../server.py", "/static/%2e%2e/server.py", "/rollout.toml")
    assert [ask(view, path)[0] for path in paths] == [404] * len(paths)
    assert ask(view, "/static/")[0] == 403, "no list of files"
    assert ask(view, "/?fontsize=<script>")[1] == ask(view)[1]


@pytest.mark.parametrize("path", ["/", "/static/js/textual.js", "/none"])
def test_every_answer_says_what_a_page_may_load(view: View, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", view.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    policy = answer.getheader("Content-Security-Policy", "")
    assert "default-src 'none'; script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Server") == "rollout-console"
    connection.close()


def test_a_proxy_in_front_is_known_by_its_url(tmp_path: Path) -> None:
    file = rollout_file(tmp_path / "etc")
    with web_view(file, tmp_path / "server", "--public-url", "https://view.example/x/") as view:
        public, own = view.out.splitlines()
        assert public == "https://view.example/x/"
        assert f"served on http://127.0.0.1:{view.port}/" in own
        assert ask(view, "/ws", **UPGRADE, Origin="https://view.example")[0] == 101
        assert ask(view, "/ws", **UPGRADE, Origin="https://evil.example")[0] == 403
        assert ask(view, Host="view.example")[0] == 200


async def test_what_is_no_message_of_the_page_is_ignored(view: View) -> None:
    bad = [
        "", "{", "[]", "[1]", '["stdin"]', '["stdin", 5]', '["stdin", "\\ud800"]', '["quit"]',
        '["resize", {"width": 1e9, "height": -1}]', '["resize", {"width": 9999999, "height": 0}]',
        '["resize", null]', "[" * 5000, '["deliver_chunk_request", "x"]', '["ping", {}]',
    ]  # fmt: skip
    url = f"http://127.0.0.1:{view.port}/ws?width=999999999999&height=x"
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(url, origin=f"http://127.0.0.1:{view.port}") as tab,
    ):
        for one in bad:
            await tab.send_str(one)
        await tab.send_bytes(b"\0\xff")
        await tab.send_str('["ping", "7"]')
        while (message := await tab.receive(60)).type is not aiohttp.WSMsgType.TEXT:
            assert message.type is aiohttp.WSMsgType.BINARY, message
        assert json.loads(message.data) == ["pong", "7"]


def test_a_tab_too_many_says_so_and_has_its_turn_later(browser: Chromium, tmp_path: Path) -> None:
    file = rollout_file(tmp_path / "etc")
    with web_view(file, tmp_path / "server", "--tabs=1") as view:
        one = home(browser, view)
        other = browser.page(view.url)
        until(lambda: "1 tab of this server is open" in other.text(ENDED))
        assert len(view.consoles()) == 1
        one.close()
        other.value("document.querySelector('#again').click()")
        other.until("route / org")


def test_the_end_of_the_server_ends_every_console(browser: Chromium, tmp_path: Path) -> None:
    file = rollout_file(tmp_path / "etc")
    with web_view(file, tmp_path / "server") as view:
        pages = [home(browser, view) for _ in range(2)]
        consoles = view.consoles()
        assert len(consoles) == 2
        assert view.stop(signal.SIGINT) == 0
        assert all(map(is_gone, consoles))
        until(lambda: all(page.text(ENDED) == "The server was stopped." for page in pages))
        assert view.err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_it_as_well(tmp_path: Path, number: int) -> None:
    with web_view(rollout_file(tmp_path / "etc"), tmp_path / "server") as view:
        assert view.stop(number) == 0


@pytest.mark.parametrize("hangs", ["browser", "console"])
def test_ctrl_c_waits_for_nobody_who_hangs(tmp_path: Path, hangs: str) -> None:
    """A browser that is gone without a word, and reads nothing; a console that does not answer."""
    with web_view(rollout_file(tmp_path / "etc"), tmp_path / "server") as view:
        with socket.create_connection(("127.0.0.1", view.port), timeout=60) as silent:
            own = f"127.0.0.1:{view.port}"
            asked = {**UPGRADE, "Host": own, "Origin": f"http://{own}"}
            lines = ["GET /ws HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items())]
            silent.sendall("\r\n".join((*lines, "", "")).encode())
            drawn = b""
            while b"\x1b[?1049h" not in drawn:  # stopped before exec, it would hold its parent up
                data = silent.recv(4096)
                assert data
                drawn += data
            consoles = view.consoles()
            if hangs == "console":
                os.kill(consoles[0], signal.SIGSTOP)
            assert view.stop(signal.SIGINT) == 0
        assert all(map(is_gone, consoles))


def test_tabs_on_etcd_show_what_others_do_and_that_it_is_away(
    browser: Chromium, tmp_path: Path
) -> None:
    with cluster(tmp_path / "etcd") as etcd:
        with EtcdClient(address_of(etcd.address())) as client:
            client.put(client.address.key, rollout_text("25"))
        with web_view(etcd.address(), tmp_path / "server") as view:
            one, other = home(browser, view), home(browser, view)
            with open_shared(etcd.address(), {}) as shared:
                made = shared_switch(shared, Actor("kim", "gw-02"), WriteAccess())
                made.open()
                made.apply(made.planner.plan_rollback("chat", "acme", "5xx"), reason="5xx")
            for page in (one, other):
                page.until("changed by kim@gw-02: rollback chat / acme", "↩ rolled back")
            etcd.members[0].pause()
            one.until("ETCD AWAY")
            etcd.members[0].go_on()
            until(lambda: "ETCD AWAY" not in one.screen())
            consoles = view.consoles()
            assert view.stop(signal.SIGTERM) == 0
        assert all(map(is_gone, consoles))


def test_the_consoles_of_a_server_that_was_killed_end(browser: Chromium, tmp_path: Path) -> None:
    file = rollout_file(tmp_path / "etc")
    with web_view(file, tmp_path / "server") as view:
        page = home(browser, view)
        consoles = view.consoles()
        view.stop(signal.SIGKILL)
        until(lambda: all(map(is_gone, consoles)))
        until(lambda: "connection to the server was lost" in page.text(ENDED))


def test_a_file_that_is_gone_is_said_in_the_tab(browser: Chromium, tmp_path: Path) -> None:
    file = rollout_file(tmp_path / "etc")
    with web_view(file, tmp_path / "server") as view:
        file.unlink()
        page = browser.page(view.url)
        until(lambda: f"This tab's console has ended: {file}" in page.text(ENDED))
        assert view.process.poll() is None


def test_a_host_beyond_loopback_is_warned_of(tmp_path: Path) -> None:
    file = rollout_file(tmp_path / "etc")
    with web_view(file, tmp_path / "server", "--host", "0.0.0.0") as view:
        assert "there is no log-in" in view.err
        assert "ssh -L" in view.err
        assert ask(view, Host="0.0.0.0")[0] == 200
        assert ask(view, Host=socket.gethostname())[0] == 200
        assert ask(view, Host="evil.example")[0] == 403
    with web_view(file, tmp_path / "server") as view:
        assert view.err == ""


def test_without_the_extra_one_sentence_says_how_to_install_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual_serve", None)
    assert run(["-f", str(file), "web"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert all(f'"{one}"' in said.err for one in NEEDS)


def test_the_extra_that_is_named_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(NEEDS) == sorted(project["optional-dependencies"]["web"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--host", "192.0.2.1"], 2, "it is no address of this machine"),
        (["--host", ""], 2, "it is empty"),
        (["--port", "65536"], 2, "is not from 0 to 65535"),
        (["--public-url", "ftp://x"], 2, "is no address"),
        (["--public-url", "https://jo@x"], 2, "is no address"),
        (["--tabs", "0"], 2, "is not from 1 to 64"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    words: list[str], code: int, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found = run(["-f", str(file), "web", *words])
    except SystemExit as error:
        found = int(str(error.code))
    assert found == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_port_in_use_is_one_sentence(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["-f", str(file), "web", "--port", str(port)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"rollout-console: port {port} of 127.0.0.1 is in use; --port chooses another,"
        " 0 a free one\n"
    )


def test_a_missing_file_is_said_before_anything_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", str(tmp_path / "none.toml"), "web", "--port=0"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "none.toml" in said.err
