"""Rewrite one request for its side: the URL, the credential and the model."""

from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Literal
from urllib.parse import SplitResult, urlsplit

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
from rollout_gate.http.request_body import RequestBody
from rollout_gate.http.request_form import without_keys
from rollout_gate.http.request_shape import Call, call_of, origin_of, path_of, same_origin
from rollout_gate.http.routing_reports import Remedies, RoutingReports
from rollout_gate.http.side_url import address_of, is_below, with_query, without_credentials

_MOST_KEYS = 64
"""How many of TokenLab's keys, the latest in a rotation, are recognized in a request."""

_MOST_ADDRESSES = 16
"""How many hosts of a client's generations are remembered."""

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
        self._reports = RoutingReports(gate, self.remedies, self._all_known)
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
        return self._is_clients(url) or (bool(base) and same_origin(url, base))

    def _is_clients(self, url: str) -> bool:
        """Return whether a URL is of a host that this client asks for the API."""
        return origin_of(url) in self._origins

    def _learn_address(self, url: str) -> None:
        """Remember where the application sends its generations: there it has the API.

        TokenLab's host is known by the file, and has the media of other requests as well.
        """
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
            self._reports.unreadable(decision.route)
        address = self._address(side, decision.route, call, url, model)
        if side == "previous" and self._is_tokenlab(address):
            side = "tokenlab"  # there is no other URL: log the side it really goes to
            self._reports.nowhere(decision.route)
        if side == "tokenlab" and operation is not None and operation.has_requests:
            changed = self._batch(fields, decision, headers, url)
        else:
            is_in_body = read is not None and call.model is None
            other = model if is_in_body and model != asked else None
            raw = form if body is None else body
            changed = self._without_keys(side, decision.route, read, raw, headers, url, other)
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

    def _batch(
        self, fields: RequestBody, decision: Decision, headers: Headers, url: str
    ) -> bytes | None:
        """Return a batch of generations for TokenLab, None where it is unchanged."""
        model = self._models.get("tokenlab", decision.model)
        changed, left = fields.with_requests(model, self._their_keys(headers, url))
        self._reports.left(decision.route, "field", left, _LIKE_ONE, headers, url)
        return changed

    def _without_keys(
        self,
        to: Side,
        route: str,
        fields: RequestBody | None,
        raw: bytes | None,
        headers: Headers,
        url: str,
        model: str | None = None,
    ) -> bytes | None:
        """Return a body without the credentials of the side that it does not go to.

        ``fields`` are those of a JSON object, which gets another ``model`` unless that is None;
        ``raw`` is any other body, None where it is passed on unread. Returns None for a body that
        stays as it is. Raises ValueError where a key cannot be taken out.
        """
        changed: bytes | None = None
        left: list[str] = []
        known: Collection[str] = ()
        if to == "previous":
            known = self._known_keys()
        elif fields is None or not fields.is_of_the_call:
            known = self._their_keys(headers, url)
        if fields is not None:
            left = fields.credentials(known) if to == "tokenlab" else fields.with_secret(known)
            if left or model is not None or fields.repeats:
                changed = fields.changed(model, left)
        elif raw:
            whose = "TokenLab" if to == "previous" else "the previous provider"
            known = [key for key in known if len(key) >= LEAST_SECRET or to == "previous"]
            changed, left = without_keys(raw, headers, known, whose)
        if to == "previous":
            self._reports.own_key(route, left, headers, url)
        else:
            self._reports.left(route, "field", left, _LIKE_ONE, headers, url)
        return changed

    def _their_keys(self, headers: Headers, url: str) -> list[str]:
        """Return the credentials that a request has for the previous provider."""
        found = credentials_in(headers, urlsplit(url).query, self._forward)
        return [*found, *self._own_previous_key]

    def _all_known(self, headers: Headers, url: str) -> list[str]:
        """Return the credentials of both sides that are known of a request."""
        return [*self._keys, *self._their_keys(headers, url)]

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
        to: Side = "tokenlab" if self._is_tokenlab(came.url) else "previous"
        return self._without_keys(to, came.subject.route or "", fields, raw, came.headers, came.url)

    def _at_its_own_url(
        self, came: Outgoing, fields: RequestBody | None, raw: bytes | None
    ) -> Outgoing:
        """Return a request for the URL that the SDK asks for, as nobody knows another."""
        route = came.subject.route or ""
        if came.operation is None:
            self._reports.route_is_unknown(route)
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
        return address_of(base, side, call, url, model)

    def _to_side(self, out: Outgoing, came: str, route: str, route_format: str) -> Outgoing:
        """Return a request with the credential of its side, and none of another.

        ``came`` is the URL that it was made for.
        """
        parts = urlsplit(out.url)
        if out.side == "tokenlab":
            query = parts.query
            known = [*credentials_in_query(query), *self._own_previous_key]
            headers, left = for_tokenlab(out.headers, self._forward, known)
            self._reports.headers_left(route, left, out.headers, came)
            if query:
                query, dropped = query_for_tokenlab(query, self._their_keys(out.headers, came))
                why = "TokenLab's contract has none such"
                self._reports.left(route, "query parameter", dropped, why, out.headers, came)
            credential = self._key()
        else:
            own = self._previous_key if self._may_have_own_key(out, route) else None
            headers, query = self._for_previous(out, parts, came, route, own=own is not None)
            if own is None:
                return replace(out, url=with_query(out.url, query), headers=headers)
            credential = _given(own, "previous_key")
        add_missing(headers, auth_headers(route_format, out.side or "previous", credential))
        return replace(out, url=with_query(out.url, query), headers=headers)

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
        self._reports.host_is_unknown(route)
        return False

    def _own_key_for(self, url: str, route: str) -> tuple[str, Credential] | None:
        """Return the route's format and the previous provider's key, if the URL is one of its.

        A key of the client's own goes below the base URL of the route's previous provider alone.
        """
        file = self.gate.file
        found = file.routes.get(route) if file is not None else None
        if self._previous_key is None or found is None or not found.previous_base_url:
            return None
        is_its = is_below(url, root_of(found.previous_base_url)) and ".." not in path_of(url)
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
            return replace(out, url=with_query(parts.geturl(), query), headers=headers)
        known = [*credentials_in_query(parts.query), *self._own_previous_key]
        headers, left = for_tokenlab(out.headers, self._forward, known)
        self._reports.headers_left(route, left, out.headers, out.url)
        known = [*credentials_in(out.headers, "", self._forward), *self._own_previous_key]
        query, _ = query_without(parts.query, known)
        query = without_credentials(query)
        kind = "gemini_generate_content" if "/v1beta/" in parts.path else "openai_responses"
        auth = auth_headers(kind, "tokenlab", self._key())
        headers += [(name.encode(), value.encode()) for name, value in auth.items()]
        address = with_query(parts.geturl(), query)
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
        self._reports.own_key(route, left + more, out.headers, came)
        return headers, without_credentials(query) if own else query

    def _is_tokenlab(self, url: str) -> bool:
        """Return whether a URL, normalized, is of TokenLab: whatever is below its base URL.

        A previous provider may be reached through another path of the same host: what is below
        its own base URL, the longer one, is not TokenLab's.
        """
        file = self.gate.file
        if file is None or not file.base_url:
            return False
        base = root_of(file.base_url)
        if not is_below(url, base):
            return False
        path = path_of(base)
        if path and ".." in path_of(url):
            return False  # it leads out of that base URL
        others = {route.previous_base_url for route in file.routes.values()} - {""}
        longer = [one for one in map(root_of, others) if len(path_of(one)) > len(path)]
        return not any(is_below(url, one) for one in longer)


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
