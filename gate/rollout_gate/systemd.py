"""Notify systemd of a service's readiness, liveness and shutdown (sd_notify)."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Systemd:
    """Sends notifications to the socket in ``$NOTIFY_SOCKET``; does nothing where there is none.

    Source: the protocol of sd_notify(3), datagrams of ``NAME=VALUE`` lines. ``every_s`` is the
    interval of the watchdog's keep-alive pings, half of ``$WATCHDOG_USEC``; None without one.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.every_s = _every_s(environ)

    def ready(self) -> None:
        """Notify that the service has started (``READY=1``)."""
        self._send("READY=1")

    def keep_alive(self, status: str) -> None:
        """Ping the watchdog, and set the one-line status that ``systemctl status`` shows."""
        self._send(f"STATUS={status}\nWATCHDOG=1")

    def ends(self) -> None:
        """Notify that the service is shutting down (``STOPPING=1``)."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # Best effort, non-blocking: a missing or full socket must not hold up the service.
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            one.sendto(state.encode("utf-8", "replace"), self._address)


def _every_s(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return max(int(environ.get("WATCHDOG_USEC", "")) / 2e6, 0.1)
    except ValueError:
        return None
