"""What a client is given for its network has an effect, or is refused with a sentence."""

import asyncio
import errno
import gc
import os
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate import Gate
from rollout_gate.answers.status_class import StatusClass, class_of_answer
from rollout_gate.http import async_client, client, network, own_errors
from rollout_gate.http.transport import kit_of
from tests.support.loopback import CHAT, TOKENLAB, Origin, Received, Reply, TwoSides
from tests.support.sdks import anthropic, openai
from tests.support.waiting import until

BODY = {"model": "m", "messages": []}
both = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


def ask(sides: TwoSides, library: Any, **more: Any) -> int:
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__, **more}
    with client(sides.gate, "chat", **given) as http:
        return int(http.post(f"{sides.previous.url}/v1/chat/completions", json=BODY).status_code)


@both
def test_proxies_of_the_environment_hold_and_can_be_turned_off(
    sides: TwoSides, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", sides.proxy.url)
    assert ask(sides, library) == 200
    assert len(sides.proxy.received) == 1
    assert sides.proxy.received[0].target.startswith(sides.tokenlab.url), "the real address"
    assert ask(sides, library, trust_env=False) == 200
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(sides, library) == 200
    assert len(sides.proxy.received) == 1
    assert ask(sides, library, proxy=sides.proxy.url) == 200
    assert len(sides.proxy.received) == 2
    assert [line["side"] for line in sides.lines()] == ["tokenlab"] * 4


@both
def test_a_mount_is_chosen_by_the_address_that_a_request_goes_to(
    sides: TwoSides, library: Any
) -> None:
    by_proxy = library.HTTPTransport(proxy=sides.proxy.url)
    mounts = {sides.tokenlab.url: by_proxy, "all://other.example": None}
    assert ask(sides, library, mounts=mounts) == 200
    assert len(sides.proxy.received) == 1
    sides.decide(0)
    by_proxy = library.HTTPTransport(proxy=sides.proxy.url)
    assert ask(sides, library, mounts={sides.tokenlab.url: by_proxy}) == 200
    assert len(sides.proxy.received) == 1
    assert [line["side"] for line in sides.lines()] == ["tokenlab", "previous"]


@both
def test_so_many_connections_as_the_sdks_open_are_open_at_once(
    sides: TwoSides, library: Any
) -> None:
    at_once = 140
    barrier = threading.Barrier(at_once, timeout=20)

    def together(_: Received) -> Reply:
        barrier.wait()
        return Reply(200, CHAT)

    sides.tokenlab.answer = together
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    statuses: list[int] = []
    with client(sides.gate, "chat", **given) as http:

        def post() -> None:
            url = f"{sides.previous.url}/v1/chat/completions"
            statuses.append(http.post(url, json=BODY).status_code)

        threads = [threading.Thread(target=post) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * at_once


@both
def test_limits_that_are_given_hold(sides: TwoSides, library: Any) -> None:
    limits, timeout = library.Limits(max_connections=1), library.Timeout(5, pool=0.2)
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    with client(sides.gate, "chat", limits=limits, timeout=timeout, **given) as http:
        url = f"{sides.previous.url}/v1/chat/completions"
        with http.stream("POST", url, json=BODY), pytest.raises(library.PoolTimeout):
            http.post(url, json=BODY)


def test_sockets_are_kept_alive_as_those_of_the_sdks(sides: TwoSides) -> None:
    with anthropic.Anthropic(api_key="k") as plain:
        theirs = plain._client._transport._pool._socket_options  # type: ignore[attr-defined]
    assert sorted(network.keepalive_options()) == sorted(theirs)
    found: list[int] = []
    really = socket.socket.setsockopt

    def seen(one: socket.socket, *option: Any) -> None:
        found.append(option[1])
        really(one, *option)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "setsockopt", seen)
        assert ask(sides, httpx2) == 200
    assert {socket.SO_KEEPALIVE, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL} <= set(found)


def test_timeouts_are_those_of_the_sdks(gate: Gate) -> None:
    made = client(gate, "chat", tokenlab_key="sk-x")
    with openai.OpenAI(api_key="k") as plain, openai.OpenAI(api_key="k", http_client=made) as sdk:
        assert sdk.timeout == plain.timeout


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    made = Gate(tmp_path / "none.toml", poll_s=60)
    made.close()
    return made


@both
@pytest.mark.parametrize("make", [client, async_client])
def test_what_would_have_no_effect_is_refused(gate: Gate, make: Any, library: Any) -> None:
    inner = library.AsyncHTTPTransport() if make is async_client else library.HTTPTransport()
    given = {"tokenlab_key": "sk-x", "library": library.__name__}
    for name, value in {
        "verify": False,
        "proxy": "http://x",
        "mounts": {},
        "trust_env": True,
    }.items():
        with pytest.raises(TypeError, match=f"^{name} would have no effect beside inner"):
            make(gate, "chat", inner=inner, **{name: value}, **given)
    with pytest.raises(TypeError, match="takes no transport: it is the gate's own; give yours as"):
        make(gate, "chat", transport=inner, **given)
    with pytest.raises(TypeError, match="takes no orgs: it is no option of it"):
        make(gate, "chat", orgs="acme", **given)


@both
def test_what_is_of_the_other_library_is_refused(gate: Gate, library: Any) -> None:
    other = httpx if library is httpx2 else httpx2
    given = {"tokenlab_key": "sk-x", "library": library.__name__}
    for options in (
        {"inner": other.HTTPTransport()}, {"limits": other.Limits()}, {"timeout": other.Timeout(5)},
        {"proxy": other.Proxy("http://x")}, {"mounts": {"http://": other.HTTPTransport()}},
    ):  # fmt: skip
        (name,) = options
        with pytest.raises(TypeError, match=f"^{name} is an object of {other.__name__}, and the"):
            client(gate, "chat", **options, **given)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@both
def test_an_async_client_serves_one_event_loop_after_the_other(
    sides: TwoSides, library: Any
) -> None:
    """A connection is of the loop that opened it, and asyncio.run opens a new one each time."""
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    http = async_client(sides.gate, "chat", **given)

    async def ask() -> int:
        url = f"{sides.previous.url}/v1/chat/completions"
        return int((await http.post(url, json=BODY)).status_code)

    async def at_once() -> list[int]:
        found = await asyncio.gather(ask(), ask(), asyncio.to_thread(asyncio.run, ask()))
        await http.aclose()
        return list(found)

    assert [asyncio.run(ask()) for _ in range(3)] == [200] * 3
    assert asyncio.run(at_once()) == [200] * 3
    assert len(sides.lines()) == 6
    gc.collect()  # a loop that has ended leaves its connections to be collected


@both
def test_tls_is_verified_as_it_is_told(
    tmp_path: Path, certificate: Path, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    path = tmp_path / "rollout.toml"
    with ExitStack() as stack:
        there = stack.enter_context(Origin(tls=context))
        path.write_text(
            f'schema = 1\nalgorithm = "fractional-v3"\n[tokenlab]\nbase_url = "{there.url}"\n'
            '[routes.chat]\nformat = "openai_chat_completions"\ndefault_percent = 100\n'
        )
        gate = stack.enter_context(Gate(path, poll_s=60))

        def ask(**more: Any) -> int:
            given = {"org": "", "tokenlab_key": TOKENLAB, "library": library.__name__, **more}
            with client(gate, "chat", **given) as http:
                url = "https://before.example/v1/chat/completions"
                return int(http.post(url, json=BODY).status_code)

        with pytest.raises(library.ConnectError):
            ask()
        assert ask(verify=False) == 200
        assert ask(verify=ssl.create_default_context(cafile=str(certificate))) == 200
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask() == 200
        with pytest.raises(library.ConnectError):
            ask(trust_env=False)


@both
def test_a_header_of_any_bytes_is_sent_as_it_is(sides: TwoSides, library: Any) -> None:
    title = "Zürich".encode()
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    url = f"{sides.previous.url}/v1/chat/completions"
    with client(sides.gate, "chat", forward_headers=["X-Title"], **given) as http:
        for percent in (100, 0):
            sides.decide(percent)
            headers = {"X-Title": title, "X-Rollout-Org": b"acme"}
            assert http.post(url, json=BODY, headers=headers).status_code == 200
    for origin in (sides.tokenlab, sides.previous):
        assert origin.received[0].header("x-title") == title.decode("latin-1")


@both
def test_what_names_the_host_of_one_side_does_not_reach_the_other(
    sides: TwoSides, library: Any
) -> None:
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    asked = {
        "headers": {"Host": "virtual.example"},
        "extensions": {"target": b"/of/a/proxy", "sni_hostname": "x"},
    }
    with client(sides.gate, "chat", **given) as http:
        for percent in (100, 0):
            sides.decide(percent)
            http.post(f"{sides.previous.url}/v1/chat/completions", json=BODY, **asked)
    (there,), (back,) = sides.tokenlab.received, sides.previous.received
    assert there.target == "/v1/chat/completions"
    assert there.header("host") == sides.tokenlab.url.removeprefix("http://")
    assert (back.target, back.header("host")) == ("/of/a/proxy", "virtual.example")


@contextmanager
def no_file_left() -> Iterator[None]:
    """Use up the process's open files, as a leak of connections does."""
    until(lambda: not any("process_request" in one.name for one in threading.enumerate()))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (used[0] + 50, before[1]))
    try:
        with suppress(OSError):
            while True:
                used.append(os.dup(used[0]))
        yield
    finally:
        for one in used:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_without_an_open_file_left_blames_no_side(
    sides: TwoSides, library: Any, host: str
) -> None:
    sides.path.write_text(sides.path.read_text().replace("127.0.0.1", host))
    sides.gate.refresh()
    sides.tokenlab.answer = lambda _: Reply(200, CHAT, {"Connection": "close"})
    url = f"{sides.previous.url}/v1/chat/completions"
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}

    async def asked() -> None:
        async with async_client(sides.gate, "chat", **given) as http:
            await http.post(url, json=BODY)
            with no_file_left(), pytest.raises(library.ConnectError):
                await http.post(url, json=BODY)

    with client(sides.gate, "chat", **given) as http:
        http.post(url, json=BODY)
        with no_file_left(), pytest.raises(library.ConnectError):
            http.post(url, json=BODY)
    asyncio.run(asked())
    lines = [(line["status"], line.get("error"), line["outcome"]) for line in sides.lines()]
    assert lines == [(200, None, "ok"), (0, "unsent", "abandoned")] * 2
    assert class_of_answer(0, "abandoned", "unsent") is StatusClass.ABANDONED


