"""The operations of a route beside the generation itself, and the side that each belongs to.

Sources: the paths of the APIs of OpenAI, Anthropic and Google, and of TokenLab's contract, autumn
2026. The module is a table and a pure function over it.
"""

import re

from msgspec import Struct

from rollout_gate.file.formats import kind_of
from rollout_gate.http.request_shape import Call, gemini_call, path_of


class Operation(Struct, frozen=True):
    """One operation: its name in the access log, and its request as a call.

    ``decided`` is set where it has the route's own model, and so goes to the side that is decided.
    The others name a model that the rollout file does not (embeddings, audio), or something that a
    side has made and the other does not have (files, batches): they go to the previous side.
    """

    name: str
    call: Call
    decided: bool


_OPENAI = (
    ("POST", r"/responses/compact", "compact", True),
    ("POST", r"/images/edits", "edits", True),
    ("POST", r"/images/variations", "variations", True),
    ("POST", r"/responses/input_tokens", "count_tokens", False),
    ("GET", r"/responses/[^/]+(?:/input_items)?", "retrieve", False),
    ("DELETE", r"/responses/[^/]+", "delete", False),
    ("POST", r"/responses/[^/]+/cancel", "cancel", False),
    ("GET", r"/chat/completions(?:/[^/]+)?(?:/messages)?", "retrieve", False),
    ("POST", r"/chat/completions/[^/]+", "retrieve", False),
    ("DELETE", r"/chat/completions/[^/]+", "delete", False),
    ("POST", r"/embeddings", "embeddings", False),
    ("POST", r"(?<!/chat)/completions", "completions", False),
    ("POST", r"/moderations", "moderations", False),
    ("POST", r"/rerank", "rerank", False),
    ("POST", r"/audio/speech", "speech", False),
    ("POST", r"/audio/transcriptions", "transcriptions", False),
    ("POST", r"/audio/translations", "translations", False),
    ("*", r"/(?:files|uploads)(?:/.+)?", "files", False),
    ("*", r"/batches(?:/.+)?", "batches", False),
    ("*", r"/conversations(?:/.+)?", "conversations", False),
    ("*", r"/vector_stores(?:/.+)?", "vector_stores", False),
)
_ANTHROPIC = (
    ("POST", r"/messages/count_tokens", "count_tokens", True),
    ("*", r"/messages/batches(?:/.+)?", "batches", False),
    ("*", r"/files(?:/.+)?", "files", False),
)
_GOOGLE = (
    ("POST", r"/models/[^/]+:countTokens", "count_tokens", True),
    ("POST", r"/models/[^/]+:(?:embedContent|batchEmbedContents|asyncBatchEmbedContent)",
     "embeddings", False),
    ("POST", r"/models/[^/]+:batchGenerateContent", "batches", False),
    ("*", r"/batches(?:/.+)?", "batches", False),
    ("*", r"/cachedContents(?:/.+)?", "cached_contents", False),
    ("*", r"/files(?:/.+)?(?::download)?", "files", False),
)  # fmt: skip

_Row = tuple[str, re.Pattern[str], str, bool]


def _compiled(rows: tuple[tuple[str, str, str, bool], ...]) -> tuple[_Row, ...]:
    return tuple(
        (method, re.compile(rf".*?(?P<version>/v1(?:beta|alpha)?)?(?P<tail>{path})"), name, decided)
        for method, path, name, decided in rows
    )


_ROWS = {
    "openai": _compiled(_OPENAI),
    "anthropic": _compiled(_ANTHROPIC),
    "google": _compiled(_GOOGLE),
}


def operation_of(route_format: str, method: str, url: str) -> Operation | None:
    """Return the operation that a request asks for; None for the generation, and what is unknown.

    As of a call, only the end of a path is certain, so that of the SDK's base URL may be anything.
    """
    if not route_format:
        return None
    path, method = path_of(url).replace("%3A", ":").replace("%3a", ":"), method.upper()
    for wanted, pattern, name, decided in _ROWS[kind_of(route_format).envelope]:
        if wanted not in (method, "*"):
            continue
        found = pattern.fullmatch(path)
        if found is None:
            continue
        if name == "count_tokens" and (call := gemini_call(path)) is not None:
            return Operation(name, call, decided)
        return Operation(name, _call(route_format, found), decided)
    return None


def _call(route_format: str, found: re.Match[str]) -> Call:
    google = route_format == "gemini_generate_content"
    version = found["version"] or ("/v1beta" if google else "/v1")
    return Call(version + found["tail"], as_usual=bool(found["version"]))
