"""Decode what Prometheus answers; everything in it is untrusted."""

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

import msgspec

from rollout_console.health.prometheus.errors import PrometheusError
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_SERIES = 200_000
"""Series in an answer, above which it is refused."""

_Number = str
_Bucket = tuple[int, _Number, _Number, _Number]


class Native(msgspec.Struct, frozen=True, gc=False):
    """A native histogram; each of the ``buckets`` has its rule, its two bounds and its count."""

    count: _Number
    buckets: tuple[_Bucket, ...] = ()


class Series(msgspec.Struct, frozen=True, gc=False):
    """One series: its labels, and its values (or histograms) with their times in epoch seconds."""

    metric: dict[str, str]
    values: tuple[tuple[float, _Number], ...] = ()
    histograms: tuple[tuple[float, Native], ...] = ()


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    result_type: str
    result: tuple[Series, ...]


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Data
    warnings: tuple[str, ...] | None = None
    is_partial: bool = msgspec.field(default=False, name="isPartial")
    """VictoriaMetrics' word for an answer without some of its storage, which has no warning."""


class _Refused(msgspec.Struct, frozen=True):
    error: str = ""


class Matrix(NamedTuple):
    """The series of an answer, and what Prometheus warns of: that a part of it may be missing."""

    series: tuple[Series, ...]
    warning: str


_answer_of = msgspec.json.Decoder(_Answer)
_refused_of = msgspec.json.Decoder(_Refused)


def decoded(data: bytes, place: str, hidden: Callable[[str], str]) -> Matrix:
    """Return the matrix that an answer has; raises PrometheusError where it has none.

    ``hidden`` makes a text of the server printable, without a credential that it may echo.
    """
    try:
        answer = decode_json(data, _answer_of)
    except UndecodableError as error:
        raise PrometheusError(
            f"what answers at {place} is no Prometheus: {hidden(str(error))[:200]}"
        ) from None
    if answer.status != "success" or answer.data.result_type != "matrix":
        raise PrometheusError(f"what answers at {place} is no Prometheus: it has no matrix")
    series = answer.data.result
    if len(series) > MOST_SERIES:
        raise PrometheusError(
            f"{place} answers with {len(series):,} series, at most {MOST_SERIES:,} are read: let"
            " the queries sum over fewer labels"
        )
    if len({frozenset(one.metric.items()) for one in series}) < len(series):
        raise PrometheusError(f"{place} answers with the same series twice")
    warning = answer.warnings[0] if answer.warnings else ""
    if answer.is_partial:
        warning = warning or "a part of its storage did not answer (isPartial)"
    return Matrix(series, hidden(warning)[:200])


def reason_of(data: bytes) -> str:
    """Return the error that Prometheus names in an answer that is none; empty without one."""
    try:
        return decode_json(data, _refused_of).error
    except UndecodableError:
        return ""


def number_of(text: str) -> float | None:
    """Return a number as Prometheus writes it, None where it is none, NaN or infinite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
