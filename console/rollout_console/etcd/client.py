"""etcd's v3 API, in JSON, over HTTP: etcd's own gRPC gateway, which each member serves.

Source: etcd's API reference and its JSON gateway (``/v3/kv/range`` and so on, 3.4 and later). It is
httpx and this file in place of a client library: those for Python were last released in 2019, 2020
and 2024 (etcd3-py, etcd3, etcetra), need grpcio, and know neither 3.6 nor today's protobuf. Keys
and values are base64 in that API, and 64-bit integers are strings.
"""

import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx
import msgspec

from rollout_console.etcd.address import EtcdAddress, Login, address_of, login_of, tls_of
from rollout_console.etcd.errors import EtcdAway, EtcdRefused, EtcdUncertain
from rollout_gate.untrusted import ANYTHING, UndecodableError, decode_json

TIMEOUT_S = 2.0
"""How long one member has to answer, in seconds, before the next is asked."""
WATCH_S = 60.0
"""How long a watch may be silent, in seconds; then it is made anew, as its member may be gone."""
MOST_KEYS = 100_000
MOST_BYTES = 64 * 2**20
_MOST_LINE = 16 * 2**20

_NO_ETCD = "what answers is no etcd: its answer is of another form"
_AWAY = ("no leader", "request timed out", "leader changed", "connection refused", "stopped",
         "not capable", "too many requests", "auth store is not", "transport is closing",
         "unhealthy", "corrupt")  # fmt: skip
_TOKENS = ("invalid auth token", "auth token is not provided", "user name is empty")


class Value(msgspec.Struct, frozen=True):
    """A key's value: ``mod_revision`` is the cluster's revision of its last change."""

    key: str
    data: bytes
    mod_revision: int
    lease: int = 0


class Answer(msgspec.Struct, frozen=True):
    """The values that were asked for, and the cluster and its revision that they are of."""

    values: tuple[Value, ...]
    revision: int
    cluster: int


class Range(msgspec.Struct, frozen=True):
    """What to read: a key, or all keys below ``key/``; of these, those changed after a revision,
    in the order of their changes, and no more than ``limit`` unless that is 0."""

    key: str
    prefix: bool = False
    after: int = 0
    limit: int = 0

    @property
    def request(self) -> dict[str, Any]:
        """The request of etcd's API."""
        body: dict[str, Any] = {"key": _encoded(f"{self.key}/" if self.prefix else self.key)}
        if self.prefix:
            body["range_end"] = _encoded(f"{self.key}0")  # "0" follows "/"
        if self.limit:
            body["limit"] = str(self.limit)
        if self.after:
            body["min_mod_revision"] = str(self.after + 1)
        if self.after or self.limit:
            body |= {"sort_order": "ASCEND", "sort_target": "MOD"}
        return body


