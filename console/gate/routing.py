"""One request on its way: which side, which address, which credential, which model."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

import msgspec

from console.gate.gate import Gate
from console.gate.subject import HEADERS, Subject, subject_of
from console.rollout.decision import Decision
from console.rollout.model import Side
from console.rollout.routemap import auth_headers, kind_of, root_of

Credential = str | Callable[[], str]
"""A credential, or what gives it each time: for one that is rotated while the process runs."""
Headers = list[tuple[str, str]]

_CREDENTIALS = frozenset(
    (
        "authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie",
        "proxy-authorization", "openai-organization", "openai-project", "x-goog-user-project",
    )
)  # fmt: skip
_REPLACED = frozenset(("host",))
_GEMINI = re.compile(r"/(v1|v1beta|v1alpha)/models/([^/]+):(generateContent|streamGenerateContent)")
_VERSION = re.compile(r"/v1(?:beta|alpha)?/")
_TASK = re.compile(r"/v1/(?:tasks|images|videos|music|3d)/(?:generations/)?([^/]+)(?:/content)?")
_KEY_PARAMETER = re.compile(r"(^|&)key=[^&]*")
_json = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it is to be sent. ``body`` is None where it goes as it came.

    ``decision`` is None for what is no request of the route: it goes where it was going.
    """

    method: str
    url: str
    headers: Headers
    body: bytes | None
    decision: Decision | None
    subject: Subject
    model: str = ""
    stream: bool = False
    creates: bool = False


class Router:
    """Prepares the requests of one client: ``client`` is whom they are for unless they say so.

    ``models`` gives the model's name by side. Without it, TokenLab gets the model that the file
    names for the route, or the request's own where the file names none; the previous provider
    gets the request's own.
    """

    def __init__(
        self,
        gate: Gate,
        client: Subject,
        tokenlab_key: Credential,
        previous_key: Credential | None = None,
        models: Mapping[Side, str] | None = None,
    ) -> None:
        self.gate = gate
        self._client = client
        self._tokenlab_key = tokenlab_key
        self._previous_key = previous_key
        self._models = dict(models or {})

    def subject_of(self, headers: Mapping[str, str]) -> Subject:
        """Return whom a request with these headers (lower-case) is for."""
        return subject_of(headers, self._client)

    def decide(self, subject: Subject) -> Decision:
        """Return the decision for a request; one without an org is decided for the org ``""``."""
        return self.gate.decide(
            subject.route or "",
            subject.org or "",
            key=subject.key,
            key_alias=subject.key_alias,
            flags=subject.flags or (),
        )

    def belongs(self, decision: Decision, url: str) -> bool:
        """Return whether a URL is where requests of the decision's route go.

        Of a route that is not known, because there is no good file or none of that name, all are.
        """
        return not decision.format or _is_of_format(decision.format, _below_host(url))

    def lacks_org(self, subject: Subject, decision: Decision) -> bool:
        """Return whether a request of the route was given no org, and ought to have one.

        ``org=""`` says that it is of none. A route on which no org has a line needs none either,
        if the request has a key: without both, all requests would be one subject.
        """
        if subject.org is not None or not decision.format:
            return False
        file = self.gate.file
        route = file.routes.get(decision.route) if file is not None else None
        return not subject.key or (route is not None and bool(route.orgs))

    def outgoing(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | None,
        decision: Decision,
        subject: Subject,
    ) -> Outgoing:
        """Return a request of the route as it is to be sent to the side that was decided."""
        asked, stream = _asked(url, body)
        if not decision.format:
            sent = [(name, value) for name, value in headers if name.lower() not in HEADERS]
            return Outgoing(method, url, sent, None, decision, subject, asked, stream)
        model = self._model(decision, asked)
        path = _below_host(url)
        changed = None
        if decision.format == "gemini_generate_content":
            path = _gemini_path(path, decision.side, model)
        elif model != asked:
            changed = _with_model(body, model)
        return Outgoing(
            method,
            self._address(decision.side, decision.route, path, url),
            self._sent(headers, decision.side, decision.format),
            changed,
            decision,
            subject,
            model,
            stream,
            creates=makes_jobs(decision.format),
        )

    def aside(
        self, method: str, url: str, headers: Headers, subject: Subject, side: Side | None
    ) -> Outgoing:
        """Return a request that is none of the route's: to a task's side, or as it came."""
        file = self.gate.file
        route = file.routes.get(subject.route or "") if file else None
        if side is None or route is None:
            sent = [(name, value) for name, value in headers if name.lower() not in HEADERS]
            return Outgoing(method, url, sent, None, None, subject)
        return Outgoing(
            method,
            self._address(side, route.name, _below_host(url), url),
            self._sent(headers, side, route.format),
            None,
            None,
            subject,
        )

    def _model(self, decision: Decision, asked: str) -> str:
        if decision.side in self._models:
            return self._models[decision.side]
        return (decision.model or asked) if decision.side == "tokenlab" else asked

    def _address(self, side: Side, route: str, path: str, url: str) -> str:
        file = self.gate.file
        base = ""
        if file is not None:
            found = file.routes.get(route)
            previous = found.previous_base_url if found else ""
            base = file.base_url if side == "tokenlab" else previous
        if not base:
            return url
        query = urlsplit(url).query
        if side == "tokenlab":
            query = _KEY_PARAMETER.sub("", query).lstrip("&")
        return root_of(base) + path + (f"?{query}" if query else "")

    def _sent(self, headers: Iterable[tuple[str, str]], side: Side, kind: str) -> Headers:
        credential = self._tokenlab_key if side == "tokenlab" else self._previous_key
        dropped = HEADERS.keys() | _REPLACED
        if credential is None:
            return [(name, value) for name, value in headers if name.lower() not in dropped]
        dropped |= _CREDENTIALS
        kept = [(name, value) for name, value in headers if name.lower() not in dropped]
        auth = auth_headers(kind, side, credential if isinstance(credential, str) else credential())
        known = {name.lower() for name, _ in kept}
        return kept + [(name, value) for name, value in auth.items() if name.lower() not in known]


