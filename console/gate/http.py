"""Transports and clients for httpx and httpx2 that send each request to the side decided.

``client(gate, "chat")`` is given to an SDK as its ``http_client``. Neither library is imported
before it is asked for: httpx2, on which the official SDKs of OpenAI, Anthropic and Google are
built since August 2026, unless ``library="httpx"``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from console.gate.exchange import Exchanges
from console.gate.gate import Gate
from console.gate.recorder import LogOf
from console.gate.routing import Credential, Router
from console.gate.subject import Subject
from console.gate.transport import kit_of
from console.rollout.model import Side

if TYPE_CHECKING:
    from console.gate.ledger import TaskLedger

Library = Literal["httpx2", "httpx"]
TIMEOUT_S = 600.0
"""Seconds that a client waits for the next byte; SDKs give times of their own with a request."""

_CONNECT_S = 10.0


def client(
    gate: Gate,
    route: str | None = None,
    *,
    org: str | None = None,
    key: str | None = None,
    key_alias: str | None = None,
    flags: tuple[str, ...] | None = None,
    tokenlab_key: Credential | None = None,
    previous_key: Credential | None = None,
    models: Mapping[Side, str] | None = None,
    access_log: str | Path | None = None,
    ledger: "TaskLedger | None" = None,
    library: Library = "httpx2",
    inner: Any = None,
    **more: Any,
) -> Any:
    """Return an ``httpx2.Client`` that sends each request to the side that the gate decides.

    Whom a request is for: the arguments here, or ``console.gate.subject(...)`` around a block, or
    the request's own ``X-Rollout-`` headers, of which the last named wins.

    ``tokenlab_key`` is TokenLab's API key or a function that returns it; without it
    ``$TOKENLAB_API_KEY``. The previous provider gets the credential that the SDK sends, or
    ``previous_key``; neither side ever gets the other's. ``models`` names the model for a side
    where it is not the one of the file (TokenLab) or of the request (previous). ``inner`` is a
    transport to send with (a proxy, other limits), and ``more`` goes to the client.

    Raises ValueError where there is no key for TokenLab, and ModuleNotFoundError (an ImportError)
    where the library is not installed.
    """
    kit = kit_of(library)
    subject = Subject(route, org, key, key_alias, flags)
    exchanges = _exchanges(gate, subject, tokenlab_key, previous_key, models, access_log, ledger)
    transport = kit.transport(kit, exchanges, inner or kit.library.HTTPTransport())
    return kit.library.Client(transport=transport, **_settings(kit.library, more))


def async_client(
    gate: Gate,
    route: str | None = None,
    *,
    org: str | None = None,
    key: str | None = None,
    key_alias: str | None = None,
    flags: tuple[str, ...] | None = None,
    tokenlab_key: Credential | None = None,
    previous_key: Credential | None = None,
    models: Mapping[Side, str] | None = None,
    access_log: str | Path | None = None,
    ledger: "TaskLedger | None" = None,
    library: Library = "httpx2",
    inner: Any = None,
    **more: Any,
) -> Any:
    """As ``client``, an ``httpx2.AsyncClient``."""
    kit = kit_of(library)
    subject = Subject(route, org, key, key_alias, flags)
    exchanges = _exchanges(gate, subject, tokenlab_key, previous_key, models, access_log, ledger)
    transport = kit.async_transport(kit, exchanges, inner or kit.library.AsyncHTTPTransport())
    return kit.library.AsyncClient(transport=transport, **_settings(kit.library, more))


def _exchanges(
    gate: Gate,
    subject: Subject,
    tokenlab_key: Credential | None,
    previous_key: Credential | None,
    models: Mapping[Side, str] | None,
    access_log: str | Path | None,
    ledger: "TaskLedger | None",
) -> Exchanges:
    credential = tokenlab_key or os.environ.get("TOKENLAB_API_KEY")
    if not credential:
        raise ValueError(
            "there is no API key for TokenLab; give tokenlab_key, or set TOKENLAB_API_KEY"
        )
    router = Router(gate, subject, credential, previous_key, models)
    return Exchanges(router, LogOf(gate, access_log), ledger)


def _settings(library: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    timeout = library.Timeout(TIMEOUT_S, connect=_CONNECT_S)
    return {"timeout": timeout, "follow_redirects": True, **more}
