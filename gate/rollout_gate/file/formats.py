"""The six rows of TokenLab's migration guide: what each kind of request looks like on the wire.

Source: TokenLab's published contract and guide, autumn 2026. The module is constants and pure
functions, no I/O: the checks, the probes, the simulated traffic and all other code that sends a
request use it.
"""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

import msgspec

from rollout_gate.file.model import MEDIA_FORMATS, Side

Envelope = Literal["openai", "anthropic", "google"]
Framing = Literal["", "data", "data-done", "named"]
"""The framing of a stream of server-sent events (SSE): ``data`` lines, the same terminated by
``[DONE]``, or named events; empty for none."""

MOST_TOKENS = 16
"""The output token limit of a minimal request; OpenAI Responses accepts no lower one."""


class RouteKind(msgspec.Struct, frozen=True):
    """One row of the guide.

    ``base`` is what the base URL given to a client ends with, on both sides; ``paths`` are below
    the host. ``answer`` and ``usage`` are dotted paths of the fields that a response which is not
    streamed must have.
    """

    title: str
    formats: tuple[str, ...]
    base: str
    paths: Mapping[str, str]
    header: str
    credential: Literal["sk-", "mt-"] = "sk-"
    previous_header: str = ""
    request: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    usage: tuple[str, str] = ("", "")
    framing: Framing = ""
    envelope: Envelope = "openai"
    asynchronous: tuple[str, ...] = ()
    """The formats whose generations are always async tasks."""
    perhaps_asynchronous: tuple[str, ...] = ()
    """Those that are tasks where the request asks for one (``async``), or the provider chooses."""


OPENAI_CHAT = RouteKind(
    "OpenAI Chat Completions", ("openai_chat_completions",), "/v1",
    {"openai_chat_completions": "/v1/chat/completions"}, "Authorization",
    request=("model", "messages"),
    answer=("id", "object", "created", "model", "choices.0.message", "choices.0.finish_reason"),
    usage=("usage.prompt_tokens", "usage.completion_tokens"), framing="data-done",
)  # fmt: skip
OPENAI_RESPONSES = RouteKind(
    "OpenAI Responses", ("openai_responses",), "/v1",
    {"openai_responses": "/v1/responses"}, "Authorization",
    request=("model", "input"),
    answer=("id", "object", "status", "model", "output.0.type"),
    usage=("usage.input_tokens", "usage.output_tokens"), framing="named",
)  # fmt: skip
ANTHROPIC = RouteKind(
    "Anthropic Messages", ("anthropic_messages",), "",
    {"anthropic_messages": "/v1/messages"}, "x-api-key",
    request=("model", "max_tokens", "messages"),
    answer=("id", "type", "role", "model", "content.0.type", "stop_reason"),
    usage=("usage.input_tokens", "usage.output_tokens"), framing="named", envelope="anthropic",
)  # fmt: skip
GEMINI = RouteKind(
    "Gemini REST", ("gemini_generate_content",), "",
    {"gemini_generate_content": "/v1beta/models/{model}:generateContent"}, "Authorization",
    previous_header="x-goog-api-key",
    request=("contents",),
    answer=("candidates.0.content", "candidates.0.finishReason"),
    usage=("usageMetadata.promptTokenCount", "usageMetadata.candidatesTokenCount"),
    framing="data", envelope="google",
)  # fmt: skip
MEDIA = RouteKind(
    "Media generation", MEDIA_FORMATS, "/v1",
    {
        "image": "/v1/images/generations",
        "video": "/v1/videos/generations",
        "music": "/v1/music/generations",
        "3d": "/v1/3d/generations",
    },
    "Authorization",
    request=("model", "prompt"),
    asynchronous=("video", "music", "3d"),
    perhaps_asynchronous=("image",),
)  # fmt: skip
MANAGEMENT = RouteKind(
    "Management and billing", (), "/v1",
    {
        "balance": "/v1/management/balance",
        "keys": "/v1/management/api-keys",
        "usage": "/v1/management/api-keys/{key}/usage",
        "billing": "/v1/management/api-keys/{key}/billing",
    },
    "Authorization", credential="mt-",
)  # fmt: skip

ROUTE_MAP = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GEMINI, MEDIA, MANAGEMENT)
"""The rows in the guide's order."""

