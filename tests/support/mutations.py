"""Answers of the API with one field or more that is wrong, for every field of the contract.

The good answers are the simulator's, with what the contract names beside it; a mutant has another
value at one place, as bytes, since some of what is wrong cannot be said in valid JSON.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx

from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY, DEMO_TOKEN
from tests.support.contract import published_contract
from tests.support.loopback import Origin, Received, Reply

ESCAPES = r'"\u001b]52;c;ZXZpbA==\u0007\u001b[31m\u009b31m\u202e\u200b\u0000\u2066[bold]x[/]\n\t"'
ODD: tuple[bytes, ...] = tuple(
    text if isinstance(text, bytes) else text.encode()
    for text in (
        "null", "true", "-1", "0", "9" * 400, "-1e30", "1e999", "NaN", "1e-400", '""',
        json.dumps("A" * 100_000), ESCAPES, r'"\ud800"', "[]", "{}", "[[]]", f"[{ESCAPES}]",
        f"{{{ESCAPES}: {ESCAPES}}}", '"NaN"', '"1E+99"', '"1_000"', json.dumps("9" * 70),
        '"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', '"2026-02-30"',
        '"0000-00-00T00:00:00Z"', "9223372036854775808", "1e308", '"../../etc/passwd"',
        "[" * 5000 + "]" * 5000, b'"\xff\xfe"', b'"\xc3"', "[" + '"x",' * 20_000 + '"x"]',
        f'"sk-{"a1" * 20}"', "",
    )
)  # fmt: skip
"""What stands in a field's place; the empty one is no JSON at all."""

BROKEN: tuple[bytes, ...] = (
    b"", b"null", b"[]", b"7", b'"x"', b"<html><body>It works!</body></html>", b'{"data": [',
    "{}".encode("utf-16"), b"\xef\xbb\xbf", b"[" * 200_000, b'{"a":' * 50_000, b"\xff" * 100,
    b'{"error": {"message": 7, "code": [], "retry_after": "x"}}', b'[{"error": {"code": 400}}]',
)  # fmt: skip
"""What stands in a whole answer's place."""

Path = tuple[str | int, ...]
_MARK = "\ue000here\ue000"
_MESSAGE = [{"role": "user", "content": "hi"}]


