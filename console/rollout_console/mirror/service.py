"""Follow a key of etcd until a signal: a watch wakes it, a read in between finds what it missed."""

import threading
import time
from collections.abc import Callable

from rollout_console.common.stop_signal import StopSignal
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdError
from rollout_console.etcd.watch import KeyWatch
from rollout_console.mirror.mirror import Mirror
from rollout_console.mirror.registration import Registration

READ_EVERY_S = 2.0
"""How often the key is read without a watch's word, in seconds: a lost watch costs no more."""
LOOK_EVERY_S = 0.25
"""How often the local file is looked at, in seconds."""
_BACK_OFF_S = (0.25, 5.0)


class MirrorService:
    """Keeps one mirror current; ``beat`` gets how it stands, at least once a second or two."""

    def __init__(
        self,
        client: EtcdClient,
        mirror: Mirror,
        registration: Registration,
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._mirror = mirror
        self._registration = registration
        self._tell = tell
        self._changed = threading.Event()
        self._away_since: float | None = None
        self._confirmed_at: float | None = None
        self._unlisted = ""

    def run(self, stop: StopSignal, beat: Callable[[str], None]) -> None:
        """Follow until ``stop``."""
        watched = KeyWatch(
            self._client, self._client.address.key, self._changed.set, self._not_watched
        )
        watched.start(stop)
        due, wait = 0.0, _BACK_OFF_S[0]
        while not stop.is_set():
            if self._changed.is_set() or time.monotonic() >= due:
                self._changed.clear()
                is_well = self.turn()
                wait = _BACK_OFF_S[0] if is_well else min(2 * wait, _BACK_OFF_S[1])
                due = time.monotonic() + (READ_EVERY_S if is_well else wait)
            self._mirror.look()
            beat(self.words())
            self._changed.wait(LOOK_EVERY_S)
        self._registration.end()

    def turn(self) -> bool:
        """Read the key once, and apply it; return whether etcd answered."""
        try:
            answer = self._client.get(self._client.address.key)
            self._mirror.take(
                answer.values[0] if answer.values else None, answer.cluster, answer.revision
            )
            self._confirmed_at = time.monotonic()
        except EtcdError as error:
            if self._away_since is None:
                self._tell(f"{error}; the last good version stays in force")
                self._away_since = time.monotonic()
            return False
        if self._away_since is not None:
            self._tell(f"etcd is back after {time.monotonic() - self._away_since:.0f} s")
            self._away_since = None
        self._register()
        return True

    def _register(self) -> None:
        """Say how the mirror stands; one that may only read mirrors all the same."""
        why = ""
        try:
            self._registration.tell(self._mirror.standing)
        except EtcdError as error:
            why = f"this mirror is not listed: {error}"
        if why and why != self._unlisted:
            self._tell(why)
        self._unlisted = why

    @property
    def lag_s(self) -> float | None:
        """How long ago the file was last known to be what etcd has, in seconds; None: never."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    def words(self) -> str:
        """Return how it stands in one line."""
        standing, lag = self._mirror.standing, self.lag_s
        if standing.trouble:
            return standing.trouble
        if lag is None:
            return "etcd has not answered yet"
        at = f"revision {standing.revision[:12]} of etcd ({standing.mod_revision})"
        known = "current" if lag < 2 * READ_EVERY_S else f"known to be current {lag:.0f} s ago"
        here = f"; rolled back here: {', '.join(standing.latched[:5])}" if standing.latched else ""
        return f"{at}, {known}{here}"

    def _not_watched(self, why: str) -> None:
        self._tell(f"etcd is read every {READ_EVERY_S:.0f} s, not watched: {why}")