class EtcdClient:
    """Asks the members of a cluster, one after the other until one answers (thread-safe).

    Reads are linearizable: what a majority has agreed on. Raises EtcdAway where no member can
    serve a request, EtcdRefused where one refuses it, and EtcdUncertain for a write of which the
    answer was lost.
    """

    def __init__(
        self,
        address: EtcdAddress,
        login: Login | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.address = address
        self._login = login
        self._token = ""
        self._first = 0
        self._lock = threading.Lock()
        self._http = httpx.Client(
            timeout=timeout_s, verify=tls or False, trust_env=False, follow_redirects=False
        )

    @classmethod
    def of(cls, text: str, environ: Mapping[str, str]) -> Self:
        """Return a client of an address, with the login and the TLS files of the environment.

        Raises BadAddress.
        """
        address = address_of(text)
        tls = tls_of(environ) if address.members[0].startswith("https") else None
        return cls(address, login_of(environ), tls)

    def get(self, key: str, *, prefix: bool = False) -> Answer:
        """Return the value of a key, or those of all keys below ``key/`` in order of the key."""
        return _answer(self._call("kv/range", Range(key, prefix).request))

    def read(self, *ranges: Range) -> tuple[Answer, ...]:
        """Return several ranges as they are at one revision (one transaction that only reads)."""
        success = [{"request_range": one.request} for one in ranges]
        said = self._call("kv/txn", {"success": success})
        try:
            parts = [one["response_range"] for one in said["responses"]]
        except (KeyError, TypeError):
            raise EtcdRefused(_NO_ETCD) from None
        return tuple(_answer({**part, "header": said.get("header")}) for part in parts)

    def keys(self, key: str) -> list[tuple[str, int]]:
        """Return the keys below ``key/`` and their mod revisions, in the order of these."""
        body = {**Range(key, prefix=True, limit=MOST_KEYS).request, "keys_only": True}
        found = _answer(self._call("kv/range", body)).values
        return [(one.key, one.mod_revision) for one in found]

    def put(self, key: str, data: bytes, *, lease: int = 0) -> None:
        """Set a key, for as long as ``lease`` lives unless that is 0."""
        body = {"key": _encoded(key), "value": _text(data), "lease": str(lease)}
        self._call("kv/put", body, writes=True)

    def put_if_unchanged(
        self, expected: Mapping[str, int], puts: Mapping[str, bytes], *, lease: int = 0
    ) -> int:
        """Set several keys at once if the ``expected`` keys still have these revisions, 0 for a
        key that is not there (compare-and-swap, one transaction).

        Return the revision of the change, 0 where a key has changed and nothing was set.
        """
        compare = [
            {"key": _encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(number)}
            for key, number in expected.items()
        ]
        success = [
            {"request_put": {"key": _encoded(name), "value": _text(data), "lease": str(lease)}}
            for name, data in puts.items()
        ]
        said = self._call("kv/txn", {"compare": compare, "success": success}, writes=True)
        return int(said.get("header", {}).get("revision", 0)) if said.get("succeeded") else 0

    def delete(self, *keys: str) -> None:
        """Delete keys, at most 128; one that is not there is none."""
        success = [{"request_delete_range": {"key": _encoded(key)}} for key in keys]
        self._call("kv/txn", {"success": success}, writes=True)

    def lease(self, seconds: int) -> int:
        """Return a new lease, which ends unless it is kept alive within that time."""
        return int(self._call("lease/grant", {"TTL": str(seconds)}, writes=True)["ID"])

    def keep_alive(self, lease: int) -> bool:
        """Keep a lease alive; False where it has ended."""
        said = self._call("lease/keepalive", {"ID": str(lease)}).get("result", {})
        return int(said.get("TTL", 0)) > 0

    def revoke(self, lease: int) -> None:
        """End a lease, and with it its keys."""
        self._call("lease/revoke", {"ID": str(lease)}, writes=True)

    def watch(self, key: str) -> Iterator[None]:
        """Yield once the watch is in force, and at each change of a key from then on.

        It never says what has changed: whoever watches reads the key, and so needs no order, no
        revision to go on from, and nothing to do about a compaction. Raises EtcdAway when the
        member is silent for WATCH_S, or ends it.
        """
        body = {"create_request": {"key": _encoded(key), "progress_notify": True}}
        url = self._members()[0]
        timeout = httpx.Timeout(TIMEOUT_S, read=WATCH_S)
        try:
            with self._http.stream(
                "POST", f"{url}/v3/watch", json=body, headers=self._auth(url), timeout=timeout
            ) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise _refusal(response)
                for line in _lines(response):
                    said = _object(line)
                    if "error" in said or said.get("result", {}).get("canceled"):
                        raise EtcdAway(f"{_host(url)} has ended the watch")
                    yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._next(url)
            raise EtcdAway(f"{_host(url)}: the watch broke: {type(error).__name__}") from None
        self._next(url)
        raise EtcdAway(f"{_host(url)} has ended the watch")

    def close(self) -> None:
        """Close the connections; a watch in another thread ends."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, path: str, body: Any, *, writes: bool = False) -> dict[str, Any]:
        """Return what the first member that can says; raises as the class does."""
        why = ""
        for url in self._members():
            try:
                return self._ask(url, path, body)
            except EtcdAway as error:
                why = why or str(error)
            except httpx.ConnectError:
                why = why or f"{_host(url)} cannot be reached"
            except httpx.ConnectTimeout:
                why = why or f"{_host(url)} does not answer"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if writes:
                    self._next(url)
                    raise EtcdUncertain(
                        f"{_host(url)} did not answer ({type(error).__name__}): whether the change"
                        " was made is not known"
                    ) from None
                why = why or f"{_host(url)} did not answer ({type(error).__name__})"
            self._next(url)
        raise EtcdAway(f"etcd cannot be used: {why}")

    def _ask(self, url: str, path: str, body: Any) -> dict[str, Any]:
        for again in (True, False):
            response = self._http.post(f"{url}/v3/{path}", json=body, headers=self._auth(url))
            if response.status_code == httpx.codes.OK:
                if len(response.content) > MOST_BYTES:
                    raise EtcdRefused(f"the answer of {_host(url)} is too long")
                return _object(response.content)
            error = _refusal(response)
            if not (again and self._login and any(one in str(error) for one in _TOKENS)):
                raise error
            self._token = ""  # it has expired (5 minutes by default): log in again
        raise AssertionError("unreachable")

    def _auth(self, url: str) -> dict[str, str]:
        if self._login is None:
            return {}
        with self._lock:
            if not self._token:
                body = {"name": self._login.name, "password": self._login.password}
                response = self._http.post(f"{url}/v3/auth/authenticate", json=body)
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response)
                self._token = str(_object(response.content).get("token", ""))
            return {"Authorization": self._token}

    def _members(self) -> list[str]:
        """Return the members, the one that answered last first."""
        members, first = list(self.address.members), self._first
        return members[first:] + members[:first]

    def _next(self, failed: str) -> None:
        members = self.address.members
        with self._lock:
            if members[self._first] == failed:
                self._first = (self._first + 1) % len(members)


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """Yield the JSON objects of a stream, one to a line; raises EtcdRefused for an endless one."""
    rest = b""
    for piece in response.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _MOST_LINE:
            raise EtcdRefused("an event of etcd is too long")
        yield from (line for line in lines if line.strip())


def _answer(said: dict[str, Any]) -> Answer:
    header = said.get("header", {})
    try:
        values = tuple(
            Value(
                b64decode(one["key"]).decode(),
                b64decode(one.get("value", "")),
                int(one["mod_revision"]),
                int(one.get("lease", 0)),
            )
            for one in said.get("kvs", ())
        )
        return Answer(values, int(header["revision"]), int(header["cluster_id"]))
    except (KeyError, TypeError, ValueError):
        raise EtcdRefused(_NO_ETCD) from None


def _refusal(response: httpx.Response) -> EtcdAway | EtcdRefused:
    """Return the error that an answer is: away where another member may do, or later."""
    said = _object(response.content, strict=False)
    text = said.get("message") or said.get("error") or f"status {response.status_code}"
    shown = " ".join(str(text).split())[:200]
    host = response.request.url.netloc.decode("ascii", "replace")
    if any(word in shown for word in _AWAY) or response.status_code in (502, 503, 504):
        return EtcdAway(f"{host}: {shown}")
    if "too large" in shown or "larger than max" in shown:
        shown = "the file is too large for it (--max-request-bytes of etcd, 1.5 MB by default)"
    return EtcdRefused(f"etcd refuses it: {shown}")


def _object(data: bytes, *, strict: bool = True) -> dict[str, Any]:
    try:
        said = decode_json(data, ANYTHING)
    except UndecodableError:
        said = None
    if isinstance(said, dict):
        return said
    if strict:
        raise EtcdRefused("what answers is no etcd: its answer is no JSON object")
    return {}


def _encoded(key: str) -> str:
    return _text(key.encode())


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _host(url: str) -> str:
    return url.partition("://")[2]
