"""A file revision is the SHA-256 of the file's bytes, in lower-case hex."""

import hashlib

SHORT = 12
"""How many characters of a revision are shown to people."""


def revision_of(data: bytes) -> str:
    """Return the revision (64 hex characters) of a rollout file's bytes."""
    return hashlib.sha256(data).hexdigest()
