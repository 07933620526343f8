"""Redact credentials: a type that cannot be printed by accident, and texts that may hold one."""

import re

_MARKS = (
    "sk-", "mt-", "aiza", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "xox", "akia",
    "asia", "eyj", "bearer ", "basic ", "://", "slack", "-----begin", "passw", "pwd", "passphrase",
    "secret", "key", "token",
)  # fmt: skip
"""What every text with a credential holds, in lower case; most texts hold none of it."""

_LOOKS_SECRET = r"(?<![A-Za-z0-9])(sk|mt)-[\w.+/=\-]{6,}"  # noqa: S105
_FORMS = (
    r"AIza[\w\-]{30,}",  # Google
    r"gh[oprsu]_\w{20,}|github_pat_\w{20,}",  # GitHub
    r"xox[a-z]-[\w\-]{10,}",  # Slack
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # AWS
    r"SK-(?:PROJ|ANT)-[\w\-]{6,}",  # typed in capitals
    r"eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*",  # JWT, RFC 7519
)
"""Credentials that are known by their form, the first letters of which are shown."""
_OF_A_FORM = rf"(?<![A-Za-z0-9])(?:{'|'.join(_FORMS)})"
_SHOWN = 4
_AFTER_A_NAME = (
    (r"(?i)\b(Bearer|Basic) [\w.+/=~\-]{8,}", r"\1 …"),
    (r"(://[^\s/:@]*):[^\s/@]+@", r"\1:…@"),
    (r"(hooks\.slack\.com/services/)\S+", r"\1…"),
    (r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[^-]*(-----END [A-Z ]*-----)?", r"\1…"),
    (
        r"(?i)\b((?:\w+[_\-])?(?:password|passwd|pwd|passphrase|secret|api[_\-]?key|token)"
        r"[\"']?(?:\s*=\s*|:(?=\S)|:\s+(?=\S*\d))[\"']?)[^\s\"',;]{4,}",
        r"\1…",
    ),
)
# Patterns are compiled by re's cache when they are first used: all of them take 3 ms.


def redacted(text: str) -> str:
    """Return a text with whatever looks like a credential replaced: ``sk-…``, ``Bearer …``.

    Known are the forms of TokenLab, OpenAI and Anthropic (``sk-``, ``mt-``), Google, GitHub, Slack
    and AWS, JWTs, PEM keys, the password of a URL, and what follows ``password=`` or the like.
    """
    if not _has_mark(text):
        return text
    text = re.sub(_LOOKS_SECRET, r"\1-…", text)
    text = re.sub(_OF_A_FORM, lambda found: f"{found[0][:_SHOWN]}…", text)
    for pattern, shown in _AFTER_A_NAME:
        text = re.sub(pattern, shown, text)
    return text


def _has_mark(text: str) -> bool:
    if text.isascii():  # a search word by word, which takes a fifth of the pattern's time
        lowered = text.lower()
        for mark in _MARKS:  # noqa: SIM110 - a generator takes twice the time
            if mark in lowered:
                return True
        return False
    # Beyond ASCII there are letters that the patterns below take for another's other case.
    return re.search("|".join(_MARKS), text, re.IGNORECASE) is not None


def is_credential(text: str) -> bool:
    """Return whether a text as a whole is a credential rather than a name such as sk-telecom."""
    if re.fullmatch(_OF_A_FORM, text):
        return True
    found = re.fullmatch(r"(sk|mt)-[\w.+/=\-]{16,}", text)
    return found is not None and any(sign.isdigit() for sign in text)


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
