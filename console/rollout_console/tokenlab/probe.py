"""Send one minimal real request in a route's own format, and validate its answer by field."""

from collections.abc import Iterable
from secrets import token_hex
from typing import Any

import msgspec

from rollout_console.tokenlab.shapes import Reading, StreamReader, read_error, read_whole
from rollout_console.tokenlab.single_request import LIMIT_S, Exchange, exchange
from rollout_console.tokenlab.transport import printable
from rollout_gate.file.formats import auth_headers, call_url, text_body
from rollout_gate.file.model import Side
from rollout_gate.secret import Secret, redacted

PROMPT = "Reply with the word ready."

MOST_ID = 100
_MOST_PROBLEM = 300
NO_BILLING = (
    "there is no billing transaction id: what it cost is found by its request id, in the usage"
)
NO_ANSWER = {
    "timeout": "no answer in time",
    "connect": "no connection, or it broke",
    "protocol": "what came is no HTTP answer, or there is no end of it",
}


class Target(msgspec.Struct, frozen=True):
    """The destination of a probe; ``base_url`` is that of its side."""

    route: str
    format: str
    model: str
    side: Side
    base_url: str


class Probe(msgspec.Struct, frozen=True):
    """The result of one probe. ``status`` is 0 without an answer; times are in ms.

    ``problems`` is empty where every field was valid; ``notes`` name missing fields that nobody
    guarantees; ``text`` is the answer's own.
    """

    target: Target
    stream: bool
    status: int
    latency_ms: float
    ttft_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    request_id: str = ""
    billing_id: str = ""
    task_id: str = ""
    error: str = ""
    text: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sent(self) -> bool:
        """Whether a request was sent at all; only a sent one is logged."""
        return bool(self.status or self.error)

    @property
    def ok(self) -> bool:
        """Whether the answer had no problems."""
        return not self.problems


async def probe(
    target: Target,
    key: Secret,
    *,
    stream: bool,
    prompt: str = PROMPT,
    most_tokens: int = 16,
    limit_s: float = LIMIT_S,
) -> Probe:
    """Send one request, without retry, and validate its answer; raises Unsafe and nothing else."""
    reader = StreamReader(target.format) if stream else None
    came = await exchange(
        "POST",
        call_url(target.format, target.base_url, target.model, stream=stream),
        auth_headers(target.format, target.side, key.reveal()),
        _uncached(target, prompt, stream=stream, most_tokens=most_tokens),
        reader=reader,
        limit_s=limit_s,
    )
    found, problems = Reading(), refusal_of(target.format, came, key)
    error: str = came.failure
    if came.status != 200 and not came.failure:
        error = printable(error_of(target.format, came, key)[0]) or "protocol"
    if not problems:
        found = reader.result() if reader else read_whole(target.format, came.data)
        problems = _odd_headers(came, stream) + found.problems
        problems += _odd_answer(target, came, found, stream)
        # A streamed answer is billed only after its headers are sent.
        if target.side == "tokenlab" and not stream and not (found.billing_id or came.billing_id):
            found.notes.append(NO_BILLING)
        if target.side == "tokenlab" and not came.request_id:
            found.notes.append("there is no request id in the headers: support asks for it")
    return Probe(
        target, stream, came.status, came.latency_ms, came.ttft_ms, found.tokens_in,
        found.tokens_out, id_of(key, came.request_id),
        id_of(key, found.billing_id or came.billing_id), "", error, without(key, found.text),
        told(key, problems), told(key, found.notes),
    )  # fmt: skip


def _uncached(target: Target, prompt: str, *, stream: bool, most_tokens: int) -> dict[str, Any]:
    """Return the body of a request that no cache of the gateway answers.

    A nonce misses a cache of exact requests in every format; OpenAI's can ask for none at all.
    """
    if prompt == PROMPT:
        prompt = f"{prompt} ({token_hex(4)})"
    body = text_body(target.format, target.model, prompt, stream=stream, most_tokens=most_tokens)
    if target.side == "tokenlab" and target.format.startswith("openai_"):
        body["cache_control"] = {"type": "no_cache"}
    return body


def without(key: Secret, text: str) -> str:
    """Redact the key in text from a side: some echo it in errors, or anywhere."""
    return text.replace(key.reveal(), "…")


def id_of(key: Secret, text: str) -> str:
    """Sanitize an id to show and log: credentials redacted, control characters replaced, cut to
    100 characters."""
    return printable(redacted(without(key, text))[:MOST_ID])


def told(key: Secret, problems: Iterable[str]) -> tuple[str, ...]:
    """Sanitize problems to show and log, as ``id_of`` does, at 300 characters each."""
    return tuple(printable(redacted(without(key, problem))[:_MOST_PROBLEM]) for problem in problems)


def error_of(route_format: str, came: Exchange, key: Secret) -> tuple[str, str]:
    """Parse an error answer; return its code and message, with the key redacted."""
    return read_error(route_format, came.data, lambda text: redacted(without(key, text)))


def refusal_of(route_format: str, came: Exchange, key: Secret) -> list[str]:
    """Return why there is no successful answer to validate; empty where there is one."""
    if came.failure:
        return [NO_ANSWER[came.failure]]
    if came.status in (200, 201, 202):
        return []
    code, message = error_of(route_format, came, key)
    said = [f"status {came.status} {code}: {message}".rstrip(": ")]
    return said if message else [*said, "the error is not in this format's own shape"]


def _odd_headers(came: Exchange, stream: bool) -> list[str]:
    wanted = "text/event-stream" if stream else "application/json"
    odd = []
    if not came.headers.get("content-type", "").startswith(wanted):
        odd.append(f"the content type is not {wanted}")
    return odd


def _odd_answer(target: Target, came: Exchange, found: Reading, stream: bool) -> list[str]:
    odd = []
    if found.model and not _same_model(found.model, target.model):
        odd.append(f"the answer is of another model: {found.model}")
    if came.headers.get("x-cache-status", "").lower().startswith("hit"):
        odd.append("the answer is from a cache, which proves nothing of the model")
    if stream and found.text and came.ttft_ms is None:
        odd.append("no text came before the end: this is not streamed")
    return odd


def _same_model(answered: str, asked: str) -> bool:
    """Return whether the models match, ignoring a vendor prefix and a snapshot's date suffix."""
    return answered.rsplit("/", 1)[-1].startswith(asked.rsplit("/", 1)[-1])