def good_answers(sim: SimServer) -> dict[str, Any]:
    """Return the simulator's own answers, by what they answer."""
    token = {"Authorization": f"Bearer {DEMO_TOKEN}"}
    key = {"Authorization": f"Bearer {DEMO_KEY}", "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=sim.base_url, trust_env=False) as client:

        def asked(path: str, headers: dict[str, str] = token) -> Any:
            return client.get(path, headers=headers).raise_for_status().json()

        def sent(path: str, body: object, headers: dict[str, str] = key) -> Any:
            return client.post(path, json=body, headers=headers).raise_for_status().json()

        models = asked("/v1/models", {})
        wanted = {"gpt-5.4", "claude-sonnet-4-6", "gemini-3.5-flash", "runway-video-1"}
        models["data"] = [one for one in models["data"] if one["id"] in wanted]
        keys = asked("/v1/management/api-keys")
        number = keys["data"][0]["id"]
        task = sent("/v1/videos/generations", {"model": "runway-video-1", "prompt": "x"})
        found = {
            "models": models,
            "model": asked("/v1/models/gpt-5.4", {}),
            "keys": keys,
            "key": sent("/v1/management/api-keys", {"name": "new"}, token),
            "billing": asked(f"/v1/management/api-keys/{number}/billing"),
            "balance": asked("/v1/management/balance"),
            "openai_chat_completions": sent(
                "/v1/chat/completions", {"model": "gpt-5.4", "messages": _MESSAGE}
            ),
            "openai_responses": sent("/v1/responses", {"model": "gpt-5.4", "input": "hi"}),
            "anthropic_messages": sent(
                "/v1/messages",
                {"model": "claude-sonnet-4-6", "messages": _MESSAGE, "max_tokens": 5},
            ),
            "gemini_generate_content": sent(
                "/v1beta/models/gemini-3.5-flash:generateContent",
                {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
            ),
            "task": task | {"status": "completed", "video_url": "https://x.invalid/v.mp4"},
        }
    for name, (path, method, status) in _IN_CONTRACT.items():
        _fill(found[name], _schema(path, method, status))
    return found


_IN_CONTRACT = {
    "models": ("/v1/models", "get", "200"),
    "model": ("/v1/models/{model}", "get", "200"),
    "keys": ("/v1/management/api-keys", "get", "200"),
    "key": ("/v1/management/api-keys", "post", "201"),
    "billing": ("/v1/management/api-keys/{keyId}/billing", "get", "200"),
    "balance": ("/v1/management/balance", "get", "200"),
    "openai_chat_completions": ("/v1/chat/completions", "post", "200"),
    "anthropic_messages": ("/v1/messages", "post", "200"),
    "gemini_generate_content": ("/v1beta/models/{model}:generateContent", "post", "200"),
    "task": ("/v1/tasks/{id}", "get", "200"),
}


def _schema(path: str, method: str, status: str) -> Any:
    answer = published_contract()["paths"][path][method]["responses"][status]
    return answer["content"]["application/json"]["schema"]


def _properties(schema: Any) -> tuple[dict[str, Any], Any]:
    """Return the properties of a schema with all that it is made of, and that of its items."""
    found: dict[str, Any] = {}
    items = None
    for one in _parts(schema):
        found |= one.get("properties", {})
        items = one.get("items", items)
    return found, items


def _parts(schema: Any) -> Iterator[Any]:
    while isinstance(schema, dict) and "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        schema = published_contract()["components"]["schemas"][name]
    if isinstance(schema, dict):
        yield schema
        for word in ("allOf", "oneOf", "anyOf"):
            for one in schema.get(word, []):
                yield from _parts(one)


def _fill(value: Any, schema: Any, depth: int = 0) -> None:
    """Add to ``value`` what the contract names and the simulator leaves out."""
    properties, items = _properties(schema)
    if depth > 4:
        return
    if isinstance(value, dict):
        for name, one in properties.items():
            _fill(value.setdefault(name, None), one, depth + 1)
    elif isinstance(value, list) and items is not None:
        for one in value:
            _fill(one, items, depth + 1)


def places(value: Any, at: Path = ()) -> Iterator[Path]:
    """Return every place in an answer; of a list the first item stands for all."""
    if at:
        yield at
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*at, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def mutant(value: Any, changes: dict[Path, bytes]) -> bytes:
    """Return an answer as bytes, with other bytes at the given places."""
    made: Any = json.loads(json.dumps(value))
    written: list[bytes] = []
    for path, odd in changes.items():
        place: Any = made
        for part in path[:-1]:
            place = place[part] if _has(place, part) else None
        if _has(place, path[-1]):
            place[path[-1]] = f"{_MARK}{len(written)}"
            written.append(odd)
    data = json.dumps(made, ensure_ascii=False).encode()
    for i, odd in enumerate(written):
        data = data.replace(json.dumps(f"{_MARK}{i}", ensure_ascii=False).encode(), odd)
    return data


def _has(value: Any, part: str | int) -> bool:
    return isinstance(value, list if isinstance(part, int) else dict)


def one_by_one(value: Any) -> Iterator[tuple[str, bytes]]:
    """Return every mutant with one change, and what it is."""
    for path in places(value):
        for odd in ODD:
            yield f"{path}: {odd[:40]!r}", mutant(value, {path: odd})
    for data in BROKEN:
        yield f"all: {data[:40]!r}", data


def at_random(value: Any, rng: random.Random) -> tuple[str, bytes]:
    """Return one mutant with some changes, and what it is."""
    if rng.random() < 0.1:
        data = rng.choice(BROKEN)
        return f"all: {data[:40]!r}", data
    found = list(places(value))
    changes = {rng.choice(found): rng.choice(ODD) for _ in range(rng.choice((1, 1, 2, 4)))}
    return str({path: odd[:40] for path, odd in changes.items()}), mutant(value, changes)


class Liar:
    """A server that gives the good answers, but for those that are set in ``says``."""

    def __init__(self, good: dict[str, Any]) -> None:
        self.good = good
        self.says: dict[str, bytes] = {}
        self.origin = Origin(self._answer)
        self.url = self.origin.url

    def _answer(self, request: Received) -> Reply:
        name = _asked_for(request)
        if name == "model" and name not in self.says:
            wanted = request.target.rsplit("/", 1)[1]
            found = [one for one in self.good["models"]["data"] if one["id"] == wanted]
            return Reply(200, found[0]) if found else Reply(404, {"error": {"message": "no"}})
        body = self.says.get(name) or json.dumps(self.good.get(name, {})).encode()
        if b'"stream":true' in request.body.replace(b" ", b"") or "alt=sse" in request.target:
            events = b"".join(b"event: x\ndata: " + body + b"\n\n" for _ in range(2))
            return Reply(200, events, {"Content-Type": "text/event-stream"})
        created = name == "key" and request.method == "POST"
        return Reply(201 if created else 200, body, {"Content-Type": "application/json"})


def _asked_for(request: Received) -> str:
    path = request.target.partition("?")[0]
    if "/api-keys" in path:
        listing = request.method == "GET" and path.endswith("/api-keys")
        return "billing" if path.endswith("/billing") else "keys" if listing else "key"
    ends = {
        "/v1/models": "models", "/balance": "balance", "/responses": "openai_responses",
        "/chat/completions": "openai_chat_completions", "/messages": "anthropic_messages",
    }  # fmt: skip
    for end, name in ends.items():
        if path.endswith(end):
            return name
    if "enerateContent" in path:
        return "gemini_generate_content"
    return "model" if path.startswith("/v1/models/") else "task"
