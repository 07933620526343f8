"""HTTP clients (httpx, httpx2) that route each request to the side that the gate decides.

``client(gate, "chat")`` is given to an SDK as its ``http_client``. The library is imported
lazily: httpx2, on which the official SDKs of OpenAI, Anthropic and Google are built since August
2026, unless ``library="httpx"``.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args
from uuid import UUID

from rollout_gate.context import subject_from
from rollout_gate.file.model import Side
from rollout_gate.gate import Gate
from rollout_gate.http import network
from rollout_gate.http.credentials import Credential, checked, checked_names
from rollout_gate.http.current_log import CurrentLog
from rollout_gate.http.exchanges import Exchanges
from rollout_gate.http.routing import Router
from rollout_gate.http.transport import Kit, kit_of

if TYPE_CHECKING:
    from rollout_gate.http.job_ledger import TaskLedger

Library = Literal["httpx2", "httpx"]
TIMEOUT_S = 600.0
"""Default timeout in seconds of each read and write; SDKs set their own per request."""
CONNECT_S = 5.0
"""Default timeout in seconds of a connect."""


class ClientOptions(TypedDict, total=False):
    """The options of ``client`` and ``async_client``. Each has an effect, or raises TypeError.

    The default subject of requests, overridden by a ``subject`` block or by request headers:
        ``org``, ``key``, ``key_alias``, ``flags``.
    Credentials:
        ``tokenlab_key`` is TokenLab's API key or a function that returns it; without it
        ``$TOKENLAB_API_KEY``. The previous provider gets the credential that the SDK sends, or
        ``previous_key``. ``forward_headers`` are names of headers that TokenLab is to be sent in
        addition to the allowlist of headers that are known to hold no credential.
    ``models`` names the model for a side where it is not the one of the file (TokenLab) or of the
        request (previous).
    ``access_log`` and ``ledger`` replace the file's log and the ledger next to it.
    The network, with the meaning and the defaults that an SDK's own client has:
        ``verify``, ``cert``, ``trust_env``, ``http1``, ``http2``, ``limits``, ``socket_options``,
        ``proxy``, ``mounts``; or ``inner``, a transport of your own in place of them all.
    The others are those of the library's client.
    """

    org: str | int | UUID | None
    key: str | int | UUID | None
    key_alias: str | None
    flags: Iterable[str] | None
    tokenlab_key: Credential | None
    previous_key: Credential | None
    forward_headers: Iterable[str]
    models: Mapping[Side, str] | None
    access_log: str | Path | None
    ledger: "TaskLedger | None"
    library: Library
    inner: Any
    verify: Any
    cert: Any
    trust_env: bool
    http1: bool
    http2: bool
    limits: Any
    socket_options: Any
    proxy: Any
    mounts: Mapping[str, Any] | None
    auth: Any
    params: Any
    headers: Any
    cookies: Any
    timeout: Any
    follow_redirects: bool
    max_redirects: int
    event_hooks: Any
    base_url: Any
    default_encoding: Any


_SUBJECT = ("org", "key", "key_alias", "flags")
_LIBRARY = (
    "auth", "params", "headers", "cookies", "timeout", "follow_redirects", "max_redirects",
    "event_hooks", "base_url", "default_encoding", "trust_env",
)  # fmt: skip


def client(gate: Gate, route: str | None = None, **options: Unpack[ClientOptions]) -> Any:
    """Return an ``httpx2.Client`` that routes each request to the side that the gate decides.

    The subject of a request is set by these options, by ``rollout_gate.subject(...)`` around a
    block, or by the request's own ``X-Rollout-`` headers, in rising precedence. The options are
    those of ``ClientOptions``.

    Raises ValueError where there is no key for TokenLab or one that no header can carry,
    TypeError for an option that would have no effect, and ModuleNotFoundError (an ImportError)
    where the library is not installed.
    """
    kit = _kit(options)
    exchanges, inner = _exchanges(gate, route, options), _inner(kit, options, is_async=False)
    transport = kit.transport(kit, exchanges, inner)
    return kit.client(transport=transport, **_settings(kit, options))


def async_client(gate: Gate, route: str | None = None, **options: Unpack[ClientOptions]) -> Any:
    """Return an ``httpx2.AsyncClient`` that is otherwise the same as that of ``client``."""
    kit = _kit(options)
    exchanges, inner = _exchanges(gate, route, options), _inner(kit, options, is_async=True)
    transport = kit.async_transport(kit, exchanges, inner)
    return kit.async_client(transport=transport, **_settings(kit, options))


def _kit(options: ClientOptions) -> Kit:
    if unknown := options.keys() - ClientOptions.__annotations__.keys():
        name = min(unknown)
        why = "the gate's own; give yours as inner" if name == "transport" else "no option of it"
        raise TypeError(f"a client of the gate takes no {name}: it is {why}")
    library = options.get("library", "httpx2")
    kit = kit_of(library)
    other = "httpx" if library == "httpx2" else "httpx2"
    theirs = _types_of(other)
    for name, value in options.items():
        parts = value.values() if name == "mounts" and isinstance(value, Mapping) else [value]
        if any(isinstance(part, theirs) for part in parts):
            raise TypeError(
                f"{name} is an object of {other}, and the client one of {library}:"
                f" give one of {library}, or library={other!r}"
            )
    return kit


def _types_of(library: str) -> tuple[type, ...]:
    """Return the types that a library's client accepts; none if the library is not imported."""
    found = sys.modules.get(library)
    names = ("BaseTransport", "AsyncBaseTransport", "Limits", "Timeout", "Proxy", "Auth", "URL")
    return () if found is None else tuple(getattr(found, name) for name in names)


