"""The body that TokenLab is sent: read whatever way it is JSON, and without credentials."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_gate.http.request_body import RequestBody

OURS = "canary-of-previous-1f3a"


def read(body: Any) -> RequestBody:
    found = RequestBody.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"old","x":NaN,"api_key":"K"}',
        b'{"model":"old","messages":"\\ud83d","api_key":"K"}',
        b'{"model":"old","\\ud83d":1,"api_key":"K"}',
        b'{"model":"old","x":"a\tb","api_key":"K"}',
        b'{"model":"old","x":"\xff","api_key":"K"}',
        b'\xef\xbb\xbf{"model":"old","api_key":"K"}',
        '{"model":"old","api_key":"K"}'.encode("utf-16"),
        b'{"model":"old","api\\u005fkey":"K","api_key":1}',
    ],
    ids=["nan", "surrogate", "its-name", "control", "latin-1", "bom", "utf-16", "escaped"],
)
def test_what_any_parser_takes_for_json_is_read(body: bytes) -> None:
    found = read(body)
    assert found.text("model") == "old"
    left = found.credentials(())
    assert left == ["api_key"]
    changed = found.changed("new", left)
    assert changed is not None
    assert b'"new"' in changed
    assert b'"K"' not in changed


@pytest.mark.parametrize(
    "body",
    [b"[]", b'"text"', b"{} x", b"one", b"{", b"\x1f\x8b\x08", b'{"a":' * 100_000],
    ids=["list", "text", "trailing", "word", "torn", "gzip", "deep"],
)
def test_what_is_no_json_object_is_not_read(body: bytes) -> None:
    assert RequestBody.read(body) is None


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "API_KEY", "apiKey", "api-key", "openai_api_key", "key", "token", "hf_token",
        "authorization", "password", "aws_web_identity_token", "aws_session_name",
        "azure_username", "headers", "default_headers", "extra_headers", "vertex_ai_credentials",
        "vertex_credentials", "user_config", "clientSecret", "organization", "api_base",
        "base_url", "helicone_auth", "extra_body", "litellm_params", "accessKeyId", "github_token",
        "oauthToken", "user_token", "sas_token", "openai_token", "x_token", "jwt", "passphrase",
        "pwd", "db_dsn", "connection_string",
    ],
)  # fmt: skip
def test_a_field_that_is_named_like_a_credential_is_left_out(name: str) -> None:
    assert read({"model": "m", name: "x"}).credentials(()) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens", "max_completion_tokens", "prompt_cache_key", "user", "metadata", "messages",
        "tools", "reasoning_effort", "service_tier", "logprobs", "top_logprobs", "modalities",
        "author", "keyframes", "monkey", "kling_elements", "safety_identifier", "tokens",
        "thinking_budget", "prompt_cache_retention", "verbosity", "web_search_options",
        "page_token", "token_budget", "next_page_token", "min_tokens", "eos_token",
    ],
)  # fmt: skip
def test_a_field_of_the_api_goes_as_it_is(name: str) -> None:
    assert read({"model": "m", name: "x"}).credentials(()) == []


def test_what_people_write_may_speak_of_keys() -> None:
    tool = {"type": "function", "function": {"parameters": {"properties": {"api_key": {}}}}}
    body = read({"messages": [{"content": f"my api_key is {OURS}"}], "tools": [tool]})
    assert body.credentials((OURS,)) == []


def test_a_credential_deep_in_a_field_that_nobody_knows_takes_the_field_along() -> None:
    body = read({"custom": {"a": [{"api_key": "x"}]}, "other": {"a": ["b"]}, "third": f"to {OURS}"})
    assert body.credentials(()) == ["custom"]
    assert body.credentials((OURS,)) == ["custom", "third"]


def test_a_key_of_tokenlab_is_no_field_of_the_previous_provider() -> None:
    body = read({"user": OURS, "api_key": f" {OURS} ", "messages": f"{OURS} in a text"})
    assert body.with_secret((OURS,)) == ["user", "api_key"]


@given(st.dictionaries(st.text(max_size=12), st.integers() | st.text() | st.none(), max_size=8))
def test_what_is_not_left_out_stays_as_it_was(fields: dict[str, Any]) -> None:
    body = read(fields)
    left = body.credentials(())
    changed = body.changed(None, left)
    kept = {name: value for name, value in fields.items() if name not in left}
    assert (json.loads(changed) if changed else {}) == kept


@given(st.binary(max_size=200))
def test_whatever_the_bytes_nothing_is_raised(data: bytes) -> None:
    body = RequestBody.read(data)
    if body is not None:
        body.changed("m", body.credentials((OURS,)))


def nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("depth", [0, 1, 8, 31, 32, 100])
@pytest.mark.parametrize(
    "value",
    [OURS, f"Bearer {OURS}", {"api_key": "K"}, {"github_token": "K"}, json.dumps({"api_key": "K"}),
     json.dumps([[{"token": OURS}]])],
    ids=repr,
)  # fmt: skip
def test_a_credential_is_found_however_deep_it_is(value: Any, depth: int) -> None:
    body = read({"model": "m", "custom": nested(value, depth)})
    assert body.credentials((OURS,)) == ["custom"]


def test_a_field_without_a_credential_goes_as_it_is_to_a_depth() -> None:
    """Beyond it, what cannot be searched in bounded time is left out."""
    assert read({"model": "m", "custom": nested("text", 30)}).credentials((OURS,)) == []
    assert read({"model": "m", "custom": nested("text", 40)}).credentials((OURS,)) == ["custom"]
    assert read({"model": "m", "custom": json.dumps({"a": "{broken"})}).credentials((OURS,)) == []


@pytest.mark.parametrize(
    "value",
    [OURS, f"Bearer {OURS}", {"api_key": OURS}, [{"headers": {"Authorization": f"Bearer {OURS}"}}],
     json.dumps({"key": OURS}), nested(OURS, 32), nested("x\\", 40)],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_field_that_holds_our_key_is_known(value: Any) -> None:
    assert read({"messages": [], "tools": value, "n": 1}).with_secret((OURS,)) == ["tools"]
    escaped = json.dumps({"tools": value}).replace("canary", "c\\u0061nary").encode()
    assert read(escaped).with_secret((OURS,)) == ["tools"]


def test_a_conversation_about_our_key_goes_as_it_is() -> None:
    body = {"messages": [{"role": "user", "content": f"is {OURS} still valid?"}], "tools": []}
    assert read(body).with_secret((OURS,)) == []
