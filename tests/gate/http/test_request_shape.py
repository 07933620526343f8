"""What a request asks for, by its method and path, whatever base URL stands before it."""

import pytest

from rollout_gate.http.request_shape import call_of, shape_of, task_of

HOST = "https://before.example"
USUAL = {
    "openai_chat_completions": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate_content": "/v1beta/models/g:generateContent",
    "image": "/v1/images/generations",
    "video": "/v1/videos/generations",
    "music": "/v1/music/generations",
    "3d": "/v1/3d/generations",
}


@pytest.mark.parametrize(("kind", "path"), USUAL.items())
def test_the_usual_path_of_each_format(kind: str, path: str) -> None:
    for url in (f"{HOST}{path}", f"{HOST}/a/gateway{path}/", f"{HOST}//{path}?alt=sse#x"):
        call = call_of(kind, "POST", url)
        assert call is not None
        assert (call.path, call.as_usual) == (path, True)
    for method in ("GET", "DELETE", "PUT"):
        assert call_of(kind, method, f"{HOST}{path}") is None
    for other in USUAL:
        if other != kind:
            assert call_of(other, "POST", f"{HOST}{path}") is None


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("openai_chat_completions", "/openai/deployments/gpt-5/chat/completions"),
        ("openai_chat_completions", "/chat/completions"),
        ("openai_chat_completions", "/v1beta/openai/chat/completions"),
        ("openai_chat_completions", "/v1/account/gateway/openai/chat/completions"),
        ("openai_responses", "/openai/responses"),
        ("anthropic_messages", "/anthropic/messages"),
    ],
)
def test_below_any_base_url_it_is_a_call_all_the_same(kind: str, path: str) -> None:
    call = call_of(kind, "POST", HOST + path)
    assert call is not None
    assert (call.path, call.as_usual) == (USUAL[kind], False)


@pytest.mark.parametrize(
    ("path", "usual", "model"),
    [
        ("/v1/models/a%2Fb:generateContent", "/v1/models/a%2Fb:generateContent", "a/b"),
        (
            "/v1alpha/models/g%3AstreamGenerateContent",
            "/v1alpha/models/g:streamGenerateContent", "g",
        ),
        (
            "/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent",
            "/v1beta/models/g:generateContent", "g",
        ),
    ],
)  # fmt: skip
def test_googles_paths_name_the_model_and_whether_it_is_a_stream(
    path: str, usual: str, model: str
) -> None:
    call = call_of("gemini_generate_content", "POST", HOST + path)
    assert call is not None
    assert (call.path, call.model, call.stream) == (usual, model, "stream" in path)
    assert call.as_usual is ("projects" not in path)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/chat-1", "/v1/completions", "/v1/messages/count_tokens",
        "/v1/messages/batches", "/v1/models/g:countTokens", "/v1/responses/r-1/cancel",
        "/v1/images/edits", "/v1/embeddings", "/v1/chat/completionsx", "/",
        "/v1beta/models/g:embedContent", "/model/anthropic.claude/invoke",
    ],
)  # fmt: skip
def test_what_is_no_call_of_any_format(path: str) -> None:
    assert [kind for kind in USUAL if call_of(kind, "POST", HOST + path)] == []


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/v1/tasks/t%2F1", ("t/1", "/v1/tasks/t%2F1")),
        ("GET", "/a/v1/videos/t-1/content", ("t-1", "/v1/videos/t-1/content")),
        ("GET", "/v1/videos/generations/t-1", ("t-1", "/v1/videos/generations/t-1")),
        ("DELETE", "/v1//tasks/t-1/", ("t-1", "/v1/tasks/t-1")),
        ("GET", "/tasks/t-1", ("t-1", "/v1/tasks/t-1")),
        ("POST", "/v1/images/edits", None),
        ("GET", "/v1/models/m", None),
    ],
)
def test_the_task_that_a_request_asks_about(
    method: str, path: str, found: tuple[str, str] | None
) -> None:
    assert task_of(method, HOST + path) == found


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("https://x/v1/embeddings?key=secret", "post /v1/embeddings"),
        ("https://u:secret@x/v1beta/models/g-2:countTokens", "post /v1beta/models/{}"),
        ("https://x/v1/files/file-8Hs72/content", "post /v1/files/{}/content"),
        ("https://x/bot81:s3cr3t/send", "post /{}/send"),
        ("https://x/v1/3d/\x1b[31m/x", "post /v1/3d/{}/x"),
        ("https://x", "post /"),
        ("https://x" + "/a" * 30, "post " + "/a" * 7),
    ],
)
def test_a_shape_has_no_id_and_no_secret_in_it(url: str, shape: str) -> None:
    assert shape_of("post", url) == shape.replace("post", "POST")
