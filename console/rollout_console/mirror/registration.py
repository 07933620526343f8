"""Each mirror tells the cluster how it stands, under a lease: who has a version, and who lags."""

import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256

import msgspec

from rollout_console.changes.spread import Registered
from rollout_console.etcd.client import EtcdClient, Value
from rollout_console.etcd.errors import EtcdError
from rollout_console.mirror.mirror import Standing
from rollout_gate.untrusted import UndecodableError, decode_json

LEASE_S = 15
"""How long a mirror that says nothing any more is listed, in seconds."""
RENEW_S = 5.0


def mirrors_key(key: str) -> str:
    """Return the key below which the mirrors of a rollout file register."""
    return f"{key}/mirrors"


class Registration:
    """Keeps the registration of one mirror current; an error of etcd leaves it for the next turn.

    It is written when something has changed, and at least every RENEW_S.
    """

    def __init__(self, client: EtcdClient, key: str, host: str, path: str) -> None:
        self._client = client
        # A host may have several mirrors of a file, in containers with one host name.
        self._key = f"{mirrors_key(key)}/{host}.{sha256(path.encode()).hexdigest()[:8]}"
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
            self._host, self._path, standing.revision, standing.mod_revision, standing.latched,
            standing.trouble[:500], time.time(),
        )  # fmt: skip
        self._client.put(self._key, msgspec.json.encode(said), lease=self._lease)
        self._said, self._due = standing, now + RENEW_S

    def end(self) -> None:
        """Take the registration back: the mirror has stopped."""
        if self._lease:
            with suppress(EtcdError):
                self._client.revoke(self._lease)


def registered(values: Iterable[Value]) -> list[Registered]:
    """Return the mirrors that are registered, by host; what is no registration is left out."""
    found = []
    for value in values:
        with suppress(UndecodableError):
            found.append(decode_json(value.data, _REGISTERED))
    return sorted(found, key=lambda one: (one.host, one.path))


_REGISTERED = msgspec.json.Decoder(Registered)