def _exchanges(gate: Gate, route: str | None, options: ClientOptions) -> Exchanges:
    subject = subject_from(route, **{name: options.get(name) for name in _SUBJECT})
    tokenlab_key = options.get("tokenlab_key") or os.environ.get("TOKENLAB_API_KEY")
    previous_key = options.get("previous_key")
    if not tokenlab_key:
        raise ValueError(
            "there is no API key for TokenLab; give tokenlab_key, or set TOKENLAB_API_KEY"
        )
    for given, name in ((tokenlab_key, "tokenlab_key"), (previous_key, "previous_key")):
        if isinstance(given, str):
            checked(given, name)
        elif given is not None and not callable(given):
            raise TypeError(f"{name} is a text or a function, not {type(given).__name__}")
    base = str(options.get("base_url") or "")  # which the library validates
    router = Router(
        gate, subject, tokenlab_key, previous_key, _models(options.get("models")),
        checked_names(options.get("forward_headers", ())), addresses=[base] if base else [],
    )  # fmt: skip
    return Exchanges(router, CurrentLog(gate, options.get("access_log")), options.get("ledger"))


def _models(models: Mapping[Side, str] | None) -> Mapping[Side, str] | None:
    for side, model in (models or {}).items():
        if side not in get_args(Side) or not isinstance(model, str) or not model:
            raise TypeError(f"models gives a model's name by side, tokenlab or previous: {side!r}")
    return models


def _inner(kit: Kit, options: ClientOptions, *, is_async: bool) -> Any:
    inner = options.get("inner")
    if inner is None:
        return network.transport(kit.library, options, is_async=is_async)
    if useless := [name for name in network.SETTINGS if name in options]:
        raise TypeError(
            f"{', '.join(useless)} would have no effect beside inner, which is what sends:"
            f" give them to that transport"
        )
    return inner


def _settings(kit: Kit, options: ClientOptions) -> dict[str, Any]:
    timeout = kit.library.Timeout(TIMEOUT_S, connect=CONNECT_S)
    given = {name: options[name] for name in _LIBRARY if name in options}  # type: ignore[literal-required]
    return {"timeout": timeout, "follow_redirects": True, **given}
