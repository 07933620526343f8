"""The operations of an API other than generation, by method and path: a table, pure functions.

Each row says where an operation belongs. One with the route's own model goes where the decision
says; one that names another model, or none, belongs to the previous side, as the rollout file names
no model for it; one about an id goes to the side that made the id. Only the end of a path is
certain, as for calls (see ``request_shape``), so a resource below another one is left alone.

Sources: TokenLab's published contract, and the SDKs of OpenAI, Anthropic and Google, autumn 2026.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from rollout_gate.answers.formats import MOST_ID
from rollout_gate.decision.decision import Decision
from rollout_gate.file.model import MEDIA_FORMATS, Side
from rollout_gate.http.request_shape import Call, path_of

Goes = Literal["decided", "previous", "by_id", "own_url", "task"]
"""To the side decided, to the previous one, to the side that made an id, to the URL that the SDK
asks for, or to the side that created an async media task."""
Kind = Literal["", "response", "conversation", "file", "batch", "cached_content"]
"""What an id is of; empty for none."""


class Operation(msgspec.Struct, frozen=True):
    """What a request of the route's API asks for, where it is not the generation.

    ``name`` is the one in the access log. ``ids`` are those in the path, and ``makes`` is the kind
    of the ids that a good answer has. ``has_model`` is whether the body or the path has the
    route's own model, and ``has_requests`` whether the body is a list of generations. ``stays`` is
    whether nothing but the path says that it is of the API: if its id is unknown as well, it may
    be anything, such as a download, and goes to its own URL.
    """

    name: str
    goes: Goes
    call: Call
    ids: tuple[str, ...] = ()
    makes: Kind = ""
    has_model: bool = False
    has_requests: bool = False
    stays: bool = False

    @property
    def needs_its_ids(self) -> bool:
        """Whether it goes to the previous side where the ids that it names are unknown: nothing
        proves that TokenLab made them."""
        return self.goes == "by_id" or self.makes == "batch"


class Bound(msgspec.Struct, frozen=True):
    """An id that a side made. ``thread`` is the id of the first response, or of the conversation,
    that it continues; its own where it continues none. Times are epoch seconds."""

    side: Side
    route: str
    org: str
    kind: Kind
    thread: str
    used_at: float


class Choice(msgspec.Struct, frozen=True):
    """The side of one request, None for the one of its own URL, and why.

    ``proven`` is whether bucket and revision of the decision explain the side, or an id does:
    ``bound``. ``moved`` is whether an id's own side is rolled back, so that it cannot go there.
    """

    side: Side | None
    proven: bool = True
    bound: bool = False
    moved: bool = False


DECIDED: dict[Side, Choice] = {"tokenlab": Choice("tokenlab"), "previous": Choice("previous")}
"""The choice of a generation that names no id."""


def choice_of(
    decision: Decision, operation: Operation | None, found: Bound | None, *, named: bool
) -> Choice:
    """Return the side of a request; ``found`` is the id that binds it, ``named`` is whether it
    names ids at all. ``operation`` is None for a generation."""
    if found is not None:
        if found.side == "tokenlab" and decision.rule.startswith("rolled_back."):
            return Choice("previous", moved=True)
        return Choice(found.side, bound=True)
    if operation is None:
        return DECIDED[decision.side]
    if operation.goes in ("own_url", "task") or operation.stays:
        return Choice(None, proven=False)
    unknown = operation.needs_its_ids and named
    if operation.goes != "decided" or unknown:
        return Choice("previous", proven=False)
    return Choice(decision.side)


class _Row(msgspec.Struct, frozen=True):
    methods: str
    tail: str
    name: str
    goes: Goes
    makes: Kind = ""
    has_model: bool = False
    has_requests: bool = False
    formats: tuple[str, ...] = ()
    """Formats whose route the model is of; on a route of another one it is not decided."""

    def find(self, path: str) -> "re.Match[str] | None":
        return _pattern(self.tail).search(path)


@cache
def _pattern(tail: str) -> "re.Pattern[str]":
    """Compile a pattern on its first use, as most applications use few operations or none."""
    return re.compile(tail + "$")


_ID = r"/([^/:]+)"
_FILES = (
    _Row("POST", "/files", "files", "decided", "file"),
    _Row("GET HEAD", "/files", "files", "previous"),
    _Row("GET HEAD DELETE", rf"/files{_ID}(?:/content)?", "files", "by_id"),
)
_OPENAI = (
    # TokenLab's contract has no /responses/input_tokens, /conversations and /uploads.
    _Row("POST", "/responses/input_tokens", "count_tokens", "previous"),
    _Row("POST", "/responses/compact", "compact", "decided", has_model=True,
         formats=("openai_responses",)),
    _Row("GET HEAD", f"/responses{_ID}", "retrieve", "by_id"),
    _Row("DELETE", f"/responses{_ID}", "delete", "by_id"),
    _Row("POST", f"/responses{_ID}/cancel", "cancel", "by_id"),
    _Row("GET HEAD", f"/responses{_ID}/input_items", "input_items", "by_id"),
    _Row("POST", "/conversations", "conversations", "previous", "conversation"),
    _Row("GET HEAD POST DELETE", rf"/conversations{_ID}(?:/items(?:/[^/]+)?)?", "conversations",
         "by_id"),
    _Row("POST", "/embeddings", "embeddings", "previous"),
    _Row("POST", "/images/edits", "edits", "decided", has_model=True, formats=("image",)),
    _Row("POST", "/images/variations", "variations", "decided", has_model=True,
         formats=("image",)),
    _Row("POST", "/audio/speech", "speech", "previous"),
    _Row("POST", "/audio/transcriptions", "transcriptions", "previous"),
    _Row("POST", "/audio/translations", "translations", "previous"),
    _Row("POST", "/moderations", "moderations", "previous"),
    _Row("POST", "/rerank", "rerank", "previous"),
    _Row("POST", "(?<!/chat)/completions", "completions", "previous"),
    *_FILES,
    _Row("POST", rf"/uploads(?:{_ID}/(?:parts|complete|cancel))?", "files", "previous", "file"),
    _Row("POST", "/batches", "batches", "decided", "batch"),
    _Row("GET HEAD", "/batches", "batches", "previous"),
    _Row("GET HEAD", f"/batches{_ID}", "batches", "by_id", "batch"),
    _Row("POST", f"/batches{_ID}/cancel", "batches", "by_id", "batch"),
)  # fmt: skip
_ANTHROPIC = (
    _Row("POST", "/messages/count_tokens", "count_tokens", "decided", has_model=True),
    _Row("POST", "/messages/batches", "batches", "decided", "batch", has_requests=True),
    _Row("GET HEAD", "/messages/batches", "batches", "previous"),
    _Row("GET HEAD DELETE", f"/messages/batches{_ID}(?:/results)?", "batches", "by_id"),
    _Row("POST", f"/messages/batches{_ID}/cancel", "batches", "by_id"),
    _Row("POST", "/complete", "completions", "previous"),
    *_FILES,
)  # fmt: skip
_GEMINI = (
    _Row("POST", "/models/([^/]+):countTokens", "count_tokens", "decided", has_model=True),
    _Row("POST", "/models/([^/]+):(?:embedContent|batchEmbedContents)", "embeddings", "previous"),
    # TokenLab's contract has none of Google's batches, cached contents and files.
    _Row("POST", "/models/([^/]+):(?:batchGenerateContent|asyncBatchEmbedContent)", "batches",
         "previous", "batch"),
    _Row("GET HEAD", "/batches", "batches", "previous"),
    _Row("GET HEAD POST DELETE", f"/(batches{_ID})(?::cancel|:delete)?", "batches", "by_id"),
    _Row("POST", "/cachedContents", "cached_contents", "previous", "cached_content"),
    _Row("GET HEAD", "/cachedContents", "cached_contents", "previous"),
    _Row("GET HEAD PATCH DELETE", f"/(cachedContents{_ID})", "cached_contents", "by_id"),
    _Row("POST PUT", "/upload/v1[a-z0-9]*/files", "files", "previous", "file"),
    _Row("POST", "/files(?::register)?", "files", "previous", "file"),
    _Row("GET HEAD", "/files", "files", "previous"),
    _Row("GET HEAD DELETE", f"/(files{_ID})(?::download)?", "files", "by_id"),
)  # fmt: skip
_BY_FORMAT = {
    **dict.fromkeys(("openai_chat_completions", "openai_responses", *MEDIA_FORMATS), _OPENAI),
    "anthropic_messages": _ANTHROPIC,
    "gemini_generate_content": _GEMINI,
}

_OTHERS = frozenset((
    "vector_stores", "containers", "threads", "assistants", "organization", "management", "evals",
    "fine_tuning", "skills", "multimodal", "realtime", "tunedModels", "corpora", "fileSearchStores",
))  # fmt: skip
"""Resources with parts of their own, such as the files of a vector store."""
_VERSION = re.compile(r".*/(v1|v1beta|v1alpha)")
_COLON = re.compile("%3a", re.IGNORECASE)


def operation_of(route_format: str, method: str, url: str) -> Operation | None:
    """Parse a request as an operation of the API that a route's format is of.

    None for what is no request of a route, such as a list of models, and for another generation.
    """
    path = _COLON.sub(":", path_of(url))
    method = method.upper()
    for row in _BY_FORMAT.get(route_format, ()):
        if method not in row.methods.split():
            continue
        found = row.find(path)
        if found is None:
            continue
        before = path[: found.start()]
        if _OTHERS.intersection(before.split("/")):
            return None
        return _operation(row, found, before, route_format, url)
    return None


def _operation(
    row: _Row, found: "re.Match[str]", before: str, route_format: str, url: str
) -> Operation:
    tail, goes, has_model = found[0], row.goes, row.has_model
    if row.formats and route_format not in row.formats:
        goes, has_model = "previous", False  # on this route it names another's model
    version = _VERSION.fullmatch(before)
    if route_format != "gemini_generate_content":
        is_usual = version is not None and version[1] == "v1"
        call = Call(f"/v1{tail}", is_usual)
    elif tail.startswith("/upload/"):
        call = Call(tail, as_usual=True)
        if any(name == "upload_id" for name, _ in parse_qsl(urlsplit(url).query)):
            goes = "own_url"  # the address of one upload, which its host has made
    else:
        usual = f"/{version[1] if version else 'v1beta'}{tail}"
        model = found[1] if tail.startswith("/models/") else ""
        call = Call(usual, version is not None, unquote(model) if model else None, None, model)
    ids = (unquote(found[1]),) if goes == "by_id" else ()
    return Operation(row.name, goes, call, ids, row.makes, has_model, row.has_requests)


def task_operation(task: str, path: str) -> Operation:
    """Return the operation that asks about an async media task, at a path of TokenLab's API."""
    return Operation("task", "task", Call(path, as_usual=True), (task,))


