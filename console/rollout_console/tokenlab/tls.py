"""TLS contexts of the console's HTTP clients, shared: loading the CA bundle takes tens of ms."""

import ssl
from functools import cache

import httpx


def tls_context(url: str, *, trust_env: bool) -> ssl.SSLContext:
    """Return the context for a client of one base URL, to be passed as httpx's ``verify``.

    It trusts certifi's bundle, or with ``trust_env`` that of ``$SSL_CERT_FILE`` or
    ``$SSL_CERT_DIR``, as read when the first client was made. For a plain http URL it trusts no CA:
    such a client has no TLS connection to make.
    """
    return _context(trust_env) if url[:6].lower() == "https:" else _no_ca()


@cache
def _context(trust_env: bool) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


@cache
def _no_ca() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
