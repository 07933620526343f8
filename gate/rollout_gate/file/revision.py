"""A file revision is the SHA-256 of the file's bytes, in lower-case hex."""

SHORT = 12
"""How many characters of a revision are shown to people."""


def revision_of(data: bytes) -> str:
    """Return the revision (64 hex characters) of a rollout file's bytes."""
    import hashlib  # lazy import: it loads OpenSSL, which importing the gate must not wait for

    return hashlib.sha256(data).hexdigest()