_WORDS = {
    "openai_chat_completions": (b'"file_id"', b'"input_file_id"'),
    "openai_responses": (b'"previous_response_id"', b'"conversation"', b'"file_id"',
                         b'"input_file_id"'),
    "anthropic_messages": (b'"file_id"',),
    "gemini_generate_content": (b'"cachedContent"', b'"cached_content"', b'"fileUri"',
                                b'"file_uri"'),
    "image": (b'"file_id"', b'"input_file_id"'),
}  # fmt: skip
"""The names of fields that name an id, by format: in most bodies there is none of them."""
_NAMED = re.compile(
    rb'"(previous_response_id|conversation|cachedContent|cached_content|input_file_id|file_id'
    rb'|fileUri|file_uri)"\s*:\s*(?:\{\s*"id"\s*:\s*)?"([^"\\]{1,512})"'
)
_FIRST = (b"previous_response_id", b"conversation", b"cachedContent", b"cached_content")
_GOOGLES = re.compile(r"(?:files|batches|cachedContents)/[^/?#]+")
MOST_NAMED = 16
"""Limit of the ids of one request that are looked up."""


def names_in(route_format: str, body: bytes | None) -> Sequence[str]:
    """Return the ids that a body names, those that hold a conversation first.

    The bytes are searched for the names of the fields, which costs a body without one next to
    nothing: within a text its quotes are escaped, so no user's text is taken for a field.
    """
    if not body:
        return ()
    for word in _WORDS.get(route_format, ()):
        if word in body:
            break
    else:
        return ()
    found = _NAMED.findall(body)
    found.sort(key=lambda pair: pair[0] not in _FIRST)
    ids = (_id_of(value.decode("utf-8", "replace")) for _, value in found)
    return tuple(dict.fromkeys(ids))[:MOST_NAMED]


def _id_of(text: str) -> str:
    """Return an id as answers name it: of the URI of a file of Google the end."""
    if "/files/" not in text:
        return text
    found = _GOOGLES.search(text, text.rindex("/files/"))
    return found[0] if found else text


class _File(msgspec.Struct):
    id: str = ""
    name: str = ""


class _Made(msgspec.Struct):
    id: str = ""
    name: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    file: _File | None = None


_made_of = msgspec.json.Decoder(_Made)


def ids_in(answer: bytes) -> list[str]:
    """Return the ids that the answer to an operation has made; none in one that has no such."""
    try:
        made = _made_of.decode(answer)
    except (ValueError, RecursionError):
        return []
    found = [made.id, made.output_file_id, made.error_file_id]
    names = [made.name]
    if made.file is not None:
        found.append(made.file.id)
        names.append(made.file.name)
    found += [name for name in names if _GOOGLES.fullmatch(name)]
    return [one for one in found if one and len(one) <= MOST_ID]
