"""Asking: what a server answers that is none, and what of it is never told."""

import gzip
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from rollout_console.health.prometheus import login
from rollout_console.health.prometheus.client import PrometheusClient
from rollout_console.health.prometheus.counting import Counting
from rollout_console.health.prometheus.errors import PrometheusError
from rollout_console.health.prometheus.login import Login, login_of, take_from_environment, tls_of
from rollout_gate.file.model import PrometheusSource
from rollout_gate.secret import Secret
from tests.health.prometheus.odd_server import Answer, Odd, odd_server, unused_port
from tests.support.waiting import soon

CANARY = "canary-of-prometheus-7d1c"
WITH_TOKEN = Login(Secret(f"Bearer {CANARY}"))
_VECTOR = {"status": "success", "data": {"resultType": "vector", "result": []}}


def said(answer: Answer, *, answer_s: float = 5.0, most_bytes: int = 100_000) -> str:
    """Return the error of asking a server that answers in that way, with a token."""
    with odd_server(answer) as server:
        client = PrometheusClient(
            server.url, WITH_TOKEN, answer_s=answer_s, most_bytes=most_bytes
        )  # fmt: skip
        try:
            with pytest.raises(PrometheusError) as raised:
                client.range("up", 100, 200, 10)
        finally:
            client.close()
    words = str(raised.value)
    assert CANARY not in words
    assert words.isprintable()
    return words


def trickle(odd: Odd, _: Mapping[str, str]) -> None:
    odd.send_response_only(200)
    odd.end_headers()
    for _n in range(40_000):
        odd.wfile.write(b" ")
        odd.wfile.flush()
        time.sleep(0.005)


def endless(odd: Odd, _: Mapping[str, str]) -> None:
    odd.send_response_only(200)
    odd.end_headers()
    while True:
        odd.wfile.write(b" " * 65_536)


def bomb(odd: Odd, _: Mapping[str, str]) -> None:
    odd.say(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip")


def reasoned(odd: Odd, _: Mapping[str, str]) -> None:
    text = f"parse error:\x1b[31m {CANARY}"
    odd.say(json.dumps({"status": "error", "error": text}).encode(), 400)


def broken_off(odd: Odd, _: Mapping[str, str]) -> None:
    odd.send_response_only(200)
    odd.send_header("Content-Length", "1000")
    odd.end_headers()
    odd.wfile.write(b"{")
    odd.close_connection = True


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda odd, _: odd.say(b"<html>"), "is no Prometheus"),
        (lambda odd, _: odd.say(b"\xff\xfe"), "is no Prometheus"),
        (lambda odd, _: odd.say(b"[" * 50_000), "is no Prometheus"),
        (lambda odd, _: odd.say(json.dumps(_VECTOR).encode()), "it has no matrix"),
        (lambda odd, _: odd.say(b'{"status":"success","data":{}}'), "is no Prometheus"),
        (reasoned, "answers 400: parse error:·[31m …"),
        (lambda odd, _: odd.say(b"starting", 503), "answers 503"),
        (lambda odd, _: odd.say(b"", 401), "refuses the credential, or wants one: it answers 401"),
        (lambda odd, _: odd.say(b"", 403), "it answers 403"),
        (lambda odd, _: odd.say(b" " * 100_001), "is over 0 MiB, or does not end"),
        (endless, "does not end"),
        (bomb, "does not end"),
        (broken_off, "cannot be reached: RemoteProtocolError"),
        (
            lambda odd, _: odd.matrix(({"a": "1"}, [[1, "1"]]), ({"a": "1"}, [[1, "2"]])),
            "the same series twice",
        ),
        (lambda odd, _: odd.matrix(({"a": "1"}, [["x", "1"]])), "is no Prometheus"),
        (lambda odd, _: odd.matrix(({"a": "1"}, [[1, 1]])), "is no Prometheus"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_one_sentence(answer: Answer, words: str) -> None:
    assert words in said(answer)


def test_an_answer_that_trickles_ends_at_the_deadline() -> None:
    with soon():
        assert "did not answer within 1 s" in said(trickle, answer_s=1.0)


def test_a_server_that_is_silent_ends_at_the_deadline() -> None:
    assert "did not answer within 1 s" in said(lambda *_: time.sleep(3), answer_s=1.0)


def test_nobody_there_is_said() -> None:
    client = PrometheusClient(f"http://127.0.0.1:{unused_port()}", Login(), answer_s=10)
    with pytest.raises(PrometheusError, match="cannot be reached: ConnectError"):
        client.range("up", 100, 200, 10)
    client.close()


def test_a_redirect_is_not_followed_with_the_credential() -> None:
    with odd_server(lambda odd, _: odd.matrix()) as other:
        words = said(lambda odd, _: odd.say(b"", 307, Location=f"{other.url}/api/v1/query_range"))
        assert other.seen == []
    assert "redirects, which is not followed" in words


def test_the_credential_is_sent_and_shown_nowhere() -> None:
    with odd_server(lambda odd, _: odd.matrix()) as server:
        client = PrometheusClient(server.url, WITH_TOKEN, answer_s=10)
        assert client.range("up", 100, 200, 10).series == ()
        client.close()
    path, headers, asked = server.seen[0]
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert CANARY not in path
    assert asked == {"query": "up", "start": "100", "end": "200", "step": "10", "timeout": "10s"}
    assert CANARY not in repr(WITH_TOKEN)


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_credential_that_is_echoed_is_shown_nowhere(scheme: str) -> None:
    pair = b64encode(f"jo:{CANARY}".encode()).decode()
    with odd_server(
        lambda odd, _: odd.matrix(
            ({"route": "chat", "side": f"{CANARY} {pair}"}, [[1, "1"]]),
            warnings=[f"of {CANARY} {pair}"],
        )
    ) as server:
        login = Login(Secret(f"{scheme} {CANARY if scheme == 'Bearer' else pair}"))
        client = PrometheusClient(server.url, login, answer_s=10)
        found = client.range("up", 100, 200, 10)
        counting = Counting()
        counting.add("requests", found.series, 1.0)
        server.answer = lambda odd, _: odd.say(
            json.dumps({"error": f"no {CANARY} {pair}"}).encode(), 400
        )
        with pytest.raises(PrometheusError) as raised:
            client.range("up", 100, 200, 10)
        client.close()
    for words in (found.warning, counting.unusable.why, str(raised.value)):
        assert "…" in words
        assert CANARY not in words
        assert scheme == "Bearer" or pair not in words


def test_a_partial_answer_of_victoriametrics_has_a_warning() -> None:
    with odd_server(lambda odd, _: odd.matrix(isPartial=True, warnings=None)) as server:
        client = PrometheusClient(server.url, Login(), answer_s=10)
        assert "isPartial" in client.range("up", 100, 200, 10).warning
        server.answer = lambda odd, _: odd.matrix(isPartial=False)
        assert client.range("up", 100, 200, 10).warning == ""
        client.close()


def test_a_credential_goes_to_no_host_without_tls() -> None:
    with pytest.raises(PrometheusError, match=r"prom\.example is not https"):
        PrometheusClient("http://prom.example", WITH_TOKEN, answer_s=10)


def test_a_long_query_is_a_form() -> None:
    with odd_server(lambda odd, _: odd.matrix()) as server:
        client = PrometheusClient(server.url, Login(), answer_s=10)
        client.range("up" + " " * 4000, 100, 200, 10)
        client.close()
    path, _, asked = server.seen[0]
    assert "?" not in path
    assert asked["query"].startswith("up")


def test_what_is_compressed_is_read() -> None:
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}})
    with odd_server(
        lambda odd, _: odd.say(gzip.compress(body.encode()), Content_Encoding="gzip")
    ) as server:
        client = PrometheusClient(server.url, Login(), answer_s=10)
        assert client.range("up", 100, 200, 10).series == ()
        client.close()


