"""Error responses, in the envelope of each route's API."""

from typing import Any

from starlette.responses import JSONResponse

_TYPES = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("invalid_api_key", "invalid_api_key"),
    402: ("insufficient_balance", "insufficient_balance"),
    403: ("permission_error", "model_not_allowed"),
    404: ("not_found_error", "not_found"),
    409: ("invalid_request_error", "task_not_cancellable"),
    413: ("invalid_request_error", "payload_too_large"),
    429: ("rate_limit_exceeded", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
    502: ("upstream_error", "upstream_error"),
    503: ("all_channels_failed", "all_channels_failed"),
    504: ("timeout_error", "timeout_error"),
}
_MESSAGES = {
    401: "The API key is not valid.",
    402: "The balance is not sufficient for this request.",
    429: "Too many requests; slow down.",
    500: "Internal error.",
    502: "The upstream provider failed.",
    503: "All channels for this model failed.",
    504: "The upstream provider did not answer in time.",
}
_GEMINI_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ANTHROPIC = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
    403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip
_OPENAI = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
RETRY_AFTER_S = 2


class ApiFault(Exception):
    """An error to respond with; ``extra`` fields are added to the error object."""

    def __init__(self, status: int, message: str = "", code: str = "", **extra: Any) -> None:
        kind, usual = _TYPES.get(status, ("server_error", "server_error"))
        super().__init__(message or _MESSAGES.get(status, "The request failed."))
        self.status = status
        self.kind = kind if code not in _ALL_KINDS else code
        self.code = code or usual
        self.extra = extra


_ALL_KINDS = {
    "expired_api_key", "quota_exceeded", "model_not_found", "async_task_not_found",
    "context_length_exceeded",
}  # fmt: skip


def error_response(
    fault: ApiFault, path: str, *, native: bool = False, as_list: bool = False
) -> JSONResponse:
    """Serialize ``fault`` in the envelope of the route at ``path``.

    ``native`` selects the previous provider's own envelope; ``as_list`` wraps Google's in a JSON
    array, as it does for a stream requested without ``alt=sse``.
    """
    headers = {"Retry-After": str(RETRY_AFTER_S)} if fault.status in (429, 503) else {}
    if path.startswith("/v1beta/"):
        body = google_error(fault)
        return JSONResponse([body] if as_list else body, fault.status, headers)
    if native:
        messages = path.startswith("/v1/messages")
        body = anthropic_error(fault) if messages else openai_error(fault)
        return JSONResponse(body, fault.status, headers)
    body = tokenlab_error(fault)
    if path.startswith("/v1/messages"):
        body = {"type": "error", **body}
    return JSONResponse(body, fault.status, headers)


def tokenlab_error(fault: ApiFault) -> dict[str, Any]:
    """Return TokenLab's own envelope, that of its routes in OpenAI's style."""
    extra = dict(fault.extra)
    whole = {k: extra.pop(k) for k in ("validation_errors",) if k in extra}
    error = {"message": str(fault), "type": fault.kind, "code": fault.code, **extra}
    if fault.status == 503:
        error |= {"retryable": True, "retry_after": RETRY_AFTER_S, "alternatives": []}
    if fault.status == 429:
        error |= {"retryable": True, "retry_after": RETRY_AFTER_S}
    return {"error": error, **whole}


def google_error(fault: ApiFault) -> dict[str, Any]:
    """Return Google's envelope."""
    status = _GEMINI_STATUS.get(fault.status, "INTERNAL")
    return {"error": {"code": fault.status, "message": str(fault), "status": status}}


def anthropic_error(fault: ApiFault) -> dict[str, Any]:
    """Return Anthropic's envelope."""
    kind = _ANTHROPIC.get(fault.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(fault)}}


def openai_error(fault: ApiFault) -> dict[str, Any]:
    """Return OpenAI's envelope."""
    kind, code = _OPENAI.get(fault.status, ("server_error", None))
    param = fault.extra.get("param")
    return {"error": {"message": str(fault), "type": kind, "param": param, "code": code}}
