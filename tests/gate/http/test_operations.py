"""What a request of a route asks for beside the generation: seen, and sent where it belongs."""

import json
from typing import Any

import pytest

from rollout_gate.decision.decision import Decision
from rollout_gate.http.operations import (
    MOST_NAMED,
    Bound,
    Operation,
    choice_of,
    ids_in,
    names_in,
    operation_of,
)

HOST = "https://before.example"
CHAT, RESPONSES, IMAGE = "openai_chat_completions", "openai_responses", "image"
CLAUDE, GEMINI = "anthropic_messages", "gemini_generate_content"


@pytest.mark.parametrize(
    ("route", "asked", "name", "goes", "path"),
    [
        (RESPONSES, "POST /v1/responses/input_tokens", "count_tokens", "previous", ""),
        (RESPONSES, "POST /v1/responses/compact", "compact", "decided", ""),
        (CHAT, "POST /v1/responses/compact", "compact", "previous", ""),
        (RESPONSES, "GET /v1/responses/resp_1?stream=true", "retrieve", "by_id",
         "/v1/responses/resp_1"),
        (RESPONSES, "DELETE /v1/responses/resp_1", "delete", "by_id", ""),
        (RESPONSES, "POST /v1/responses/resp_1/cancel", "cancel", "by_id", ""),
        (RESPONSES, "GET /v1/responses/resp_1/input_items", "input_items", "by_id", ""),
        (CHAT, "POST /v1/embeddings", "embeddings", "previous", ""),
        (CHAT, "POST /openai/deployments/ada/embeddings", "embeddings", "previous",
         "/v1/embeddings"),
        (CHAT, "POST /v1/completions", "completions", "previous", ""),
        (CHAT, "POST /v1/moderations", "moderations", "previous", ""),
        (CHAT, "POST /v1/rerank", "rerank", "previous", ""),
        (CHAT, "POST /v1/audio/speech", "speech", "previous", ""),
        (CHAT, "POST /v1/audio/transcriptions", "transcriptions", "previous", ""),
        (CHAT, "POST /v1/audio/translations", "translations", "previous", ""),
        (IMAGE, "POST /v1/images/edits", "edits", "decided", ""),
        (IMAGE, "POST /v1/images/variations", "variations", "decided", ""),
        (CHAT, "POST /v1/images/edits", "edits", "previous", ""),
        (CHAT, "POST /v1/files", "files", "decided", ""),
        (CHAT, "GET /v1/files?purpose=batch", "files", "previous", "/v1/files"),
        (CHAT, "GET /v1/files/file-1/content", "files", "by_id", ""),
        (CHAT, "DELETE /v1/files/file-1", "files", "by_id", ""),
        (CHAT, "POST /v1/uploads/u/complete", "files", "previous", ""),
        (CHAT, "POST /v1/batches", "batches", "decided", ""),
        (CHAT, "GET /v1/batches", "batches", "previous", ""),
        (CHAT, "POST /v1/batches/b/cancel", "batches", "by_id", ""),
        (RESPONSES, "POST /v1/conversations", "conversations", "previous", ""),
        (RESPONSES, "GET /v1/conversations/c/items/i", "conversations", "by_id", ""),
        (RESPONSES, "POST /v1/conversations/c/items", "conversations", "by_id", ""),
        (CLAUDE, "POST /v1/messages/count_tokens?beta=true", "count_tokens", "decided",
         "/v1/messages/count_tokens"),
        (CLAUDE, "POST /v1/messages/batches", "batches", "decided", ""),
        (CLAUDE, "GET /v1/messages/batches", "batches", "previous", ""),
        (CLAUDE, "GET /v1/messages/batches/b/results", "batches", "by_id", ""),
        (CLAUDE, "POST /v1/messages/batches/b/cancel", "batches", "by_id", ""),
        (CLAUDE, "POST /v1/files", "files", "decided", ""),
        (GEMINI, "POST /v1beta/models/g:countTokens", "count_tokens", "decided", ""),
        (GEMINI, "POST /v1beta/models/g%3AembedContent", "embeddings", "previous",
         "/v1beta/models/g:embedContent"),
        (GEMINI, "POST /v1beta/models/g:batchEmbedContents", "embeddings", "previous", ""),
        (GEMINI, "POST /v1beta/models/g:batchGenerateContent", "batches", "previous", ""),
        (GEMINI, "GET /v1beta/batches/b", "batches", "by_id", ""),
        (GEMINI, "POST /v1beta/batches/b:cancel", "batches", "by_id", ""),
        (GEMINI, "POST /v1beta/cachedContents", "cached_contents", "previous", ""),
        (GEMINI, "PATCH /v1beta/cachedContents/c", "cached_contents", "by_id", ""),
        (GEMINI, "POST /upload/v1beta/files", "files", "previous", ""),
        (GEMINI, "POST /upload/v1beta/files?upload_id=1", "files", "own_url",
         "/upload/v1beta/files"),
        (GEMINI, "GET /v1beta/files/f:download?alt=media", "files", "by_id",
         "/v1beta/files/f:download"),
    ],
)  # fmt: skip
def test_the_side_that_an_operation_belongs_to(
    route: str, asked: str, name: str, goes: str, path: str
) -> None:
    method, _, target = asked.partition(" ")
    found = operation_of(route, method, HOST + target)
    assert found is not None
    assert (found.name, found.goes) == (name, goes)
    assert found.call.path == (path or target)
    assert bool(found.ids) == (goes == "by_id")


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        (CHAT, "GET /v1/models"), (CHAT, "POST /v1/responses"), (CHAT, "GET /v1/realtime"),
        (RESPONSES, "POST /v1/chat/completions"), (CHAT, "GET /v1/management/api-keys"),
        (CHAT, "GET /v1/vector_stores/v/files/f"), (CHAT, "POST /v1/multimodal/embeddings"),
        (CHAT, "GET /v1/containers/c/files"), (CHAT, "PUT /v1/embeddings"),
        (CHAT, "GET /v1/chat/completions/chat-1"), (CLAUDE, "POST /v1/embeddings"),
        (GEMINI, "GET /v1beta/models/g"), (GEMINI, "POST /v1beta/models/g:predict"),
        ("nothing", "POST /v1/embeddings"),
    ],
)  # fmt: skip
def test_what_is_no_operation_of_a_route(route: str, asked: str) -> None:
    method, _, target = asked.partition(" ")
    assert operation_of(route, method, HOST + target) is None


