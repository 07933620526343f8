"""Each mirror registers under a lease, with its state: who has a version, and who lags."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256

import msgspec
from msgspec.structs import replace

from rollout_console.changes.spread import Registered
from rollout_console.etcd.answers import Value
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdError
from rollout_console.mirror.mirror import Standing
from rollout_gate.untrusted import UndecodableError, decode_json

LEASE_S = 15
"""TTL of the lease: how long a mirror without a heartbeat is listed, in seconds."""
RENEW_S = 5.0


def mirrors_key(key: str) -> str:
    """Return the key below which the mirrors of a rollout file register."""
    return f"{key}/mirrors"


def servers_key(key: str) -> str:
    """Return the key below which the servers are that have had a mirror: without a lease, so that
    one whose mirror has died is missed."""
    return f"{key}/servers"


class Registration:
    """Keeps the registration of one mirror current; an error of etcd leaves it for the next turn.

    It is written when something has changed, and at least every RENEW_S.
    """

    def __init__(self, client: EtcdClient, key: str, host: str, path: str) -> None:
        self._client = client
        # A host may have several mirrors of a file, in containers with one host name.
        name = f"{host}.{sha256(path.encode()).hexdigest()[:8]}"
        self._key = f"{mirrors_key(key)}/{name}"
        self._server = f"{servers_key(key)}/{name}"
        self._host = host
        self._path = path
        self._lease = 0
        self._said: Standing | None = None
        self._due = 0.0

    def tell(self, standing: Standing) -> None:
        """Write how the mirror stands; raises EtcdError."""
        now = time.monotonic()
        if standing == self._said and now < self._due:
            return
        if not (self._lease and self._client.keep_alive(self._lease)):
            self._lease = self._client.lease(LEASE_S)
        said = Registered(
            self._host, self._path, standing.revision, standing.latched, standing.trouble[:500],
            time.time(), standing.wrote,
        )  # fmt: skip
        self._client.put(self._key, msgspec.json.encode(said), lease=self._lease)
        if not self._client.get(self._server).values:
            self._know_server()  # the first time, or forgotten since
        self._said, self._due = standing, now + RENEW_S

    def _know_server(self) -> None:
        known = Registered(self._host, self._path, at=time.time())
        self._client.put(self._server, msgspec.json.encode(known))

    def end(self) -> None:
        """Take the registration back: the mirror has stopped. The server is still missed."""
        if self._lease:
            with suppress(EtcdError):
                self._know_server()  # since now
                self._client.revoke(self._lease)


def registered(values: Iterable[Value], servers: Iterable[Value] = ()) -> list[Registered]:
    """Return the mirrors that are registered, by host, and of ``servers`` those that have none.

    What is no registration is left out.
    """
    found = {(one.host, one.path): one for one in _decoded(servers, gone=True)}
    found |= {(one.host, one.path): one for one in _decoded(values, gone=False)}
    return [found[place] for place in sorted(found)]


def forget(client: EtcdClient, key: str, host: str) -> int:
    """Forget the servers of that name: they are no more. Return how many it were."""
    below = servers_key(key)
    found = [
        value.key
        for value in client.get(below, prefix=True).values
        for one in _decoded((value,), gone=True)
        if one.host == host
    ]
    for name in found:
        client.delete(name)
    return len(found)


def _decoded(values: Iterable[Value], *, gone: bool) -> Iterator[Registered]:
    for value in values:
        with suppress(UndecodableError):
            yield replace(decode_json(value.data, _REGISTERED), gone=gone)


_REGISTERED = msgspec.json.Decoder(Registered)
