"""The route map against TokenLab's migration guide."""

from rollout_gate.file.formats import ROUTE_MAP, auth_headers, call_url, sdk_base_url
from rollout_gate.file.model import MEDIA_FORMATS


def test_the_route_map_is_the_guides() -> None:
    assert [row.title for row in ROUTE_MAP] == [
        "OpenAI Chat Completions", "OpenAI Responses", "Anthropic Messages", "Gemini REST",
        "Media generation", "Management and billing",
    ]  # fmt: skip
    base = "https://api.tokenlab.sh"
    assert sdk_base_url("openai_responses", base) == f"{base}/v1"
    assert sdk_base_url("anthropic_messages", f"{base}/v1") == base
    assert call_url("anthropic_messages", base, "m") == f"{base}/v1/messages"
    assert call_url("gemini_generate_content", base, "a/b", stream=True) == (
        f"{base}/v1beta/models/a%2Fb:streamGenerateContent?alt=sse"
    )
    for kind in MEDIA_FORMATS:
        assert call_url(kind, f"{base}/v1", "m").startswith(f"{base}/v1/")
    assert auth_headers("gemini_generate_content", "tokenlab", "k") == {"Authorization": "Bearer k"}
    assert auth_headers("gemini_generate_content", "previous", "k") == {"x-goog-api-key": "k"}
    assert auth_headers("anthropic_messages", "previous", "k")["x-api-key"] == "k"
    assert ROUTE_MAP[4].formats == MEDIA_FORMATS
    assert set(ROUTE_MAP[4].asynchronous) == {"video", "music", "3d"}
    assert ROUTE_MAP[5].credential == "mt-"
