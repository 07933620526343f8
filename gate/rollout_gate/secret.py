"""Redact credentials: a type that cannot be printed by accident, and texts that may hold one."""

import re

_CREDENTIAL = re.compile(r"(sk|mt)-[\w.+/=\-]{16,}")
_LOOKS_SECRET = re.compile(r"\b(sk|mt)-[\w.+/=\-]{6,}")


def redacted(text: str) -> str:
    """Return a text with whatever looks like a credential replaced by ``sk-…`` or ``mt-…``."""
    return _LOOKS_SECRET.sub(r"\1-…", text)


def is_credential(text: str) -> bool:
    """Return whether a text as a whole is a credential rather than a name such as sk-telecom."""
    return _CREDENTIAL.fullmatch(text) is not None and any(sign.isdigit() for sign in text)


class Secret:
    """Holds a credential; every way of printing it shows its prefix and nothing more."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the credential itself, for the one place that sends it."""
        return self._value

    @property
    def prefix(self) -> str:
        """``sk-`` or ``mt-``; ``?`` for anything else."""
        return self._value[:3] if self._value[:3] in ("sk-", "mt-") else "?"

    def __repr__(self) -> str:
        return f"Secret({self.prefix}…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")