def test_a_warning_is_of_the_answer() -> None:
    with odd_server(lambda odd, _: odd.matrix(warnings=["store\x1b is away"])) as server:
        client = PrometheusClient(server.url, Login(), answer_s=10)
        assert client.range("up", 100, 200, 10).warning == "store· is away"
        client.close()


def test_its_clock_is_compared() -> None:
    def late(odd: Odd, _: Mapping[str, str]) -> None:
        odd.say(b"{}", Date="Wed, 25 Nov 2015 10:00:00 GMT")

    with odd_server(late) as server:
        client = PrometheusClient(server.url, Login(), answer_s=10)
        with pytest.raises(PrometheusError):
            client.range("up", 100, 200, 10)
        assert client.skew_s < -3600 * 24 * 365
        client.close()


def test_https_with_a_certificate_of_ones_own(tmp_path: Path, certificate: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(certificate.read_text().partition("-----BEGIN PRIVATE KEY")[0])
    with odd_server(lambda odd, _: odd.matrix(), certificate) as server:
        stranger = PrometheusClient(server.url, Login(), answer_s=10)
        with pytest.raises(PrometheusError, match="cannot be reached: ConnectError"):
            stranger.range("up", 100, 200, 10)
        stranger.close()
        source = PrometheusSource(server.url, ca_file="ca.pem")
        client = PrometheusClient(server.url, Login(), tls_of(source, tmp_path), answer_s=10)
        assert client.range("up", 100, 200, 10).series == ()
        client.close()


@pytest.fixture
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_given", {})


@pytest.mark.usefixtures("nothing_given")
def test_credentials_are_taken_out_of_the_environment() -> None:
    environ = {"ROLLOUT_PROMETHEUS_TOKEN": CANARY, "HOME": "/"}
    take_from_environment(environ)
    assert environ == {"HOME": "/"}
    found = login_of(PrometheusSource("https://p"), Path())
    assert found.authorization is not None
    assert found.authorization.reveal() == f"Bearer {CANARY}"


@pytest.mark.usefixtures("nothing_given")
def test_user_and_password_are_basic() -> None:
    take_from_environment({"ROLLOUT_PROMETHEUS_USER": "jo", "ROLLOUT_PROMETHEUS_PASSWORD": "pw"})
    found = login_of(PrometheusSource("https://p"), Path())
    assert found.authorization is not None
    assert found.authorization.reveal() == "Basic am86cHc="


def test_a_token_of_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = PrometheusSource("https://p", token_file="token")
    for text in ("first-token", "second-token"):
        file.write_text(f"{text}\n")
        found = login_of(source, tmp_path)
        assert found.authorization is not None
        assert found.authorization.reveal() == f"Bearer {text}"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), ("", "holds no bearer token"),
     (f"{CANARY} {CANARY}", "holds no bearer token"), (f"{CANARY}\r\nHost: x", "holds no bearer")],
)  # fmt: skip
def test_a_token_file_that_cannot_be_used_is_said(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(PrometheusError) as raised:
        login_of(PrometheusSource("https://p", token_file="token"), tmp_path)
    assert words in str(raised.value)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(("content", "words"), [("no pem", "no certificate in PEM"),
                                                (None, "cannot be read")])  # fmt: skip
def test_a_ca_file_that_cannot_be_used_is_said(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "ca").write_text(content)
    with pytest.raises(PrometheusError, match=words):
        tls_of(PrometheusSource("https://p", ca_file="ca"), tmp_path)