def failed(library: Any, **network: Any) -> str:
    """Return what a failure to connect to a port where nobody listens is called."""
    with library.Client(transport=library.HTTPTransport(**network)) as http:
        try:
            http.get("http://rollout.test:9/")
        except library.ConnectError as error:
            return kit_of(library.__name__).name_of(error)
    raise AssertionError


@both
def test_an_address_that_cannot_be_used_is_no_port_that_is_missing(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert failed(library) == "connect"
    foreign = {"local_address": "203.0.113.9"}  # EADDRNOTAVAIL, as of IPv6 on a host without it
    assert failed(library, **foreign) == "connect"
    sockets, ports = tmp_path / "sockstat", tmp_path / "range"
    monkeypatch.setattr(own_errors, "_SOCKETS", (sockets, tmp_path / "none"))
    monkeypatch.setattr(own_errors, "_PORT_RANGE", ports)
    assert failed(library, **foreign) == "connect"
    ports.write_text("40000\t40009\n")
    for used, name in ((2, "connect"), (6, "unsent")):
        text = f"sockets: used 24\nTCP: inuse 4 orphan 0 tw {used} alloc 4 mem 0\nUDP: inuse 9\n"
        sockets.write_text(text)
        assert failed(library, **foreign) == name


@both
def test_a_provider_that_refuses_is_not_hidden_by_another_error(library: Any) -> None:
    name_of = kit_of(library.__name__).name_of
    refused, full = OSError(errno.ECONNREFUSED, "refused"), OSError(errno.EMFILE, "too many")

    def told(cause: Exception) -> str:
        error = library.ConnectError("All connection attempts failed")
        error.__cause__ = cause
        return str(name_of(error))

    assert told(ExceptionGroup("", [full, full])) == "unsent"
    assert told(ExceptionGroup("", [refused, full])) == "connect"
    refused.__context__ = full  # a retry from within the handler of the error before
    assert told(refused) == "connect"
