"""Every answer of the simulator against the published contract."""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.support.contract import converted, published_contract

KEY = {"Authorization": "Bearer sk-sim-demo"}
TOKEN = {"Authorization": "Bearer mt-sim-demo"}
CHAT = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}
CLAUDE = {
    "model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
}  # fmt: skip
GEMINI = {"contents": [{"parts": [{"text": "hi"}]}]}
USAGE = "/v1/management/api-keys/key_demo/usage"


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    return published_contract()


def validate(contract: dict[str, Any], answer: httpx.Response, path: str) -> None:
    operation = contract["paths"][path][answer.request.method.lower()]
    described = operation["responses"].get(str(answer.status_code))
    assert described is not None, f"{path}: {answer.status_code} is not in the contract"
    if "$ref" in described:
        described = contract["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    for header in described.get("headers", {}):
        assert header in answer.headers, header
    content = described.get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema is None or not answer.headers["content-type"].startswith("application/json"):
        return
    root = converted({**schema, "components": contract["components"]})
    errors = sorted(Draft202012Validator(root).iter_errors(answer.json()), key=str)
    assert not errors, f"{path} {answer.status_code}: {errors[0].json_path}: {errors[0].message}"


GETS = [
    ("/v1/models", "/v1/models", {}),
    ("/v1/models?view=compact&recommended_for=video", "/v1/models", {}),
    ("/v1/models?category=image&provider=openai&tag=sync", "/v1/models", {}),
    ("/v1/models?category=cats", "/v1/models", {}),
    ("/v1/models/gpt-5.4", "/v1/models/{model}", {}),
    ("/v1/models/openai-image-1", "/v1/models/{model}", {}),
    ("/v1/models/gpt-5.5", "/v1/models/{model}", {}),
    ("/v1/management/balance", "/v1/management/balance", TOKEN),
    ("/v1/management/balance", "/v1/management/balance", KEY),
    ("/v1/management/balance", "/v1/management/balance", {}),
    ("/v1/management/api-keys", "/v1/management/api-keys", TOKEN),
    ("/v1/management/api-keys", "/v1/management/api-keys", KEY),
    (USAGE, "/v1/management/api-keys/{keyId}/usage", TOKEN),
    (f"{USAGE}?limit=500", "/v1/management/api-keys/{keyId}/usage", TOKEN),
    (USAGE.replace("demo", "x"), "/v1/management/api-keys/{keyId}/usage", TOKEN),
    (USAGE.replace("usage", "billing"), "/v1/management/api-keys/{keyId}/billing", TOKEN),
    ("/v1/tasks/none", "/v1/tasks/{id}", {}),
]


@pytest.mark.parametrize(("url", "path", "headers"), GETS)
def test_get(
    contract: dict[str, Any], api: httpx.Client, url: str, path: str, headers: dict[str, str]
) -> None:
    api.post("/v1/chat/completions", json=CHAT, headers=KEY)
    validate(contract, api.get(url, headers=headers), path)


POSTS = [
    ("/v1/chat/completions", None, CHAT),
    ("/v1/chat/completions", None, {"model": "gpt-5.5", "messages": [1]}),
    ("/v1/chat/completions", None, {"model": "gpt-5.4"}),
    ("/v1/responses", None, {"model": "gpt-5.4", "input": "hi"}),
    ("/v1/messages", None, CLAUDE),
    ("/v1/messages", None, {"model": "claude-sonnet-4-6", "messages": [1]}),
    ("/v1beta/models/gemini-3.5-flash:generateContent",
     "/v1beta/models/{model}:generateContent", GEMINI),
    ("/v1/images/generations", None, {"model": "openai-image-1", "prompt": "a cube"}),
    ("/v1/images/generations", None, {"prompt": "a cube"}),
    ("/v1/videos/generations", None, {"model": "google-video-1", "prompt": "a cube"}),
    ("/v1/music/generations", None, {"model": "suno-music-1", "prompt": "a song"}),
    ("/v1/3d/generations", None, {"model": "tripo-3d-1", "prompt": "a cube"}),
]  # fmt: skip


@pytest.mark.parametrize(("url", "path", "body"), POSTS)
@pytest.mark.parametrize("headers", [KEY, {"Authorization": "Bearer sk-wrong"}, TOKEN])
def test_post(
    contract: dict[str, Any],
    api: httpx.Client,
    url: str,
    path: str | None,
    body: dict[str, Any],
    headers: dict[str, str],
) -> None:
    answer = api.post(url, json=body, headers=headers)
    validate(contract, answer, path or url)
    assert (answer.status_code < 401) == (headers is KEY)
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("status", [400, 401, 402, 429, 500, 502, 503])
def test_faults_answer_as_the_contract_says(
    contract: dict[str, Any], api: httpx.Client, status: int
) -> None:
    api.post("/_sim/faults", json={"status": status}).raise_for_status()
    answer = api.post("/v1/chat/completions", json=CHAT, headers=KEY)
    assert answer.status_code == status
    validate(contract, answer, "/v1/chat/completions")
    assert ("Retry-After" in answer.headers) == (status in (429, 503))


def test_a_key_through_its_life(contract: dict[str, Any], api: httpx.Client) -> None:
    keys, one = "/v1/management/api-keys", "/v1/management/api-keys/{keyId}"
    made = api.post(keys, json={"name": " ci ", "limitAmount": 1}, headers=TOKEN)
    validate(contract, made, keys)
    secret, number = made.json()["key"], made.json()["id"]
    assert made.json()["name"] == "ci"
    own = {"Authorization": f"Bearer {secret}"}
    assert api.post("/v1/chat/completions", json=CHAT, headers=own).status_code == 200
    for change, then in (
        ({"models": ["gpt-5.4-mini"]}, 403),
        ({"models": [], "limitAmount": 0}, 402),
        ({"limitAmount": None, "expiresAt": "2020-01-01T00:00:00Z"}, 401),
        ({"expiresAt": None, "status": "inactive"}, 401),
        ({"status": "active"}, 200),
        ({"status": "revoked"}, 401),
    ):
        patched = api.patch(f"{keys}/{number}", json=change, headers=TOKEN)
        validate(contract, patched, one)
        assert "key" not in patched.json()
        assert api.post("/v1/chat/completions", json=CHAT, headers=own).status_code == then
    for bad in ({"status": "active"}, {}, {"limitCurrency": "CNY"}):
        validate(contract, api.patch(f"{keys}/{number}", json=bad, headers=TOKEN), one)
    wrong: list[dict[str, object]] = [{}, {"name": ""}, {"name": "x", "limitAmount": -1}]
    for body in wrong:
        answer = api.post(keys, json=body, headers=TOKEN)
        assert answer.status_code == 400
        validate(contract, answer, keys)


def test_a_task_through_its_life(contract: dict[str, Any], api: httpx.Client) -> None:
    body = {"model": "google-video-1", "prompt": "a cube"}
    task = api.post("/v1/videos/generations", json=body, headers=KEY)
    url = task.json()["poll_url"]
    assert task.headers["X-Task-ID"] == task.json()["task_id"]
    validate(contract, api.get(url, headers=KEY), "/v1/tasks/{id}")
    gone = api.delete(url, headers=KEY)
    validate(contract, gone, "/v1/tasks/{id}")
    assert gone.json()["cancelled"] is True
    again = api.delete(url, headers=KEY)
    validate(contract, again, "/v1/tasks/{id}")
    assert again.status_code == 409
    song = {"model": "suno-music-1", "prompt": "a song"}
    music = api.post("/v1/music/generations", json=song, headers=KEY).json()["poll_url"]
    refused = api.delete(music, headers=KEY)
    validate(contract, refused, "/v1/tasks/{id}")
    assert refused.status_code == 400
    validate(contract, api.delete("/v1/tasks/none", headers=KEY), "/v1/tasks/{id}")
