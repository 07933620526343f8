"""What the simulator takes, held against the contract's request schemas, field by field."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from rollout_console.sim.errors import ApiFault
from rollout_console.sim.request_shapes import check_shape
from tests.support.contract import converted, published_contract

KEY = {"Authorization": "Bearer sk-sim-demo"}
THEIRS = {"Authorization": "Bearer theirs"}
TURN = [{"role": "user", "content": "hi"}]
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat_completions": ("/v1/chat/completions", {"model": "gpt-5.4", "messages": TURN}),
    "openai_responses": ("/v1/responses", {"model": "gpt-5.4", "input": "hi"}),
    "anthropic_messages": (
        "/v1/messages", {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": TURN},
    ),
    "gemini_generate_content": (
        "/v1beta/models/{model}:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    ),
    "image": ("/v1/images/generations", {"model": "openai-image-1", "prompt": "a cube"}),
    "video": ("/v1/videos/generations", {"model": "google-video-1", "prompt": "a cube"}),
    "music": ("/v1/music/generations", {"model": "suno-music-1", "prompt": "a song"}),
    "3d": ("/v1/3d/generations", {"model": "tripo-3d-1", "prompt": "a cube"}),
}  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -3, -1, 0, 1, 2, 5, 20, 21, 100, 129, 3600, 10**6, 2**32, 0.5, 1.5, -0.1, "", "x",
    "x" * 200, "x" * 5000, [], {}, ["x"], ["x"] * 5, ["x"] * 10, ["x"] * 17, [1], [{}], {"a": 1},
    "auto", "text-to-video", "16:9", "720p", "url", "vivid", "glb", "draft", "MUSIC", "default",
    [{"type": "function", "function": {"name": "f"}}], {"type": "function"},
    {"type": "json_object"}, {"type": "x"}, [{"role": "user"}], [{"role": "x", "content": "x"}],
    [{"role": "user", "content": [{"type": "text", "text": "x"}]}], [{"role": "user", "parts": 1}],
    [{"name": "x", "element_input_urls": ["a", "b"]}],
    [{"name": "x", "element_input_urls": ["a", "b"], "more": 1}],
)  # fmt: skip
WIDER = {
    # The SDKs send what the contract does not list, and its lists are open.
    ("openai_chat_completions", "response_format"), ("anthropic_messages", "system"),
}  # fmt: skip


def schema_of(kind: str) -> dict[str, Any]:
    contract = published_contract()
    body = contract["paths"][ROUTES[kind][0]]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    found: dict[str, Any] = converted({**schema, "components": contract["components"]})
    return found


def fields_of(kind: str) -> list[str]:
    schema, contract = schema_of(kind), published_contract()
    if "$ref" in schema:
        schema = contract["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return list(schema["properties"])


def changed(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    good = ROUTES[kind][1]
    for name in fields_of(kind):
        if name in good:
            yield f"without {name}", {k: v for k, v in good.items() if k != name}
        for value in VALUES:
            yield f"{name}={json.dumps(value)[:60]}", {**good, name: value}
    yield "a field of nobody", {**good, "nobody": 1}


@pytest.mark.parametrize("kind", ROUTES)
def test_what_is_taken_is_what_the_contract_takes(kind: str) -> None:
    validator = Draft202012Validator(schema_of(kind))
    wrong, refused = [], 0
    for what, body in changed(kind):
        valid = validator.is_valid(body)
        try:
            check_shape(kind, body)
            taken = True
        except ApiFault:
            taken = False
            refused += 1
        if taken != valid and not (taken and (kind, what.partition("=")[0]) in WIDER):
            wrong.append(f"{what}: {'taken' if taken else 'refused'}")
    assert not wrong, wrong
    assert refused > 20


@pytest.mark.parametrize("kind", ROUTES)
def test_a_refusal_names_the_field(api: httpx.Client, kind: str) -> None:
    path, good = ROUTES[kind]
    url = path.format(model="gemini-3.5-flash")
    assert api.post(url, json=good, headers=KEY).status_code == 200
    name = "contents" if kind == "gemini_generate_content" else "model"
    answer = api.post(url, json={**good, name: 7}, headers=KEY)
    assert answer.status_code == 400
    assert name in answer.json()["error"]["message"]
    if kind != "gemini_generate_content":
        assert answer.json()["validation_errors"][0]["field"] == name


RIGHT = {
    "/v1/chat/completions": {"Authorization"},
    "/v1/responses": {"Authorization"},
    "/v1/messages": {"Authorization", "x-api-key"},
    "/v1beta/models/gemini-3.5-flash:generateContent": {"Authorization", "x-goog-api-key"},
    "/v1/images/generations": {"Authorization"},
}


@pytest.mark.parametrize("prefix", ["", "/_previous"])
@pytest.mark.parametrize("header", ["Authorization", "x-api-key", "x-goog-api-key", "api-key"])
@pytest.mark.parametrize("url", RIGHT)
def test_a_credential_in_the_wrong_header_is_none(
    api: httpx.Client, url: str, header: str, prefix: str
) -> None:
    kind = next(
        k for k, (path, _) in ROUTES.items() if path.format(model="gemini-3.5-flash") == url
    )
    secret = "theirs" if prefix else "sk-sim-demo"
    value = f"Bearer {secret}" if header == "Authorization" else secret
    headers = {header: value, "anthropic-version": "2023-06-01"}
    answer = api.post(prefix + url, json=ROUTES[kind][1], headers=headers)
    assert answer.status_code == (200 if header in RIGHT[url] else 401)


@pytest.mark.parametrize("kind", [k for k in ROUTES if k not in ("video", "music", "3d")])
def test_a_management_token_is_no_api_key(api: httpx.Client, kind: str) -> None:
    path, good = ROUTES[kind]
    url = path.format(model="gemini-3.5-flash")
    answer = api.post(url, json=good, headers={"Authorization": "Bearer mt-sim-demo"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("url", "body", "headers", "status", "kind"),
    [
        ("/v1/chat/completions", {"model": "claude-x", "messages": TURN}, {}, 404,
         "invalid_request_error"),
        ("/v1/messages", {"model": "gpt-5.4", "max_tokens": 9, "messages": TURN},
         {"anthropic-version": "2023-06-01"}, 404, "not_found_error"),
        ("/v1/messages", ROUTES["anthropic_messages"][1], {}, 400, "invalid_request_error"),
        ("/v1beta/models/gpt-5.4:generateContent", ROUTES["gemini_generate_content"][1], {}, 404,
         "NOT_FOUND"),
    ],
)  # fmt: skip
def test_the_previous_side_refuses_as_its_provider_does(
    api: httpx.Client, url: str, body: Any, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = api.post(f"/_previous{url}", json=body, headers=THEIRS | headers)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert kind in (error.get("type"), error.get("status"))


def test_google_answers_a_stream_that_is_none_with_a_list(api: httpx.Client) -> None:
    url = "/_previous/v1beta/models/gemini-3.5-flash:streamGenerateContent"
    (error,) = api.post(url, json={}, headers=THEIRS).json()
    assert error["error"]["status"] == "INVALID_ARGUMENT"
    assert "error" in api.post(f"{url}?alt=sse", json={}, headers=THEIRS).json()
    api.post("/_sim/faults", json={"status": 503}).raise_for_status()
    assert api.post(url, json={}, headers=THEIRS).json()[0]["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("prefix", ["", "/_previous"])
def test_a_response_goes_on_where_it_was_made(api: httpx.Client, prefix: str) -> None:
    ask, headers = {"model": "gpt-5.4", "input": "hi"}, THEIRS if prefix else KEY
    made = api.post(f"{prefix}/v1/responses", json=ask, headers=headers).json()["id"]
    after = ask | {"previous_response_id": made}
    assert api.post(f"{prefix}/v1/responses", json=after, headers=headers).status_code == 200
    there, other = ("", KEY) if prefix else ("/_previous", THEIRS)
    refused = api.post(f"{there}/v1/responses", json=after, headers=other)
    assert refused.status_code == 400
    assert made in refused.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["video", "music", "3d"])
def test_a_task_has_the_contracts_id_and_other_names(api: httpx.Client, kind: str) -> None:
    path, good = ROUTES[kind]
    task = api.post(path, json=good, headers=KEY).json()["id"]
    assert task.startswith("ldtask_")
    assert len(bytes.fromhex(task.removeprefix("ldtask_"))) == 16
    for url in (f"/v1/tasks/{task}", f"{path}/{task}"):
        assert api.get(url, headers=KEY).json()["id"] == task


def test_the_reset_is_a_unix_time(api: httpx.Client) -> None:
    reset = int(api.get("/v1/models").headers["X-RateLimit-Reset"])
    assert 0 <= reset - time.time() + 1 <= 62
