"""etcd's v3 API, in JSON, over HTTP: etcd's own gRPC gateway, which each member serves.

Source: etcd's API reference and its JSON gateway (``/v3/kv/range`` and so on, 3.4 and later). It is
httpx and this file in place of a client library: those for Python were last released in 2019, 2020
and 2024 (etcd3-py, etcd3, etcetra), need grpcio, and know neither 3.6 nor today's protobuf. Keys
and values are base64 in that API, and 64-bit integers are strings.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar

import httpx

from rollout_console.etcd.address import EtcdAddress, Login, address_of, login_of, tls_of
from rollout_console.etcd.answers import (
    OTHER_FORM,
    Answer,
    NoEtcd,
    Range,
    answer_of,
    answers_of,
    body_of,
    encoded,
    lines_of,
    nothing_of,
    object_of,
    refusal,
    seconds_ahead,
    text_of,
    tls_trouble,
    why_no_answer,
)
from rollout_console.etcd.errors import EtcdAway, EtcdUncertain

TIMEOUT_S = 2.0
"""How long one member may be silent, in seconds, before the next is asked."""
CLOCK_KNOWN_S = 60.0
"""For how long what a member's answer says of its clock is taken for true, in seconds."""
WATCH_S = 60.0
"""How long a watch may be silent, in seconds; then it is made anew, as its member may be gone."""
MOST_KEYS = 100_000

_NOT_KNOWN = "whether the change was made is not known"
_TOKENS = ("invalid auth token", "auth token is not provided", "user name is empty")

