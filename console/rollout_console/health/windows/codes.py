"""Codes that requests are counted under: a small integer for a kind and the bucket of a latency.

A request has one code for its kind, and where it was streamed or repeated further ones, which are
measurements and no requests of their own.
"""

from rollout_console.health.log.record import AccessRecord, StatusClass, classify
from rollout_console.health.windows.quantiles import bucket_of

BUCKETS = 512
"""A code is the index of a kind times this, plus the bucket of a latency, which is below it."""

_CLASSES = tuple(StatusClass)
TRUNCATED, FILTERED, LENGTH, CACHED = range(len(_CLASSES), len(_CLASSES) + 4)
"""Sub-kinds that are counted apart: of the class ``GATEWAY`` (the first), and of ``OK``."""
KINDS = CACHED + 1
FIRST_TOKEN, UNSEEN_TOKEN, SPEED, REPEATED, LATENCY = range(KINDS, KINDS + 5)
"""Measurements: time to the first token, that of a stream which was left before one came, output
tokens a second, the kind of an answer to a repeated request (in place of a bucket), and the latency
of a request that is counted elsewhere, without one: a source of metrics has these apart."""
CODE_KINDS = LATENCY + 1
UNTIMED = BUCKETS - 1
"""In place of the bucket of a request without a latency of its own."""

OK, CONTRACT, AUTH, BALANCE, RATE_LIMIT, GATEWAY, BAD, LEFT = range(len(_CLASSES))
"""The kinds of the classes, in the order of StatusClass; the last is ``ABANDONED``."""
TIMED = frozenset((OK, LENGTH, FILTERED))
"""Kinds whose latency is judged: a failure's says nothing, and the cache's nothing of the model."""
CLASS_OF_KIND = (*_CLASSES, StatusClass.GATEWAY, StatusClass.OK, StatusClass.OK, StatusClass.OK)
_REQUESTS_END = KINDS * BUCKETS

_LEAST_TOKENS = 10
"""With fewer output tokens a stream's speed says nothing."""
_MOST_KNOWN = 100_000


class _Buckets(dict[float, int]):
    def __missing__(self, latency_ms: float) -> int:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        bucket = self[latency_ms] = bucket_of(latency_ms)
        return bucket


_CODES_OF = [[kind * BUCKETS + bucket for bucket in range(BUCKETS)] for kind in range(CODE_KINDS)]
CODES = [_CODES_OF[_CLASSES.index(classify(status))] for status in range(1000)]
"""Codes by status and latency bucket: preallocated, so that equal codes are one int object."""
BUCKET = _Buckets()
"""Memoized bucket by latency in ms; the cache is cleared when it reaches _MOST_KNOWN."""


def is_request(code: int) -> bool:
    """Return whether a code counts a request, and not a measurement of one."""
    return code < _REQUESTS_END


def kind_of(record: AccessRecord) -> int:
    """Return the kind of a record."""
    of_class = record.status_class
    if of_class is StatusClass.OK:
        if record.outcome == "filtered":
            return FILTERED
        if record.cached:
            return CACHED
        return LENGTH if record.finish_reason == "length" else OK
    if of_class is StatusClass.GATEWAY and (record.outcome or record.error) == "truncated":
        return TRUNCATED
    return _CLASSES.index(of_class)


def code_of(record: AccessRecord) -> int:
    """Return the code that counts a record as a request.

    One that was not sent has no latency: what it waited for was of its own host.
    """
    if record.was_not_sent:
        return _CODES_OF[LEFT][UNTIMED]
    return _CODES_OF[kind_of(record)][BUCKET[record.latency_ms]]


def measurements(record: AccessRecord) -> list[int]:
    """Return the codes of a stream's time to first token and speed.

    There are none for a cached answer, and for a request that was not sent.
    """
    if record.cached or record.was_not_sent:
        return []
    first_ms = record.ttft_ms
    if first_ms is None:
        return [_CODES_OF[UNSEEN_TOKEN][BUCKET[record.latency_ms]]] if record.stream else []
    found = [_CODES_OF[FIRST_TOKEN][BUCKET[first_ms]]]
    rest_ms, tokens = record.latency_ms - first_ms, record.output_tokens
    if tokens is not None and tokens >= _LEAST_TOKENS and rest_ms > 0:
        found.append(_CODES_OF[SPEED][BUCKET[round(1000 * tokens / rest_ms, 1)]])
    return found


def repetition(record: AccessRecord) -> int:
    """Return the code of a second or later attempt: it has the kind of its answer."""
    return _CODES_OF[REPEATED][kind_of(record)]
