"""Say in words why a connection failed, by the error of the system that httpx's own hides."""

import errno
import socket
import ssl
from collections.abc import Iterator

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.ETIMEDOUT: "no connection in time",
    errno.ENETUNREACH: "no route to it",
    errno.EHOSTUNREACH: "no route to it",
    errno.EMFILE: "no file descriptor is left here",
    errno.ENFILE: "no file descriptor is left here",
    errno.EADDRNOTAVAIL: "no local port is left here",
    errno.EACCES: "forbidden here, as by a firewall",
    errno.EPERM: "forbidden here, as by a firewall",
}


def failure_words(error: BaseException) -> str:
    """Return an error of a connection as its class, with the cause where the system names one:
    ``ConnectError (connection refused)``."""
    name = type(error).__name__
    words = next(filter(None, map(_words, _causes(error))), "")
    return f"{name} ({words})" if words else name


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came of, also of several attempts (an ExceptionGroup)."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from _causes(one)
        error = error.__cause__ or error.__context__


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'the handshake failed').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    return _WORDS.get(error.errno or 0, "") if isinstance(error, OSError) else ""
