"""What the client remembers from one request to the next never outlives what it rests on."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rollout_gate import Gate
from rollout_gate.context import Subject
from rollout_gate.file.parse import parse
from rollout_gate.http import request_shape, side_url
from rollout_gate.http.attempts import MOST_ATTEMPTS, _last_call, attempt_of
from rollout_gate.http.credentials import credentials_in, for_previous, for_tokenlab
from rollout_gate.http.current_log import CurrentLog
from rollout_gate.http.operations import DECIDED
from rollout_gate.http.request_lifecycle import Exchange
from rollout_gate.http.request_shape import call_of, origin_of
from rollout_gate.http.response_recorder import Recorder
from rollout_gate.http.routing import Router
from rollout_gate.http.transport import kit_of

CHAT = "openai_chat_completions"
URL = "https://api.openai.com/v1/chat/completions"
KEY = "sk-tokenlab-" + "4f" * 12
FILE = """schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "https://{host}"
[health]
access_log = "{log}"
[routes.chat]
format = "openai_chat_completions"
model = "{model}"
previous_base_url = "https://{previous}/v1"
[routes.chat.orgs]
acme = {percent}
"""


def text(**changed: object) -> str:
    usual = {"host": "one.example", "log": "a.jsonl", "model": "m", "previous": "two.example"}
    return FILE.format(**{**usual, "percent": 100, **changed})


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    path = tmp_path / "rollout.toml"
    path.write_text(text())
    with Gate(path, poll_s=60) as made:
        return made


def sent_to(router: Router, url: str = URL) -> tuple[str, str, bytes | None]:
    """Decide and prepare one request as a client does; returns side, URL and body."""
    subject = Subject("chat", "acme")
    decision = router.decide(subject)
    call = router.call(decision, "POST", url)
    assert call is not None
    out = router.outgoing(
        "POST", url, [], b'{"model":"m"}', decision, subject, call, None, DECIDED[decision.side]
    )
    return out.side or "", out.url, out.body


def test_the_next_request_goes_by_the_new_file_in_each_part(gate: Gate) -> None:
    router = Router(gate, Subject("chat"), KEY)
    changes: tuple[tuple[dict[str, object], tuple[str, str, bytes | None]], ...] = (
        ({}, ("tokenlab", "https://one.example/v1/chat/completions", None)),
        (
            {"host": "three.example"},
            ("tokenlab", "https://three.example/v1/chat/completions", None),
        ),
        ({"model": "n"}, ("tokenlab", "https://one.example/v1/chat/completions", b'{"model":"n"}')),
        ({"percent": 0}, ("previous", "https://two.example/v1/chat/completions", None)),
        (
            {"percent": 0, "previous": "four.example"},
            ("previous", "https://four.example/v1/chat/completions", None),
        ),
    )
    for changed, expected in (*changes, *changes):
        gate.take(parse(text(**changed).encode()))
        assert sent_to(router) == expected


def test_a_query_is_filtered_each_time_and_never_remembered(gate: Gate) -> None:
    router = Router(gate, Subject("chat"), KEY)
    ours = "https://one.example/v1/chat/completions"
    assert sent_to(router, f"{URL}?alt=sse")[1] == f"{ours}?alt=sse"
    assert sent_to(router, f"{URL}?key=of-another&alt=sse")[1] == f"{ours}?alt=sse"
    assert sent_to(router)[1] == ours


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://user:{}@one.example/v1/chat/completions", "m"),
        ("https://one.example/v1/chat/completions?sig={}", "m"),
        ("https://one.example/v1/chat/completions#{}", "m"),
        ("https://one.example/v1/{}/chat/completions", "m"),  # of any length
        (URL, "{}"),
    ],
)
def test_nothing_secret_or_long_is_kept_in_memory(gate: Gate, url: str, model: str) -> None:
    mark = "kept-" * 200
    url, model = url.format(mark), model.format(mark)
    router, kit = Router(gate, Subject("chat"), KEY), kit_of("httpx2")
    library, subject = kit.library, Subject("chat", "acme")
    decision, call = router.decide(subject), router.call(router.decide(subject), "POST", url)
    assert call is not None
    for side in ("tokenlab", "previous"):
        out = router.outgoing(
            "POST", url, [], b'{"model":"%s"}' % model.encode(), decision, subject, call, None,
            DECIDED[side],
        )  # fmt: skip
        # As one that follows a redirect, which may be to a signed URL.
        exchange = Exchange(replace(out, url=url), Recorder(CurrentLog(gate, None).get(), out, 1))
        kit.outgoing(library.Request("POST", URL, content=b""), exchange, None)
    tables = (
        request_shape._remembered_call, request_shape._remembered_origin,
        side_url._remembered_address, kit._remembered_url,
    )  # fmt: skip
    for table in tables:
        assert not any(mark in repr(entry) for entry in gc.get_referents(table))


def test_the_access_log_follows_the_file_and_the_process(gate: Gate) -> None:
    log = CurrentLog(gate, None)
    first = log.get()
    assert first.path.name == "a.jsonl"
    assert log.get() is first
    gate.take(parse(text(percent=50).encode()))
    assert log.get() is first  # the same name in another version
    gate.take(parse(text(log="logs-*.jsonl").encode()))
    assert log.get().path.name == f"logs-{os.uname().nodename}-{os.getpid()}.jsonl"


def test_another_process_has_a_log_of_its_own(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.take(parse(text(log="logs-*.jsonl").encode()))
    log = CurrentLog(gate, None)
    before = log.get().path
    monkeypatch.setattr(os, "getpid", lambda: 77_777)  # as in a forked child
    assert log.get().path.name == f"logs-{os.uname().nodename}-77777.jsonl" != before.name


def test_a_request_is_hashed_only_if_it_or_the_one_before_has_failed(gate: Gate) -> None:
    hashed = 0

    def digest(name: bytes) -> Callable[[], bytes]:
        def made() -> bytes:
            nonlocal hashed
            hashed += 1
            return name

        return made

    decision = gate.decide("chat", "acme")
    _last_call.set(None)
    for _ in range(3):
        well = attempt_of(digest(b"one"), decision, b"", is_call=True)
        well.settle(200, digest(b"one"), failed_inside=False)
        assert (well.number, hashed) == (1, 0)
    for status, inside in ((500, False), (0, False), (200, True)):
        failed = attempt_of(digest(b"one"), decision, b"", is_call=True)
        failed.settle(status, digest(b"one"), failed_inside=inside)
        assert attempt_of(digest(b"two"), decision, b"", is_call=True).number == 1
        again = attempt_of(digest(b"two"), decision, b"", is_call=True)
        assert again.number == 1  # the one before it has not failed
    assert hashed == 6
    for number in (1, 2, 3, 4, 5, 1):
        failed = attempt_of(digest(b"one"), decision, b"", is_call=True)
        assert failed.number == number <= MOST_ATTEMPTS
        failed.settle(503, digest(b"one"), failed_inside=False)


URLS = st.tuples(
    st.sampled_from(["http://a", "https://b:8443", "http://c?", "https://d#"]),
    st.sampled_from(["", "/", "/v1", "//v1/", "/v1beta/openai", "/%76%31"]),
    st.sampled_from(["", "/chat/completions", "/chat/completions/", "/models"]),
    st.sampled_from(["", "?", "?alt=sse", "?a=/chat/completions", "?b#/v1"]),
    st.sampled_from(["", "#", "#x", "#y?/chat/completions"]),
).map("".join)


@given(URLS)
def test_a_url_says_the_same_without_its_query(url: str) -> None:
    assert origin_of(url) == request_shape._origin_of(url)
    assert call_of(CHAT, "POST", url) == request_shape._call_of(CHAT, "POST", url)


NAMES = st.sampled_from(
    [
        b"Authorization",
        b"X-Api-Key",
        b"Accept",
        b"x-own",
        b"Host",
        b"X-Stainless-OS",
        b"traceparent",
    ]
)
WORDS = st.sampled_from([b"abc", b"sk-secret-of-theirs", b"sk-secret-of-others", KEY.encode(), b""])
VALUES = st.tuples(st.sampled_from([b"", b"Bearer ", b"x-"]), WORDS, st.sampled_from([b"", b"-y"]))
HEADERS = st.lists(st.tuples(NAMES, VALUES.map(b"".join)), max_size=8)


@given(HEADERS)
def test_no_header_with_a_credential_of_the_other_side_is_left(
    headers: list[tuple[bytes, bytes]],
) -> None:
    kept, _ = for_tokenlab(headers, (b"x-own",))
    theirs = [one.encode() for one in credentials_in(headers) if len(one) >= 8]
    assert not any(one in value for one in theirs for _, value in kept)
    allowed = {b"accept", b"x-own", b"x-stainless-os", b"traceparent"}
    assert kept == [
        pair
        for pair in headers
        if pair[0].lower() in allowed and not any(one in pair[1] for one in theirs)
    ]
    left, _ = for_previous(headers, (KEY,), own=False, moved=False)
    assert left == [pair for pair in headers if KEY.encode() not in pair[1]]
