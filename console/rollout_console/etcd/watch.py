"""Watch a key in a thread of its own: a word at each change, whatever becomes of the watch."""

import threading
from collections.abc import Callable

from rollout_console.common.stop_signal import StopSignal
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdError

_BACK_OFF_S = (0.25, 5.0)


class KeyWatch:
    """Calls ``changed`` at each change of a key, and whenever a watch is in force anew.

    A watch that breaks is made again, with back-off; ``refused`` gets why etcd allows none, once.
    """

    def __init__(
        self,
        client: EtcdClient,
        key: str,
        changed: Callable[[], None],
        refused: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._client = client
        self._key = key
        self._changed = changed
        self._refused = refused

    def start(self, stop: threading.Event | StopSignal) -> None:
        """Watch until ``stop``, or until the client is closed."""
        threading.Thread(target=self._run, args=(stop,), daemon=True, name="etcd-watch").start()

    def _run(self, stop: threading.Event | StopSignal) -> None:
        wait, refused = _BACK_OFF_S[0], ""
        while not stop.is_set():
            try:
                for _ in self._client.watch(self._key):
                    self._changed()
                    wait = _BACK_OFF_S[0]
            except EtcdAway:
                stop.wait(wait)
            except EtcdError as error:
                if str(error) != refused:
                    refused = str(error)
                    self._refused(refused)
                stop.wait(_BACK_OFF_S[1])
            except RuntimeError:  # the client was closed
                return
            wait = min(2 * wait, _BACK_OFF_S[1])
