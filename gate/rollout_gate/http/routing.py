"""Rewrite one request for its side: the URL, the credential and the model."""

import re
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import msgspec
from msgspec.structs import replace

from rollout_gate.context import Subject, subject_of
from rollout_gate.decision.decision import Decision
from rollout_gate.file.formats import auth_headers, kind_of, root_of
from rollout_gate.file.model import Side
from rollout_gate.gate import Gate
from rollout_gate.http.credentials import (
    LEAST_SECRET,
    Credential,
    Headers,
    add_missing,
    checked,
    credentials_in,
    credentials_in_query,
    for_previous,
    for_tokenlab,
    has_key,
    path_holds,
    query_for_tokenlab,
    query_without,
)
from rollout_gate.http.operations import Choice, Kind, Operation
from rollout_gate.http.request_body import RequestBody, names_credential
from rollout_gate.http.request_form import without_keys
from rollout_gate.http.request_shape import (
    MOST_REMEMBERED,
    Call,
    call_of,
    is_remembered,
    is_signed,
    origin_of,
    path_of,
    same_origin,
)
from rollout_gate.secret import redacted

_MOST_KEYS = 64
"""How many of TokenLab's keys, the latest in a rotation, are recognized in a request."""

_OF_A_SIGNATURE = re.compile(
    r"x-(?:amz|goog|oss|tos)-.+|(?:aws|google)access(?:key)?id|key-pair-id|token", re.IGNORECASE
)
"""Names of the query parameters beside a signature that look like a credential's."""
_MOST_ADDRESSES = 16
"""How many hosts of a client's generations are remembered."""

_LONG_WORD = re.compile(r"[A-Za-z0-9+/=]{20,}")
"""What a key whose form is not known is like, if it has digits: long, and without a break."""
_LIKE_ONE = "it looks like a credential"
"""Why TokenLab is not sent a field."""

_NO_BODY = RequestBody({}, strict=True)


Creates = Literal["", "task", "asked", "perhaps"]
"""Whether a request creates an async task: never, always, if the model can do what the request
asks for, or where the provider chooses to."""


class Outgoing(msgspec.Struct, frozen=True):
    """A request as it is to be sent. ``body`` is None where it is sent unchanged.

    ``decision`` is None for what is no request of the route, which is passed through to its own
    URL. ``side`` is where a request really goes, None where it is passed through undecided.
    ``operation`` is the name of an operation, None of a generation; ``proven``, ``bound`` and
    ``moved`` are those of its Choice, and ``makes`` is the kind of the ids that its answer has.
    """

    method: str
    url: str
    headers: Headers
    body: bytes | None
    decision: Decision | None
    subject: Subject
    side: Side | None = None
    model: str = ""
    stream: bool = False
    creates: Creates = ""
    came_for: str = ""
    """The URL that the client asked for, where ``url`` may differ; empty otherwise."""
    operation: str | None = None
    proven: bool = True
    bound: bool = False
    moved: bool = False
    makes: Kind = ""
    thread: str = ""
    """The conversation that the request continues; empty where it continues none."""
    task_id: str = ""
    """The async task that the request asks about; empty for none."""
    keeps_target: bool = True
    """Whether a request target that the application gives beside the URL may be sent."""

    @property
    def is_call(self) -> bool:
        """Whether it is a generation of the route, rather than an operation or passed through."""
        return self.decision is not None and self.operation is None


class Remedies(msgspec.Struct, frozen=True):
    """What to do about what the gate reports, as the end of a sentence: in code, or on a server."""

    forward: str = "client(..., forward_headers=[...]) sends it"
    org: str = (
        "give it with subject(org=...), client(..., org=...) or the header X-Rollout-Org, and"
        ' org="" where there is none'
    )
    previous_key: str = "give the SDK the previous provider's key, or client(..., previous_key=...)"