Found = TypeVar("Found")


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
        self._clocks: dict[str, tuple[float, float]] = {}
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
        return self._call("kv/range", Range(key, prefix).request, answer_of)

    def read(self, *ranges: Range, if_changed: tuple[str, int] | None = None) -> tuple[Answer, ...]:
        """Return several ranges as they are at one revision (one transaction that only reads).

        With ``if_changed``, a key and a revision, the last one is read only where that key was set
        after it, and left out else: no member looks through what nobody has changed.
        """
        success = [{"request_range": one.request} for one in ranges]
        body: dict[str, Any] = {"success": success}
        if if_changed is not None:
            key, after = if_changed
            body["failure"] = success[:-1]
            body["compare"] = [
                {"key": encoded(key), "target": "MOD", "result": "GREATER",
                 "mod_revision": str(after)}
            ]  # fmt: skip
        return self._call("kv/txn", body, answers_of)

    def keys(self, key: str) -> list[tuple[str, int]]:
        """Return the keys below ``key/`` and their mod revisions, in the order of these."""
        body = {**Range(key, prefix=True, limit=MOST_KEYS).request, "keys_only": True}
        found = self._call("kv/range", body, answer_of).values
        return [(one.key, one.mod_revision) for one in found]

    def put(self, key: str, data: bytes, *, lease: int = 0) -> None:
        """Set a key, for as long as ``lease`` lives unless that is 0."""
        body = {"key": encoded(key), "value": text_of(data), "lease": str(lease)}
        self._call("kv/put", body, nothing_of, writes=True)

    def put_if_unchanged(
        self, expected: Mapping[str, int], puts: Mapping[str, bytes], *, lease: int = 0
    ) -> int:
        """Set several keys at once if the ``expected`` keys still have these revisions, 0 for a
        key that is not there (compare-and-swap, one transaction).

        Return the revision of the change, 0 where a key has changed and nothing was set.
        """
        compare = [
            {"key": encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(number)}
            for key, number in expected.items()
        ]
        success = [
            {"request_put": {"key": encoded(name), "value": text_of(data), "lease": str(lease)}}
            for name, data in puts.items()
        ]
        return self._call(
            "kv/txn",
            {"compare": compare, "success": success},
            lambda said: int(said["header"]["revision"]) * bool(said.get("succeeded")),
            writes=True,
        )

    def delete(self, *keys: str) -> None:
        """Delete keys, at most 128; one that is not there is none."""
        success = [{"request_delete_range": {"key": encoded(key)}} for key in keys]
        self._call("kv/txn", {"success": success}, nothing_of, writes=True)

    def lease(self, seconds: int) -> int:
        """Return a new lease, which ends unless it is kept alive within that time."""
        body = {"TTL": str(seconds)}
        return self._call("lease/grant", body, lambda said: int(said["ID"]), writes=True)

    def keep_alive(self, lease: int) -> bool:
        """Keep a lease alive; False where it has ended."""
        return self._call(
            "lease/keepalive",
            {"ID": str(lease)},
            lambda said: int(said["result"].get("TTL", 0)) > 0,
        )

    def revoke(self, lease: int) -> None:
        """End a lease, and with it its keys."""
        self._call("lease/revoke", {"ID": str(lease)}, nothing_of, writes=True)

    def watch(self, key: str) -> Iterator[None]:
        """Yield once the watch is in force, and at each change of a key from then on.

        It never says what has changed: whoever watches reads the key, and so needs no order, no
        revision to go on from, and nothing to do about a compaction. Raises EtcdAway when the
        member is silent for WATCH_S, or ends it.
        """
        body = {"create_request": {"key": encoded(key), "progress_notify": True}}
        url = self._members()[0]
        timeout = httpx.Timeout(TIMEOUT_S, read=WATCH_S)
        try:
            with self._http.stream(
                "POST", f"{url}/v3/watch", json=body, headers=self._auth(url), timeout=timeout
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise refusal(response, body_of(response))
                for line in lines_of(response):
                    said = object_of(line)
                    if said is None or not isinstance(said.get("result", {}), dict):
                        raise NoEtcd(_host(url), OTHER_FORM)
                    if "error" in said or said.get("result", {}).get("canceled"):
                        raise EtcdAway(f"{_host(url)} has ended the watch")
                    yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._next(url)
            raise EtcdAway(f"{_host(url)}: the watch broke: {type(error).__name__}") from None
        except (EtcdUncertain, NoEtcd) as error:
            self._next(url)
            raise EtcdAway(str(error)) from None
        self._next(url)
        raise EtcdAway(f"{_host(url)} has ended the watch")

    @property
    def clocks(self) -> dict[str, float]:
        """By how many seconds the clock of each member that answered lately is ahead of this
        host's: of one that is not asked any more it is not known."""
        since = time.monotonic() - CLOCK_KNOWN_S
        return {host: by for host, (by, at) in list(self._clocks.items()) if at >= since}

    def close(self) -> None:
        """Close the connections; a watch in another thread ends."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(
        self, path: str, body: Any, read: Callable[[dict[str, Any]], Found], *, writes: bool = False
    ) -> Found:
        """Return what ``read`` finds in the answer of the first member that can; raises as the
        class does."""
        why = ""
        for url in self._members():
            try:
                return self._ask(url, path, body, read)
            except (EtcdUncertain, NoEtcd) as error:
                if writes:
                    self._next(url)
                    raise EtcdUncertain(f"{error}: {_NOT_KNOWN}") from None
                why = why or str(error)
            except EtcdAway as error:
                why = why or str(error)
            except httpx.ConnectError as error:
                why = why or f"{_host(url)} {tls_trouble(error) or 'cannot be reached'}"
            except httpx.ConnectTimeout:
                why = why or f"{_host(url)} does not answer"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                said = f"{_host(url)} {why_no_answer(error)}"
                if writes:
                    self._next(url)
                    raise EtcdUncertain(f"{said}: {_NOT_KNOWN}") from None
                why = why or said
            self._next(url)
        raise EtcdAway(f"etcd cannot be used: {why}")

    def _ask(
        self, url: str, path: str, body: Any, read: Callable[[dict[str, Any]], Found]
    ) -> Found:
        for again in (True, False):
            response, content = self._post(f"{url}/v3/{path}", body, self._auth(url))
            if response.status_code == httpx.codes.OK:
                said = object_of(content)
                if said is None:
                    raise NoEtcd(_host(url), "its answer is no JSON object")
                try:
                    return read(said)
                except (AttributeError, KeyError, TypeError, ValueError):
                    raise NoEtcd(_host(url), OTHER_FORM) from None
            error = refusal(response, content)
            if not (again and self._login and any(one in str(error) for one in _TOKENS)):
                raise error
            self._token = ""  # it has expired (5 minutes by default): log in again
        raise AssertionError("unreachable")

    def _post(
        self, url: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[httpx.Response, bytes]:
        asked = time.time()
        with self._http.stream("POST", url, json=body, headers=headers) as response:
            if (ahead := seconds_ahead(response, asked, time.time())) is not None:
                self._clocks[response.request.url.host] = ahead, time.monotonic()
            return response, body_of(response)

    def _auth(self, url: str) -> dict[str, str]:
        if self._login is None:
            return {}
        with self._lock:
            if not self._token:
                body = {"name": self._login.name, "password": self._login.password}
                response, content = self._post(f"{url}/v3/auth/authenticate", body, {})
                if response.status_code != httpx.codes.OK:
                    raise refusal(response, content)
                self._token = str((object_of(content) or {}).get("token", ""))
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


def _host(url: str) -> str:
    return url.partition("://")[2]