def makes_jobs(kind: str) -> bool:
    """Return whether requests of a format create tasks, to be asked for until they are done."""
    return kind in kind_of(kind).asynchronous


def task_id_of(url: str) -> str | None:
    """Return the id of the task that a URL asks about; None where it asks about none."""
    match = _TASK.fullmatch(_below_host(url))
    return unquote(match[1]) if match else None


def _below_host(url: str) -> str:
    """Return the path from its /v1 or /v1beta on: what stands before it belongs to a base URL."""
    path = urlsplit(url).path
    found = _VERSION.search(path)
    return path[found.start() :] if found else path


def _is_of_format(kind: str, path: str) -> bool:
    if kind == "gemini_generate_content":
        return _GEMINI.fullmatch(path) is not None
    return path.rstrip("/") == kind_of(kind).paths[kind]


def _asked(url: str, body: bytes | None) -> tuple[str, bool]:
    """Return the model that a request asks for, and whether it wants a stream."""
    match = _GEMINI.fullmatch(_below_host(url))
    if match:
        return unquote(match[2]), match[3] == "streamGenerateContent"
    given = _fields(body)
    return _text(given.get("model")), bytes(given.get("stream", b"")) == b"true"


def _gemini_path(path: str, side: Side, model: str) -> str:
    """Return the path that asks for a model; Google has more versions of it than TokenLab."""
    match = _GEMINI.fullmatch(path)
    assert match is not None  # or it would be none of the route's requests
    version = "v1beta" if side == "tokenlab" else match[1]
    return f"/{version}/models/{quote(model, safe='')}:{match[3]}"


def _with_model(body: bytes | None, model: str) -> bytes | None:
    """Return the body that asks for a model; None for one that stays as it is."""
    given: dict[str, object] = dict(_fields(body))
    return msgspec.json.encode(given | {"model": model}) if given else None


def _fields(body: bytes | None) -> dict[str, msgspec.Raw]:
    try:
        return _json.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError):
        return {}


def _text(value: object) -> str:
    try:
        return msgspec.json.decode(value, type=str) if isinstance(value, msgspec.Raw) else ""
    except msgspec.DecodeError:
        return ""