@pytest.mark.parametrize(
    ("route", "body", "names"),
    [
        (RESPONSES, {"input": "hi"}, []),
        (RESPONSES, {"previous_response_id": "resp_1"}, ["resp_1"]),
        (RESPONSES, {"conversation": "conv_1"}, ["conv_1"]),
        (RESPONSES, {"conversation": {"id": "conv_1"}, "input": [{"file_id": "file-1"}]},
         ["conv_1", "file-1"]),
        (RESPONSES, {"input": [{"file_id": "file-1"}], "previous_response_id": "resp_1"},
         ["resp_1", "file-1"]),
        (RESPONSES, {"previous_response_id": None}, []),
        (RESPONSES, {"input": json.dumps({"previous_response_id": "resp_1"})}, []),
        (CHAT, {"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]}, ["f"]),
        (CHAT, {"previous_response_id": "resp_1"}, []),
        (CHAT, {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}, ["file-1"]),
        (CLAUDE, {"messages": [{"source": {"type": "file", "file_id": "file_1"}}]}, ["file_1"]),
        (GEMINI, {"cachedContent": "cachedContents/c"}, ["cachedContents/c"]),
        (GEMINI, {"contents": [{"parts": [{"fileData": {"fileUri": "https://g/v1beta/files/f"}}]}]},
         ["files/f"]),
        (GEMINI, {"contents": [{"fileUri": "gs://a/b"}]}, ["gs://a/b"]),
        (CHAT, {"x": [{"file_id": f"f{n}"} for n in range(99)]},
         [f"f{n}" for n in range(MOST_NAMED)]),
    ],
)  # fmt: skip
def test_the_ids_that_a_body_names(route: str, body: Any, names: list[str]) -> None:
    for text in (
        json.dumps(body),
        json.dumps(body, separators=(",", ":")),
        json.dumps(body, indent=1),
    ):
        assert list(names_in(route, text.encode())) == names


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        ({"id": "file-1", "name": "mine"}, ["file-1"]),
        ({"id": "batch_1", "output_file_id": "o", "error_file_id": None}, ["batch_1", "o"]),
        ({"file": {"name": "files/f", "uri": "https://g/files/f"}}, ["files/f"]),
        ({"id": "upload_1", "file": {"id": "file-1"}}, ["upload_1", "file-1"]),
        ({"name": "cachedContents/c"}, ["cachedContents/c"]),
        ({"id": 1}, []), ([], []), ({}, []), ({"id": "x" * 201}, []),
    ],
)  # fmt: skip
def test_the_ids_that_an_answer_makes(answer: Any, ids: list[str]) -> None:
    assert ids_in(json.dumps(answer).encode()) == ids


def test_a_body_that_is_no_json_names_and_makes_nothing() -> None:
    assert ids_in(b"\xff{") == []
    assert ids_in(b"[" * 100_000) == []
    assert list(names_in(RESPONSES, b'\xff"file_id": "\xfe"')) == ["\ufffd"]
    assert list(names_in(RESPONSES, None)) == []


def decided(side: Any, rule: str = "orgs.acme") -> Decision:
    return Decision.of(side, 5000, 1, rule, "r", "chat", "m", CHAT)


def made(side: Any) -> Bound:
    return Bound(side, "chat", "acme", "response", "t", 0.0)


def test_an_id_goes_to_the_side_that_made_it_until_that_side_is_rolled_back() -> None:
    for side in ("tokenlab", "previous"):
        for of in ("tokenlab", "previous"):
            choice = choice_of(decided(side), None, made(of), named=True)
            assert (choice.side, choice.bound, choice.moved) == (of, True, False)
    for rule in ("rolled_back.file", "rolled_back.route", "rolled_back.org"):
        choice = choice_of(decided("previous", rule), None, made("tokenlab"), named=True)
        assert (choice.side, choice.bound, choice.moved) == ("previous", False, True)
        choice = choice_of(decided("previous", rule), None, made("previous"), named=True)
        assert (choice.side, choice.bound, choice.moved) == ("previous", True, False)


def operation(method: str, target: str) -> Operation:
    found = operation_of(CHAT, method, HOST + target)
    assert found is not None
    return found


def test_an_unknown_id_is_not_tokenlabs() -> None:
    """A generation that names one goes where it is decided, what is about the id does not."""
    to_tokenlab = decided("tokenlab")
    assert choice_of(to_tokenlab, None, None, named=True).side == "tokenlab"
    for asked in (operation("GET", "/v1/files/f"), operation("POST", "/v1/batches")):
        choice = choice_of(to_tokenlab, asked, None, named=True)
        assert (choice.side, choice.proven) == ("previous", False)
    assert choice_of(to_tokenlab, operation("POST", "/v1/batches"), None, named=False).proven
