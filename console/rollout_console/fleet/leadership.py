"""Leader election among guards on several hosts: who has the key, under a lease of etcd, acts.

etcd deletes the key of a leader that renews its lease no more, and another guard takes it.
Source: the election of etcd's clientv3/concurrency, without its queue.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress

from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdError, EtcdRefused, EtcdUncertain
from rollout_console.fleet.view import leader_key

LEASE_S = 10
"""How long a leader that has died is the leader, in seconds."""
_RENEW_S = 3.0


class Leadership:
    """As ``LeaderLock``, for the guards of all hosts.

    A leader that cannot reach etcd is it until its lease ends by its own clock; without etcd it
    could change nothing anyway. The time of day counts as well: the monotonic clock of a virtual
    machine stands still while that is suspended.
    """

    def __init__(self, client: EtcdClient, who: str, is_away: Callable[[], bool]) -> None:
        self._client = client
        self._key = leader_key(client.address.key)
        self._who = f"{who} {os.getpid()}"
        self._is_away = is_away
        self._lease = 0
        self._leads = False
        self._until = self._until_time = 0.0
        self._taken_at = 0
        self._due = 0.0
        self._foreign = ""
        self.no_locks = ""
        """Why there can be no election; empty where there can."""

    def hold(self) -> bool:
        """Become or stay the leader; return whether this guard is it."""
        now = time.monotonic()
        is_due = now >= self._due or (self._leads and time.time() >= self._until_time)
        if is_due and not self._is_away():
            self._due = now + (_RENEW_S if self._leads else 1.0)
            try:
                self._foreign = ""
                self._leads = self._renewed(now) or self._taken(now)
                self.no_locks = self._foreign
            except EtcdRefused as error:
                self._leads, self.no_locks = False, str(error)
            except (EtcdAway, EtcdUncertain):
                self._due = now + 1.0
        is_over = time.monotonic() >= self._until or time.time() >= self._until_time
        return self._leads and not is_over

    @property
    def fence(self) -> dict[str, int]:
        """The key with its mod revision as this guard took it (fencing token): a transaction that
        compares it fails where another guard leads by now. Empty before this one has led."""
        return {self._key: self._taken_at} if self._taken_at else {}

    def release(self) -> None:
        """Give it up, so that another guard can lead at once."""
        if self._lease:
            with suppress(EtcdError, RuntimeError):  # RuntimeError: the client is closed
                self._client.revoke(self._lease)
        self._lease, self._leads = 0, False

    def _renewed(self, now: float) -> bool:
        if not (self._leads and self._lease and self._client.keep_alive(self._lease)):
            return False
        self._extend(now)
        return True

    def _extend(self, now: float) -> None:
        ahead_s = time.monotonic() - now  # the lease began before its answer came
        self._until, self._until_time = now + LEASE_S, time.time() - ahead_s + LEASE_S

    def _taken(self, now: float) -> bool:
        """Take the key where nobody has it; a standby only reads."""
        found = self._client.get(self._key).values
        if found and not found[0].lease:  # a guard's has one: it would stay there for ever
            self._foreign = f"{self._key} is no guard's: delete it with etcdctl del {self._key}"
            return False
        if found and found[0].lease != self._lease:
            return False
        if not (self._lease and self._client.keep_alive(self._lease)):
            self._lease = self._client.lease(LEASE_S)
        # A key that is there already was taken by a request whose answer was lost.
        expected = {self._key: found[0].mod_revision if found else 0}
        puts = {self._key: self._who.encode()}
        taken_at = self._client.put_if_unchanged(expected, puts, lease=self._lease)
        if not taken_at:
            return False
        self._taken_at = taken_at
        self._extend(now)
        return True
