"""The ``metadata`` fault: leak upstream routing data that a gateway must not disclose."""

import json

MARK = "sim-upstream-leak"
"""A canary in every leaked value: a console that shows, logs or exports it fails the test."""

HEADERS = [
    (b"x-upstream-channel", f"channel-{MARK}".encode()),
    (b"x-upstream-url", f"https://{MARK}.invalid/v1".encode()),
]
_FIELDS = {
    "provider_metadata": {"channel_id": f"channel-{MARK}", "url": f"https://{MARK}.invalid/v1"},
    "provider_task_id": f"task-{MARK}",
    "cache_key": f"cache-{MARK}",
}


def with_metadata(body: bytes) -> bytes:
    """Add routing metadata to a JSON object, or to each server-sent event that holds one."""
    lines = body.split(b"\n")
    return b"\n".join(_line(line) for line in lines) if len(lines) > 1 else _line(body)


def _line(line: bytes) -> bytes:
    start = b"data: " if line.startswith(b"data: {") else b""
    if not line.removeprefix(start).startswith(b"{"):
        return line
    try:
        value = json.loads(line.removeprefix(start))
    except ValueError:
        return line
    value |= _FIELDS
    if isinstance(value.get("error"), dict):
        value["error"] |= _FIELDS
    return start + json.dumps(value).encode()