class Router:
    """Prepares the requests of one client; ``client`` is their default subject.

    ``models`` gives the model's name by side. Without it, TokenLab gets the model that the file
    names for the route, or the request's own where the file names none; the previous provider
    gets the request's own. ``forward`` are names of headers that TokenLab is to get in addition
    to the allowlist. ``addresses`` are base URLs that the client is known to ask for the API; the
    origins of its generations are added. Whatever is dropped from a request is reported by the
    gate.
    """

    def __init__(
        self,
        gate: Gate,
        client: Subject,
        tokenlab_key: Credential,
        previous_key: Credential | None = None,
        models: Mapping[Side, str] | None = None,
        forward: Collection[bytes] = (),
        remedies: Remedies | None = None,
        addresses: Collection[str] = (),
    ) -> None:
        self.gate = gate
        self.remedies = remedies or Remedies()
        self._client = client
        self._tokenlab_key = tokenlab_key
        self._previous_key = previous_key
        self._own_previous_key: list[str] = []
        if isinstance(previous_key, str):
            self._own_previous_key.append(previous_key.strip())
        self._models = dict(models or {})
        self._forward = forward
        self._origins: set[tuple[str, str, int | None]] = set()
        for one in addresses:
            with suppress(ValueError):
                self._origins.add(origin_of(one))
        self._keys: deque[str] = deque(maxlen=_MOST_KEYS)
        if isinstance(tokenlab_key, str):
            self._keys.append(tokenlab_key.strip())

    def subject_of(self, headers: Mapping[bytes, bytes]) -> Subject:
        """Return the subject of a request with these headers (lower-case names)."""
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

    def call(self, decision: Decision, method: str, url: str) -> Call | None:
        """Parse a request as a call of the decision's route; None where it is not one.

        On an unknown route (no good file yet, or no route of that name) every request is a call.
        """
        if not decision.format:
            return Call("", as_usual=True)
        return call_of(decision.format, method, url)

    def dedupe_s(self, decision: Decision | None) -> int:
        """Return for how long the same request of a route is the same job, in seconds; 0: never."""
        file = self.gate.file
        route = file.routes.get(decision.route) if file is not None and decision else None
        return route.dedupe_s if route is not None else 0

    def is_addressed(self, decision: Decision, url: str, headers: Headers) -> bool:
        """Return whether a request is for an address of the API: it has a key, as SDKs send it, or
        is for the host of the previous provider, or for one that the client asks for the API."""
        if has_key(headers, urlsplit(url).query):
            return True
        base = self._previous_base(decision.route)
        with suppress(ValueError):  # of an invalid port, which the library refuses
            return self._is_clients(url) or (bool(base) and same_origin(url, base))
        return False

    def _is_clients(self, url: str) -> bool:
        """Return whether a URL is of a host that this client asks for the API."""
        return origin_of(url) in self._origins

    def _learn_address(self, url: str) -> None:
        """Remember where the application sends its generations: there it has the API.

        TokenLab's host is known by the file, and has the media of other requests as well.
        """
        with suppress(ValueError):  # of an invalid port, which the library refuses
            origin = origin_of(url)
            if origin in self._origins or len(self._origins) >= _MOST_ADDRESSES:
                return
            file = self.gate.file
            if file is not None and not same_origin(url, file.base_url):
                self._origins.add(origin)

    def _previous_base(self, route: str) -> str:
        file = self.gate.file
        found = file.routes.get(route) if file is not None else None
        return found.previous_base_url if found is not None else ""

    def lacks_org(self, subject: Subject, decision: Decision) -> bool:
        """Return whether a request of the route was given no org, and ought to have one.

        ``org=""`` means explicitly no org. A route on which no org has a line needs none either,
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
        call: Call,
        operation: Operation | None,
        choice: Choice,
        form: bytes | None = None,
    ) -> Outgoing:
        """Return a request of the route as it is to be sent to the side that was chosen.

        ``form`` is a body that is in memory and is no ``body`` to be read. Raises ValueError,
        without a credential in it, where the client has none that can be sent, or where TokenLab's
        key cannot be taken out of a request for another host.
        """
        if operation is None and decision.format:
            self._learn_address(url)
        read = RequestBody.read(body) if body is not None else None
        fields = read or _NO_BODY
        asked = call.model if call.model is not None else fields.text("model")
        stream = call.stream if call.stream is not None else fields.is_true("stream")
        if not decision.format or choice.side is None:
            came = Outgoing(method, url, headers, None, decision, subject, "previous", asked)
            name = operation.name if operation is not None else None
            came = replace(came, operation=name, stream=stream and operation is None)
            if operation is not None:
                task = operation.ids[0] if operation.goes == "task" else ""
                came = replace(came, makes=operation.makes, task_id=task)
            return self._at_its_own_url(came, read, form if body is None else body)
        side, proven, bound = choice.side, choice.proven, choice.bound
        is_route_model = operation is None or operation.has_model
        model = self._model(side, decision, asked) if is_route_model else asked
        if side == "tokenlab" and read is None:
            side, model, bound = "previous", asked, False
            proven = operation is None
            self._say_unreadable(decision.route)
        address = self._address(side, decision.route, call, url, model)
        if side == "previous" and self._is_tokenlab(address):
            side = "tokenlab"  # there is no other URL: log the side it really goes to
            self._say_nowhere(decision.route)
        if read is None:
            raw = form if body is None else body
            if side == "previous":
                changed = self._without_own_key(decision.route, read, raw, headers, url)
            else:
                changed = self._without_their_key(decision.route, read, raw, headers, url)
        else:
            changed = self._body(
                fields, model, asked, call, side, decision, headers, operation, url
            )
        task = operation.ids[0] if operation is not None and operation.goes == "task" else ""
        if operation is not None:
            name, makes, stream = operation.name, operation.makes, False
            creates = creates_of(decision.format, fields) if operation.has_model else ""
        else:
            is_stored = decision.format == "openai_responses" and not fields.is_false("store")
            name, makes = None, "response" if is_stored else ""
            creates = creates_of(decision.format, fields)
        out = Outgoing(
            method, address, headers, changed, decision, subject, side, model, stream, creates, url,
            name, proven, bound, choice.moved, makes, task_id=task,
        )  # fmt: skip
        return self._to_side(out, url, decision.route, decision.format)

    def _body(
        self,
        fields: RequestBody,
        model: str,
        asked: str,
        call: Call,
        side: Side,
        decision: Decision,
        headers: Headers,
        operation: Operation | None,
        url: str,
    ) -> bytes | None:
        """Return the body for a side, None where it is unchanged: its model, and no credential."""
        if side == "tokenlab" and operation is not None and operation.has_requests:
            model = self._models.get(side, decision.model)
            changed, left = fields.with_requests(model, self._their_keys(headers, url))
            self._say_left(decision.route, "field", left, _LIKE_ONE, headers, url)
            return changed
        if side == "tokenlab":
            known = () if fields.is_of_the_call else self._their_keys(headers, url)
            left = fields.credentials(known)
            self._say_left(decision.route, "field", left, _LIKE_ONE, headers, url)
        else:
            left = fields.with_secret(self._known_keys())
            self._say_own_key(decision.route, left, headers, url)
        other = model if call.model is None and model != asked else None
        is_changed = left or other is not None or fields.repeats
        return fields.changed(other, left) if is_changed else None

    def _without_own_key(
        self,
        route: str,
        fields: RequestBody | None,
        raw: bytes | None,
        headers: Headers,
        url: str,
    ) -> bytes | None:
        """Return a body without TokenLab's key, None where it is unchanged.

        ``fields`` are those of a JSON object; ``raw`` is any other body, None where it is passed
        on unread. Raises ValueError where the key cannot be taken out.
        """
        keys = self._known_keys()
        if fields is not None:
            left = fields.with_secret(keys)
            changed = fields.changed(None, left) if left or fields.repeats else None
        else:
            changed, left = without_keys(raw, headers, keys) if raw else (None, [])
        self._say_own_key(route, left, headers, url)
        return changed

    def _without_their_key(
        self,
        route: str,
        fields: RequestBody | None,
        raw: bytes | None,
        headers: Headers,
        url: str,
    ) -> bytes | None:
        """Return a body for TokenLab's own address without a credential of the previous provider.

        The arguments are those of ``_without_own_key``. Raises ValueError where one cannot be
        taken out.
        """
        changed: bytes | None = None
        left: list[str] = []
        if fields is not None:
            known = () if fields.is_of_the_call else self._their_keys(headers, url)
            left = fields.credentials(known)
            changed = fields.changed(None, left) if left or fields.repeats else None
        elif raw:
            known = [key for key in self._their_keys(headers, url) if len(key) >= LEAST_SECRET]
            changed, left = without_keys(raw, headers, known, "the previous provider")
        self._say_left(route, "field", left, _LIKE_ONE, headers, url)
        return changed

    def _their_keys(self, headers: Headers, url: str) -> list[str]:
        """Return the credentials that a request has for the previous provider."""
        found = credentials_in(headers, urlsplit(url).query, self._forward)
        return [*found, *self._own_previous_key]

    def aside(
        self,
        method: str,
        url: str,
        headers: Headers,
        subject: Subject,
        body: bytes | None = None,
        form: bytes | None = None,
    ) -> Outgoing:
        """Return a request that is no call and no operation of the route, to pass through.

        Raises ValueError where one side's key cannot be taken out of one for another host.
        """
        came = Outgoing(method, url, headers, None, None, subject)
        read, raw = RequestBody.read(body) if body else None, form if body is None else body
        return self._as_it_came(replace(came, body=self._its_own_body(came, read, raw)))

    def _its_own_body(
        self, came: Outgoing, fields: RequestBody | None, raw: bytes | None
    ) -> bytes | None:
        """Return the body of a request for the URL that it came with, None where unchanged."""
        route = came.subject.route or ""
        if self._is_tokenlab(came.url):
            return self._without_their_key(route, fields, raw, came.headers, came.url)
        return self._without_own_key(route, fields, raw, came.headers, came.url)

    def _at_its_own_url(
        self, came: Outgoing, fields: RequestBody | None, raw: bytes | None
    ) -> Outgoing:
        """Return a request for the URL that the SDK asks for, as nobody knows another."""
        route = came.subject.route or ""
        if came.operation is None:
            self._say_route_is_unknown(route)
        kept = self._its_own_body(came, fields, raw)
        side: Side = "tokenlab" if self._is_tokenlab(came.url) else "previous"
        return self._as_it_came(replace(came, body=kept, side=side, proven=came.operation is None))

    def _model(self, side: Side, decision: Decision, asked: str) -> str:
        if side in self._models:
            return self._models[side]
        return (decision.model or asked) if side == "tokenlab" else asked

    def _address(self, side: Side, route: str, call: Call, url: str, model: str = "") -> str:
        """Return the URL of a call: below the side's base URL, or its own."""
        file = self.gate.file
        if side == "tokenlab":
            base = file.base_url if file is not None else ""
        else:
            found = file.routes.get(route) if file is not None else None
            base = found.previous_base_url if found else ""
        address = _remembered_address if is_remembered(url) else _address
        # A model of the body is no part of the URL, and may be of any length.
        return address(base, side, call, url, model if call.written else "")

    def _to_side(self, out: Outgoing, came: str, route: str, route_format: str) -> Outgoing:
        """Return a request with the credential of its side, and none of another.

        ``came`` is the URL that it was made for.
        """
        parts = urlsplit(out.url)
        if out.side == "tokenlab":
            query = parts.query
            known = [*credentials_in_query(query), *self._own_previous_key]
            headers, left = for_tokenlab(out.headers, self._forward, known)
            self._say_headers_left(route, left, out.headers, came)
            if query:
                query, dropped = query_for_tokenlab(query, self._their_keys(out.headers, came))
                why = "TokenLab's contract has none such"
                self._say_left(route, "query parameter", dropped, why, out.headers, came)
            credential = self._key()
        else:
            own = self._previous_key if self._may_have_own_key(out, route) else None
            headers, query = self._for_previous(out, parts, came, route, own=own is not None)
            if own is None:
                return replace(out, url=_with_query(out.url, query), headers=headers)
            credential = _given(own, "previous_key")
        add_missing(headers, auth_headers(route_format, out.side or "previous", credential))
        return replace(out, url=_with_query(out.url, query), headers=headers)

    def _may_have_own_key(self, out: Outgoing, route: str) -> bool:
        """Return whether a request for the previous side may have the client's key for it.

        Without a base URL in the file, an operation is for whatever host the application names:
        the key goes to one that the client asks for the API, or with an id that the side made.
        """
        if self._previous_key is None or out.is_call:
            return True
        if self._previous_base(route):
            return self._own_key_for(out.url, route) is not None
        if out.bound or self._is_clients(out.url):
            return True
        self._say_host_is_unknown(route)
        return False

    def _own_key_for(self, url: str, route: str) -> tuple[str, Credential] | None:
        """Return the route's format and the previous provider's key, if the URL is one of its.

        A key of the client's own goes below the base URL of the route's previous provider alone.
        """
        file = self.gate.file
        found = file.routes.get(route) if file is not None else None
        if self._previous_key is None or found is None or not found.previous_base_url:
            return None
        is_its = _is_below(url, root_of(found.previous_base_url)) and ".." not in path_of(url)
        return (found.format, self._previous_key) if is_its else None

    def _as_it_came(self, out: Outgoing) -> Outgoing:
        """Return a request for its own URL, with the credential of that URL's side alone."""
        parts, route = urlsplit(out.url), out.subject.route or ""
        if not self._is_tokenlab(out.url):
            own = self._own_key_for(out.url, route)
            headers, query = self._for_previous(out, parts, out.url, route, own=own is not None)
            if own is not None:
                credential = _given(own[1], "previous_key")
                add_missing(headers, auth_headers(own[0], "previous", credential))
            return replace(out, url=_with_query(parts.geturl(), query), headers=headers)
        known = [*credentials_in_query(parts.query), *self._own_previous_key]
        headers, left = for_tokenlab(out.headers, self._forward, known)
        self._say_headers_left(route, left, out.headers, out.url)
        known = [*credentials_in(out.headers, "", self._forward), *self._own_previous_key]
        query, _ = query_without(parts.query, known)
        query = _without_credentials(query)
        kind = "gemini_generate_content" if "/v1beta/" in parts.path else "openai_responses"
        auth = auth_headers(kind, "tokenlab", self._key())
        headers += [(name.encode(), value.encode()) for name, value in auth.items()]
        address = _with_query(parts.geturl(), query)
        return replace(out, url=address, headers=headers, keeps_target=False)

    def _key(self) -> str:
        """Return TokenLab's key for a request, and record it, to be recognized in others."""
        key = _given(self._tokenlab_key, "tokenlab_key")
        if key not in self._keys:
            self._keys.append(key)
        return key

    def holds_own_key(self, target: str) -> bool:
        """Return whether a request target, a path and query, has TokenLab's key in it."""
        return path_holds(target, self._known_keys())

    def _known_keys(self) -> Collection[str]:
        """Return the keys of TokenLab that no other host may see.

        A function is asked each time: its key may have been rotated since the last request there.
        """
        if not isinstance(self._tokenlab_key, str):
            with suppress(Exception):  # the function raises again where the key is needed
                self._key()
        return tuple(self._keys)

    def _for_previous(
        self, out: Outgoing, parts: SplitResult, came: str, route: str, *, own: bool
    ) -> tuple[Headers, str]:
        moved, keys = not same_origin(came, out.url), self._known_keys()
        if path_holds(parts.path, keys):
            raise ValueError("the path has TokenLab's key, which no other host is sent")
        headers, left = for_previous(out.headers, keys, own=own, moved=moved)
        query, more = query_without(parts.query, keys)
        self._say_own_key(route, left + more, out.headers, came)
        return headers, _without_credentials(query) if own else query

    def _is_tokenlab(self, url: str) -> bool:
        """Return whether a URL, normalized, is of TokenLab: whatever is below its base URL.

        A previous provider may be reached through another path of the same host: what is below
        its own base URL, the longer one, is not TokenLab's.
        """
        file = self.gate.file
        if file is None or not file.base_url:
            return False
        base = root_of(file.base_url)
        if not _is_below(url, base):
            return False
        path = path_of(base)
        if path and ".." in path_of(url):
            return False  # it leads out of that base URL
        others = {route.previous_base_url for route in file.routes.values()} - {""}
        longer = [one for one in map(root_of, others) if len(path_of(one)) > len(path)]
        return not any(_is_below(url, one) for one in longer)

    def _say_own_key(self, route: str, left: list[str], headers: Headers, url: str) -> None:
        if left:
            shown = ", ".join(self._shown(name, headers, url) for name in left)
            self.gate.report(
                ("own key", route),
                f"requests on route {route} come with TokenLab's key, which the previous provider"
                f" is not sent ({shown}): {self.remedies.previous_key}",
            )

    def _shown(self, name: str, headers: Headers, url: str) -> str:
        """Return the name of a header, parameter or field as it may be shown.

        A key may stand where a name does (``?sk-...``): one that is known, that has the form of
        one, or that looks as random as one is not shown.
        """
        known = [*self._keys, *self._their_keys(headers, url)]
        lowered = name.lower()
        if any(len(key) >= LEAST_SECRET and key.lower() in lowered for key in known):
            return "…"
        text = _LONG_WORD.sub(_cut_if_random, redacted(name))
        return text if len(text) <= 60 and text.isprintable() else f"{text[:60]!r}…"

    def _say_nowhere(self, route: str) -> None:
        self.gate.report(
            ("nowhere", route),
            f"requests on route {route} for the previous provider go to TokenLab, which is where"
            " the SDK sends them: give the route a previous_base_url, or the SDK the previous"
            " provider's base URL",
        )

    def _say_host_is_unknown(self, route: str) -> None:
        self.gate.report(
            ("host", route),
            f"requests on route {route} are sent without previous_key, as nothing says that their"
            " host is the previous provider's: give the route a previous_base_url",
        )

    def _say_unreadable(self, route: str) -> None:
        self.gate.report(
            ("unreadable", route),
            f"requests on route {route} whose body is no JSON object, is compressed, or is given"
            " in pieces, go to the previous provider: nobody can tell what is in them",
        )

    def _say_route_is_unknown(self, route: str) -> None:
        if self.gate.file is not None:
            name = f"route {redacted(route)!r}" if route else "no route"
            self.gate.report(
                ("route", route),
                f"requests come with {name}, which the rollout file does not have: they go where"
                " the SDK sends them, whatever the file's shares are; give client(gate, ROUTE)",
            )

    def _say_headers_left(self, route: str, left: list[str], headers: Headers, url: str) -> None:
        file = self.gate.file
        known = msgspec.structs.astuple(file.subject_headers) if left and file else ()
        left = [name for name in left if name not in known]
        self._say_left(route, "header", left, self.remedies.forward, headers, url)

    def _say_left(
        self,
        route: str,
        what: Literal["header", "query parameter", "field"],
        names: list[str],
        why: str,
        headers: Headers,
        url: str,
    ) -> None:
        """Report what TokenLab is not sent of a request that came with these headers and URL."""
        for name in names:
            shown = self._shown(name, headers, url)
            self.gate.report(
                (what, route, shown),
                f"requests on route {route} have the {what} {shown}, which TokenLab is not sent:"
                f" {why}",
            )


