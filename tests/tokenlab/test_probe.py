"""Probes against the simulator: what is right passes, each thing that is wrong is named."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollout_console.sim.provider_metadata import MARK
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.errors import Unsafe
from rollout_console.tokenlab.probe import Probe, Target, probe
from rollout_console.tokenlab.shapes import StreamReader, read_error, read_whole
from rollout_gate.file.formats import kind_of
from rollout_gate.file.model import TEXT_FORMATS, Side
from rollout_gate.secret import Secret
from tests.support.loopback import Origin, Received, Reply

MODEL = {
    "openai_chat_completions": "gpt-5.4",
    "openai_responses": "gpt-5.4",
    "anthropic_messages": "claude-sonnet-4-6",
    "gemini_generate_content": "gemini-3.5-flash",
}
MADE = {
    "image": "openai-image-1", "video": "runway-video-1", "music": "suno-music-1",
    "3d": "tripo-3d-1",
}  # fmt: skip
KEY = Secret("sk-sim-demo")
PREVIOUS = Secret("prev-demo")


def target_of(sim: SimServer, kind: str, side: Side = "tokenlab", model: str = "") -> Target:
    base = sim.base_url if side == "tokenlab" else sim.previous_base_url
    return Target("r", kind, model or MODEL.get(kind, "") or MADE[kind], side, base)


async def shoot(sim: SimServer, kind: str, stream: bool, side: Side = "tokenlab") -> Probe:
    key = KEY if side == "tokenlab" else PREVIOUS
    return await probe(target_of(sim, kind, side), key, stream=stream, limit_s=5)


@pytest.mark.parametrize("side", ["tokenlab", "previous"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
async def test_a_side_in_order_passes(sim: SimServer, kind: str, stream: bool, side: Side) -> None:
    done = await shoot(sim, kind, stream, side)
    assert done.problems == ()
    assert done.status == 200
    assert done.tokens_out == 14
    assert done.text.startswith("The request was understood")
    assert bool(done.request_id) == (side == "tokenlab")
    assert bool(done.billing_id) == (side == "tokenlab" and not stream)
    assert (done.ttft_ms is not None) == stream
    assert done.ttft_ms is None or done.ttft_ms < done.latency_ms


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
async def test_an_error_is_read_in_its_own_envelope(sim: SimServer, kind: str, status: int) -> None:
    sim.state.faults.add({"status": status})
    done = await shoot(sim, kind, False)
    assert done.status == status
    assert done.error
    (problem,) = done.problems
    assert problem.startswith(f"status {status} {done.error}: ")
    # The same body in another format's clothes is found out.
    wrong = json.dumps({"detail": "no"}).encode()
    assert read_error(kind, wrong) == ("", "")


FAULTS = [
    ({"kind": "garbage"}, "content type"),
    ({"kind": "drop"}, "no connection, or it broke|no HTTP answer"),
    ({"kind": "slow", "latency_ms": 30_000}, "no answer in time"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "said"), FAULTS)
@pytest.mark.parametrize("kind", TEXT_FORMATS)
async def test_what_is_wrong_is_named(
    sim: SimServer, kind: str, fault: dict[str, object], said: str, stream: bool
) -> None:
    sim.state.faults.add(fault)
    done = await probe(target_of(sim, kind), KEY, stream=stream, limit_s=1.5)
    assert any(word in problem for problem in done.problems for word in said.split("|"))


async def test_routing_metadata_is_nowhere_in_a_probe(sim: SimServer) -> None:
    sim.state.faults.add({"kind": "metadata"})
    for kind in TEXT_FORMATS:
        for stream in (False, True):
            done = await shoot(sim, kind, stream)
            assert done.ok
            assert MARK not in repr(done)
    sim.state.faults.add({"status": 500})
    assert MARK not in repr(await shoot(sim, "anthropic_messages", False))


# -- a server that says exactly what a test wants --------------------------------------------------


@pytest.fixture
def saying() -> Iterator[Callable[..., str]]:
    """Serve one answer to every request; return the base URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(body: bytes, content_type: str, status: int = 200, **headers: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


GOOD: dict[str, dict[str, Any]] = {
    "openai_chat_completions": {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m-2026-01-01",
        "choices": [{"message": {"content": "ready"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    "openai_responses": {
        "id": "r", "object": "response", "status": "completed", "model": "m",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "ready"}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "anthropic_messages": {
        "id": "a", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "ready"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini_generate_content": {
        "candidates": [{"content": {"parts": [{"text": "ready"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
        "modelVersion": "m",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXT_FORMATS)
async def test_each_field_that_is_missing_is_named(kind: str, saying: Callable[..., str]) -> None:
    row = kind_of(kind)
    for dotted in (*row.answer, *row.usage):
        body = json.loads(json.dumps(GOOD[kind]))
        place: Any = body
        *way, last = dotted.split(".")
        for part in way:
            place = place[int(part)] if part.isdigit() else place[part]
        del place[int(last) if last.isdigit() else last]
        url = saying(json.dumps(body).encode(), "application/json")
        done = await probe(Target("r", kind, "m", "previous", url), PREVIOUS, stream=False)
        named = done.notes if dotted in row.usage else done.problems
        assert any(dotted in words for words in named), (dotted, done)
        assert done.ok == (dotted in row.usage)


async def test_what_nobody_promises_is_a_note_and_no_failure(saying: Callable[..., str]) -> None:
    body = json.dumps(GOOD["anthropic_messages"]).encode()
    target = Target("r", "anthropic_messages", "m", "tokenlab", saying(body, "application/json"))
    done = await probe(target, KEY, stream=False)
    assert done.ok
    assert [words.partition(":")[0] for words in done.notes] == [
        "there is no billing transaction id",
        "there is no request id in the headers",
    ]


async def test_headers_and_model_are_looked_at(saying: Callable[..., str]) -> None:
    body = json.dumps(GOOD["anthropic_messages"]).encode()
    url = saying(body, "application/json")
    other = Target("r", "anthropic_messages", "other", "previous", url)
    assert (await probe(other, PREVIOUS, stream=False)).problems == (
        "the answer is of another model: m",
    )
    plain = saying(body, "text/html")
    done = await probe(Target("r", "anthropic_messages", "m", "previous", plain), KEY, stream=False)
    assert "the content type is not application/json" in done.problems


async def test_an_answer_from_a_cache_proves_nothing(saying: Callable[..., str]) -> None:
    body = json.dumps(GOOD["openai_chat_completions"]).encode()
    url = saying(body, "application/json", x_cache_status="HIT", x_request_id="r")
    target = Target("r", "openai_chat_completions", "m", "tokenlab", url)
    done = await probe(target, KEY, stream=False)
    assert done.problems == ("the answer is from a cache, which proves nothing of the model",)


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize("side", ["tokenlab", "previous"])
async def test_a_probe_passes_the_gateways_cache_by(kind: str, side: Side) -> None:
    asked: list[Any] = []

    def answer(one: Received) -> Reply:
        asked.append(json.loads(one.body))
        return Reply(200, GOOD[kind])

    with Origin(answer) as origin:
        await probe(Target("r", kind, "m", side, origin.url), PREVIOUS, stream=False)
    wants = side == "tokenlab" and kind.startswith("openai_")
    assert [body.get("cache_control") for body in asked] == [
        {"type": "no_cache"} if wants else None
    ]


async def test_a_dated_snapshot_is_the_model_and_a_cut_short_answer_is_one(
    saying: Callable[..., str],
) -> None:
    body = GOOD["openai_chat_completions"] | {
        "choices": [{"message": {"content": ""}, "finish_reason": "length"}]
    }
    url = saying(json.dumps(body).encode(), "application/json")
    target = Target("r", "openai_chat_completions", "m", "previous", url)
    assert (await probe(target, PREVIOUS, stream=False)).ok


async def test_a_buffered_stream_is_no_stream(saying: Callable[..., str]) -> None:
    events = b'data: {"candidates":[{"content":{"parts":[{"text":"x"}]}}]}\n\n'
    url = saying(events, "text/event-stream")
    target = Target("r", "gemini_generate_content", "m", "previous", url)
    done = await probe(target, PREVIOUS, stream=True)
    assert "the stream broke off before its end" in done.problems
    empty = saying(b"", "text/event-stream")
    target = Target("r", "openai_responses", "m", "previous", empty)
    assert "there were no events" in (await probe(target, PREVIOUS, stream=True)).problems


def test_a_stream_cut_anywhere_is_never_whole() -> None:
    whole = (
        b'data: {"id":"c","created":1,"model":"m","choices":[{"delta":{"content":"re"}}]}\n\n'
        b'data: {"id":"c","created":1,"model":"m","choices":[{"delta":{"content":"ady"},'
        b'"finish_reason":"stop"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
        b"data: [DONE]\n\n"
    )
    for cut in range(len(whole) + 1):
        reader = StreamReader("openai_chat_completions")
        for start in range(0, cut, 7):
            reader.feed(whole[start : min(start + 7, cut)])
        found = reader.result()
        # The last blank line may be missing; everything before it may not.
        if cut > whole.rindex(b"\n", 0, -1):
            assert found.problems == [], cut
            assert found.text == "ready"
        else:
            assert found.problems, cut


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"null", b"\xff", b"{", b'{"choices":5,"output":5,"content":5}', b"[" * 999,
        b'{"id":"caf\xe9"}', b'{"id":"\\ud800"}', b'{"id":1e999}',
    ],
)  # fmt: skip
def test_no_body_breaks_the_reader(kind: str, data: bytes) -> None:
    assert read_whole(kind, data).problems
    read_error(kind, data)
    reader = StreamReader(kind)
    reader.feed(b"data: " + data + b"\n\nevent: x\ndata: " + data + b"\n\n")
    assert reader.result().problems


def test_an_errors_code_is_found_beside_bytes_that_are_no_utf8() -> None:
    odd = b'{"error": {"message": "caf\xe9", "code": "refused", "type": "t"}}'
    assert read_error("openai_responses", odd) == ("refused", "caf\ufffd")
    google = b'[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no"}}]'
    assert read_error("gemini_generate_content", google) == ("RESOURCE_EXHAUSTED", "no")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)  # fmt: skip
_CHAT, _RESPONSES, _ANTHROPIC, _GEMINI = TEXT_FORMATS
STREAMS: dict[str, list[tuple[str, Any]]] = {
    _CHAT: [
        ("", {"id": "c", "created": 1, "model": "m", "choices": [{"delta": {"content": "x"}}]}),
        ("", {"choices": [{"delta": {}, "finish_reason": "stop"}],
              "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
    ],
    _RESPONSES: [
        ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "x"}),
        ("response.completed", {"response": GOOD["openai_responses"]}),
    ],
    _ANTHROPIC: [
        ("message_start", {"type": "message_start", "message": GOOD["anthropic_messages"]}),
        ("content_block_delta", {"delta": {"text": "x"}}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
        ("message_stop", {}),
    ],
    _GEMINI: [("", GOOD["gemini_generate_content"])],
}  # fmt: skip


def places_in(value: Any) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, as the way to it."""
    yield ()
    inside = value.items() if isinstance(value, dict) else enumerate(
        value if isinstance(value, list) else ()
    )  # fmt: skip
    for part, one in inside:
        yield from ((part, *rest) for rest in places_in(one))


def with_odd(value: Any, way: tuple[Any, ...], odd: Any) -> Any:
    """The same value with something else at the end of a way."""
    if not way:
        return odd
    changed = value.copy()
    changed[way[0]] = with_odd(value[way[0]], way[1:], odd)
    return changed


def fed(kind: str, events: list[tuple[str, Any]]) -> StreamReader:
    reader = StreamReader(kind)
    for name, value in events:
        reader.feed(f"event: {name}\n".encode() if name else b"")
        reader.feed(b"data: " + json.dumps(value).encode() + b"\n\n")
    return reader


@given(JSON)
@example("x")
@example([1])
@example(10**30)
@example(-1)
def test_no_value_anywhere_in_an_answer_breaks_the_reader(odd: Any) -> None:
    for kind, events in STREAMS.items():
        for i, (name, value) in enumerate(events):
            for way in places_in(value):
                changed = (name, with_odd(value, way, odd))
                found = fed(kind, [*events[:i], changed, *events[i + 1 :]]).result()
                assert isinstance(found.text, str)
                assert found.tokens_out is None or 0 <= found.tokens_out <= 10**12
        for way in places_in(GOOD[kind]):
            read_whole(kind, json.dumps(with_odd(GOOD[kind], way, odd)).encode())
        error = {"error": {"message": "no", "code": "x", "type": "y", "status": "z"}}
        for way in places_in(error):
            code, message = read_error(kind, json.dumps(with_odd(error, way, odd)).encode())
            assert isinstance(code + message, str)


@pytest.mark.parametrize("usage", [[1], {"input_tokens": "x"}, {"input_tokens": -1}])
def test_an_odd_usage_is_a_problem_and_no_crash(usage: object) -> None:
    reader = StreamReader("anthropic_messages")
    for name in ("message_start", "message_delta"):
        event = json.dumps({"message": {"usage": usage}, "usage": usage})
        reader.feed(f"event: {name}\ndata: {event}\n\n".encode())
    if isinstance(usage, dict):
        assert "usage.input_tokens is no count" in reader.result().problems


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize("usage", ["x", 5, [1], True])
def test_a_usage_that_is_no_object_is_a_problem(kind: str, usage: object) -> None:
    top = kind_of(kind).usage[0].partition(".")[0]
    found = read_whole(kind, json.dumps(GOOD[kind] | {top: usage}).encode())
    assert [words for words in found.problems if "is no count" in words], found


# -- where it may go -------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://example.com/v1", "https://[", "ftp://x", ""])
async def test_nothing_is_sent_in_the_clear_or_to_nowhere(url: str) -> None:
    target = Target("r", "openai_chat_completions", "m", "previous", url)
    with pytest.raises(Unsafe):
        await probe(target, PREVIOUS, stream=False)


async def test_a_redirect_is_not_followed(saying: Callable[..., str]) -> None:
    url = saying(b"", "text/plain", 307, location="http://127.0.0.1:9/")
    target = Target("r", "openai_chat_completions", "m", "previous", url)
    done = await probe(target, PREVIOUS, stream=False)
    assert done.status == 307
    assert not done.ok


async def test_a_key_that_a_provider_repeats_is_not_told(saying: Callable[..., str]) -> None:
    said = {
        "error": {"message": "wrong key AIza-canary-77", "status": "AIza-canary-77", "code": 401}
    }
    url = saying(json.dumps(said).encode(), "application/json", 401)
    target = Target("r", "gemini_generate_content", "m", "previous", url)
    done = await probe(target, Secret("AIza-canary-77"), stream=False)
    assert done.problems == ("status 401 …: wrong key …",)
    assert "canary" not in repr(done)


LONG = "AIza-" + "canary-" * 8


@pytest.mark.parametrize("before", range(140, 205, 5))
async def test_no_part_of_a_key_is_left_where_a_message_is_cut(
    before: int, saying: Callable[..., str]
) -> None:
    for place in ("message", "status"):
        said = {"error": {"message": "no", "status": "X", place: "x" * before + LONG}}
        url = saying(json.dumps(said).encode(), "application/json", 400)
        target = Target("r", "gemini_generate_content", "m", "previous", url)
        done = await probe(target, Secret(LONG), stream=False)
        assert "AIza" not in repr(done)
        assert len(done.problems[0]) < 300


@pytest.mark.parametrize("before", [0, 50, 60, 95])
async def test_no_part_of_a_key_is_left_in_a_good_answer(
    before: int, saying: Callable[..., str]
) -> None:
    odd = "x" * before + LONG
    body = json.dumps(
        GOOD["anthropic_messages"] | {"model": odd, "billing_transaction_id": odd, "stop_reason": 1}
    ).encode()
    for headers in ({}, {"x_request_id": odd, "x_billing_transaction_id": odd}):
        url = saying(body, "application/json", **headers)
        target = Target("r", "anthropic_messages", "m", "previous", url)
        done = await probe(target, Secret(LONG), stream=False)
        assert done.status == 200
        assert "AIza" not in repr(done)
    url = saying(b"{}", "application/json", x_request_id="req-mt-canary-of-another")
    target = Target("r", "anthropic_messages", "m", "previous", url)
    assert "canary" not in repr(await probe(target, Secret(LONG), stream=False))
