"""Rewrite the URL of a request for its side: the base URL, the model, and no credential in it."""

import re
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from rollout_gate.file.formats import root_of
from rollout_gate.file.model import Side
from rollout_gate.http.request_body import names_credential
from rollout_gate.http.request_shape import (
    MOST_REMEMBERED,
    Call,
    is_remembered,
    is_signed,
    path_of,
    same_origin,
)

_OF_A_SIGNATURE = re.compile(
    r"x-(?:amz|goog|oss|tos)-.+|(?:aws|google)access(?:key)?id|key-pair-id|token", re.IGNORECASE
)
"""Names of the query parameters beside a signature that look like a credential's."""


def is_below(url: str, base: str) -> bool:
    """Return whether a URL, normalized, is of the origin and below the path of a base URL."""
    return same_origin(url, base) and f"{path_of(url)}/".startswith(f"{path_of(base)}/")


def without_credentials(query: str) -> str:
    """Drop the query parameters that are named like a credential, such as Google's ``key``.

    Those that belong to the signature of a URL stay: they are of the host that has made it.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    signed = bool(query) and is_signed(f"?{query}")
    kept = [
        pair
        for pair in pairs
        if not names_credential(pair[0], inside=False)
        or (signed and _OF_A_SIGNATURE.fullmatch(pair[0]))
    ]
    return query if kept == pairs else urlencode(kept)


def with_query(url: str, query: str) -> str:
    """Return a URL with another query."""
    parts = urlsplit(url)
    return url if query == parts.query else parts._replace(query=query).geturl()


def _address(base: str, side: Side, call: Call, url: str, model: str) -> str:
    return urlsplit(_unnormalized(base, side, call, url, model)).geturl()


def _unnormalized(base: str, side: Side, call: Call, url: str, model: str) -> str:
    came = urlsplit(url)
    # A non-standard path, such as an Azure deployment's, exists on its own host alone: keep it.
    if not base or (side == "previous" and not call.as_usual and same_origin(base, url)):
        return came._replace(path=_with_model_in_path(came.path, call, model)).geturl()
    path = _with_model_in_path(call.path, call, model)
    if side == "tokenlab" and call.written:
        # Google has more versions of its API than TokenLab.
        path = "/v1beta" + path[path.index("/models/") :]
    return root_of(base) + path + (f"?{came.query}" if came.query else "")


_remembered_address = lru_cache(MOST_REMEMBERED)(_address)


def address_of(base: str, side: Side, call: Call, url: str, model: str) -> str:
    """Return the URL of a call to a side: below its base URL, or the call's own without one."""
    address = _remembered_address if is_remembered(url) else _address
    # A model of the body is no part of the URL, and may be of any length.
    return address(base, side, call, url, model if call.written else "")


def _with_model_in_path(path: str, call: Call, model: str) -> str:
    if not call.written or model == call.model:
        return path
    return path.replace(f"/models/{call.written}", f"/models/{quote(model, safe='')}")
