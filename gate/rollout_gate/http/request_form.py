"""The body of a request that is no JSON object: strip one side's key from it before another host
gets it.

What is in a form beside its files are fields, as those of a JSON body. Files, and a body that is
nothing but one, hold what people have written or recorded, which is not searched.
"""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl, urlencode

from rollout_gate.http.credentials import Headers, holds

_BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,256})"|([^\s;"]{1,256}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="?([^";\r\n]{0,256})', re.IGNORECASE)


def without_keys(
    body: bytes, headers: Headers, keys: Collection[str], whose: str = "TokenLab"
) -> tuple[bytes | None, list[str]]:
    """Return a body without the fields that hold one of ``keys``, and the names of those.

    The body is None where it stays as it is. Raises ValueError, without the key in it, where one
    stands in a place that nothing can be taken out of: in a JSON array, or as the body itself.
    """
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    what = kind.partition(b";")[0].strip().lower()
    if what == b"application/x-www-form-urlencoded":
        return _without_pairs(body, keys)
    boundary = _BOUNDARY.search(kind) if what.startswith(b"multipart/") else None
    if boundary is not None:
        return _without_parts(body, boundary[1] or boundary[2], keys)
    text = body.decode("utf-8", "replace")
    bare = text.strip().strip('"')
    if bare in keys or (text.lstrip()[:1] == "[" and holds(text, keys)):
        raise ValueError(f"the body has {whose}'s key, which no other host is sent")
    return None, []


def _without_pairs(body: bytes, keys: Collection[str]) -> tuple[bytes | None, list[str]]:
    pairs = parse_qsl(body.decode("utf-8", "surrogateescape"), keep_blank_values=True,
                      errors="surrogateescape")  # fmt: skip
    left = [pair for pair in pairs if holds("=".join(pair), keys)]
    if not left:
        return None, []
    kept = [pair for pair in pairs if pair not in left]
    return urlencode(kept, errors="surrogateescape").encode(), [name for name, _ in left]


def _without_parts(
    body: bytes, boundary: bytes, keys: Collection[str]
) -> tuple[bytes | None, list[str]]:
    """Drop the parts of a multipart form (RFC 7578) that are no file and hold a key."""
    if not any(key.encode() in body for key in keys):
        return None, []
    kept: list[bytes] = []
    left: list[str] = []
    for part in body.split(b"--" + boundary):
        head, _, _ = part.partition(b"\r\n\r\n")
        is_file = b"filename" in head.lower()
        if holds((head if is_file else part).decode("utf-8", "replace"), keys):
            name = _NAME.search(head)
            left.append(name[1].decode("utf-8", "replace") if name else "a part")
        else:
            kept.append(part)
    return ((b"--" + boundary).join(kept), left) if left else (None, [])