_BY_FORMAT = {kind: row for row in ROUTE_MAP for kind in row.formats}

_USUAL_PORT = {"https": 443, "http": 80}
ANTHROPIC_VERSION = "2023-06-01"
TASK_PATH = "/v1/tasks/{task}"


def kind_of(route_format: str) -> RouteKind:
    """Return the row of a format; raises KeyError for one that is not of the guide."""
    return _BY_FORMAT[route_format]


def root_of(base_url: str) -> str:
    """Return a base URL without a ``/v1`` that a client or a person put at its end."""
    return base_url.rstrip("/").removesuffix("/v1")


def same_place(one: str, other: str) -> bool:
    """Return whether two base URLs are equivalent: normalized, the same host, port and path."""
    try:
        return _place_of(one) == _place_of(other)
    except ValueError:
        return False


def _place_of(base_url: str) -> tuple[str, int | None, list[str]]:
    parts = urlsplit(base_url)
    port = None if parts.port == _USUAL_PORT.get(parts.scheme) else parts.port
    way = [part for part in parts.path.split("/") if part not in ("", ".", "v1", "v1beta")]
    return unquote(parts.hostname or "").lower().rstrip("."), port, way


def sdk_base_url(route_format: str, base_url: str) -> str:
    """Return the base URL that the format's official client is to be given."""
    return root_of(base_url) + kind_of(route_format).base


def call_url(route_format: str, base_url: str, model: str, *, stream: bool = False) -> str:
    """Return the complete URL of a request of this format, for a client that appends no path."""
    path = kind_of(route_format).paths[route_format].format(model=quote(model, safe=""))
    if stream and route_format == "gemini_generate_content":
        path = path.replace(":generateContent", ":streamGenerateContent") + "?alt=sse"
    return root_of(base_url) + path


def auth_headers(route_format: str, side: Side, credential: str) -> dict[str, str]:
    """Return the headers that carry a credential in this format to this side."""
    row = kind_of(route_format)
    header = row.previous_header if side == "previous" and row.previous_header else row.header
    headers = {header: f"Bearer {credential}" if header == "Authorization" else credential}
    if row is ANTHROPIC:
        headers["anthropic-version"] = ANTHROPIC_VERSION
    return headers


def text_body(
    route_format: str, model: str, prompt: str, *, stream: bool, most_tokens: int = MOST_TOKENS
) -> dict[str, Any]:
    """Return the JSON body that asks a text model for one answer of at most ``most_tokens``."""
    said = [{"role": "user", "content": prompt}]
    if route_format == "gemini_generate_content":
        contents = [{"role": "user", "parts": [{"text": prompt}]}]
        return {"contents": contents, "generationConfig": {"maxOutputTokens": most_tokens}}
    body: dict[str, Any] = {"model": model, "stream": stream}
    if route_format == "openai_responses":
        return body | {"input": prompt, "max_output_tokens": most_tokens}
    if route_format == "anthropic_messages":
        return body | {"max_tokens": most_tokens, "messages": said}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return body | {"messages": said, "max_completion_tokens": most_tokens}


def base_url_problem(route_format: str, url: str) -> str:
    """Return what is wrong with a route's base URL on the previous side; empty where nothing is."""
    problem = url_problem(url)
    path = "" if problem else urlsplit(url).path.rstrip("/")
    base = kind_of(route_format).base
    if problem:
        return problem
    if path.endswith("/v1/v1"):
        return "ends in /v1/v1: one too many"
    if not base and path.endswith(("/v1", "/v1beta")):
        client = "the Anthropic SDK" if route_format == "anthropic_messages" else "the Gemini path"
        return f"ends in {path[path.rfind('/') :]}, which {client} adds by itself"
    if route_format.startswith("openai_") and not path.endswith(base):
        return f"does not end in {base}, which the OpenAI SDK does not add"
    return ""


def url_problem(url: str) -> str:
    """Return what is wrong with a base URL of either side; empty where nothing is."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an http(s) URL"
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        return "is plain http: credentials would travel in the clear"
    if parts.username or parts.password:
        return "holds a credential; those never belong in this file"
    if parts.query or parts.fragment:
        return "has a query or fragment, which is lost when a path is added"
    return ""