def _cut_if_random(found: re.Match[str]) -> str:
    digits = sum(sign.isdigit() for sign in found[0])
    return f"{found[0][:4]}…" if digits >= 4 else found[0]


def creates_of(route_format: str, fields: RequestBody = _NO_BODY) -> Creates:
    """Return whether a generation of a format creates an async task, to be polled until it ends."""
    kind = kind_of(route_format)
    if route_format in kind.asynchronous:
        return "task"
    if route_format not in kind.perhaps_asynchronous:
        return ""
    return "asked" if fields.is_true("async") else "perhaps"


def _given(credential: Credential, name: str) -> str:
    return checked(credential if isinstance(credential, str) else credential(), name)


def _is_below(url: str, base: str) -> bool:
    """Return whether a URL, normalized, is of the origin and below the path of a base URL."""
    return same_origin(url, base) and f"{path_of(url)}/".startswith(f"{path_of(base)}/")


def _without_credentials(query: str) -> str:
    """Drop the query parameters that are named like a credential, such as Google's ``key``.

    Those that belong to the signature of a URL stay: they are of the host that has made it.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    signed = bool(query) and is_signed(f"?{query}")
    kept = [
        pair
        for pair in pairs
        if not names_credential(pair[0], inside=False)
        or (signed and _OF_A_SIGNATURE.fullmatch(pair[0]))
    ]
    return query if kept == pairs else urlencode(kept)


def _with_query(url: str, query: str) -> str:
    parts = urlsplit(url)
    return url if query == parts.query else parts._replace(query=query).geturl()


def _address(base: str, side: Side, call: Call, url: str, model: str) -> str:
    """Return the URL of a call below a base URL; its own where there is none."""
    return urlsplit(_unnormalized(base, side, call, url, model)).geturl()


def _unnormalized(base: str, side: Side, call: Call, url: str, model: str) -> str:
    came = urlsplit(url)
    # A non-standard path, such as an Azure deployment's, exists on its own host alone: keep it.
    if not base or (side == "previous" and not call.as_usual and same_origin(base, url)):
        return came._replace(path=_with_model_in_path(came.path, call, model)).geturl()
    path = _with_model_in_path(call.path, call, model)
    if side == "tokenlab" and call.written:
        # Google has more versions of its API than TokenLab.
        path = "/v1beta" + path[path.index("/models/") :]
    return root_of(base) + path + (f"?{came.query}" if came.query else "")


_remembered_address = lru_cache(MOST_REMEMBERED)(_address)


def _with_model_in_path(path: str, call: Call, model: str) -> str:
    if not call.written or model == call.model:
        return path
    return path.replace(f"/models/{call.written}", f"/models/{quote(model, safe='')}")
