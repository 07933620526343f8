"""The code of an error in an answer, and the class that a code names.

Sources: the error types of the SDKs of OpenAI, Anthropic and Google (google.rpc.Code), and of
TokenLab's contract, autumn 2026. The enums are open: an unknown code is kept, and its class is
that of the gateway.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

ErrorClass = Literal["contract", "auth", "balance", "rate_limit", "gateway"]

MOST_TEXT = 8192
"""Length in characters to which a code or a finish reason is truncated here. The access log
truncates it further, once it was searched for credentials: a part of one is one as well."""

NO_CODE = "error"
"""The code of an error that has none."""

BY_WORDS: tuple[tuple[ErrorClass, tuple[str, ...]], ...] = (
    ("balance", ("billing", "balance", "insufficient_quota", "quota_exceeded", "payment",
                 "insufficient_funds", "insufficient_credit", "credit_balance")),
    ("rate_limit", ("rate_limit", "ratelimit", "resource_exhausted", "too_many_requests",
                    "throttl")),
    ("auth", ("authentication", "permission", "unauthorized", "unauthenticated", "forbidden",
              "not_authorized", "api_key", "access_denied", "model_not_allowed", "not_owned")),
    ("contract", ("invalid", "not_found", "too_large", "too_long", "context_length", "unsupported",
                  "bad_request", "malformed_request", "failed_precondition", "out_of_range",
                  "unprocessable", "missing_required", "content_policy", "max_length",
                  "unimplemented", "already_exists")),
)  # fmt: skip
"""In order: the first class with a word that occurs in the code."""

_GATEWAY = ("server_error", "internal", "unavailable", "overloaded", "timeout", "api_error",
            "deadline_exceeded", "bad_gateway", "all_channels_failed")  # fmt: skip
_BY_STATUS: Mapping[int, ErrorClass] = {
    401: "auth", 402: "balance", 403: "auth", 429: "rate_limit",
}  # fmt: skip


@lru_cache(maxsize=1024)
def class_of(code: str) -> ErrorClass:
    """Return the class that an error code names; ``gateway`` where it names none."""
    return _named_class(code) or "gateway"


def _named_class(code: str) -> ErrorClass | None:
    if code.isascii() and code.isdigit():
        status = int(code[:9])
        if 400 <= status < 500:
            return _BY_STATUS.get(status, "contract")
        return "gateway" if status >= 500 else None
    lowered = code.lower().replace("-", "_").replace(" ", "_")
    if any(word in lowered for word in _GATEWAY):
        return "gateway"
    return next((of for of, words in BY_WORDS if any(word in lowered for word in words)), None)


def code_of(error: Any) -> str:
    """Return the code of a decoded error object; NO_CODE where it has none, or is a text.

    It is the first of its code, status and type that names a class, texts before numbers: a
    provider's own new code says less than the error's type.
    """
    if not isinstance(error, dict):
        return NO_CODE
    found = [error.get(name) for name in ("code", "status", "type")]
    texts = [code for code in found if isinstance(code, str) and code and code != NO_CODE]
    numbers = [str(code) for code in found if type(code) is int]
    codes = [*texts, *numbers]
    named = (code for code in codes if _named_class(code) is not None)
    return next(named, codes[0] if codes else NO_CODE)[:MOST_TEXT]
