"""Turn the series of an answer into counts by code, by route, org, side and step."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from rollout_console.health.log.record import StatusClass, classify
from rollout_console.health.log.unusable import Unusable
from rollout_console.health.prometheus.answers import Native, Series, number_of
from rollout_console.health.windows.codes import (
    BAD,
    BUCKETS,
    FILTERED,
    FIRST_TOKEN,
    GATEWAY,
    LATENCY,
    LEFT,
    LENGTH,
    OK,
    REPEATED,
    TRUNCATED,
    UNTIMED,
)
from rollout_console.health.windows.quantiles import bucket_of
from rollout_gate.access_log import MOST_NAME

MOST_COUNT = 10**9
"""A value above this is no count of requests in a few seconds."""

Key = tuple[str, str | None, str]
"""A route, an org (None where the series has no label of that name) and a side."""
Amounts = dict[tuple[float, Key], dict[int, float]]
"""Counts by code, of each step (by its end, in epoch seconds) and key; fractions are possible."""
Bounds = set[tuple[float, float]]
"""Lower and upper bounds of latencies in ms that were counted as one."""

_KINDS = {cls: index for index, cls in enumerate(StatusClass)}
_OF_OUTCOME = {"filtered": FILTERED, "length": LENGTH, "truncated": TRUNCATED, "empty": BAD,
               "error": GATEWAY}  # fmt: skip
_OUTCOMES = ("", "ok", "abandoned", *_OF_OUTCOME)
_CLASSES = {cls.value: cls for cls in StatusClass}
_ROUNDING = 1e-6
"""A count may be this far below 0: sums of floats are not exact."""


class UnusableError(ValueError):
    """A series has not what is needed; ``str()`` says what."""


class Counting:
    """The counts of one round of answers, and what could not be used of them.

    ``beyond_ms`` is the latency, at least, that stands for those above a histogram's last bound.
    """

    def __init__(self, beyond_ms: float = 0.0) -> None:
        self._beyond_ms = beyond_ms
        self.amounts: Amounts = {}
        self.bounds: dict[str, Bounds] = {}
        """By query, the bounds of histogram buckets."""
        self.series = 0
        self.unusable = Unusable()
        self.without_org = False
        """Whether requests have no label ``org``: then there are no figures by org."""
        self.with_outcome: bool | None = None
        """Whether requests have the label ``outcome``, without which bad answers are not told from
        good ones; None without requests."""

    def add(self, name: str, series: Iterable[Series], share: float) -> None:
        """Add the series of one query; each value counts by ``share`` (0 to 1)."""
        some = list(series)
        self.series += len(some)
        if name in ("requests", "repeated"):
            self._each(some, lambda one: self._add_counter(name, one, share))
        else:
            kind = FIRST_TOKEN if name == "first_token" else LATENCY
            unit = 1.0 if name == "duration_ms" else 1000.0
            native = [one for one in some if one.histograms]
            bounds = self.bounds.setdefault(name, set())
            self._each(native, lambda one: self._add_native(one, kind, unit, share, bounds))
            classic = [one for one in some if not one.histograms]
            self._add_classic(classic, kind, unit, share, bounds)

    def _each(self, series: Iterable[Series], add: Callable[[Series], None]) -> None:
        for one in series:
            try:
                add(one)
            except UnusableError as error:
                self._note(one, str(error))

    def _note(self, series: Series, why: str) -> None:
        named = ", ".join(f"{k}={v[:40]!r}" for k, v in list(series.metric.items())[:4])
        self.unusable = self.unusable.plus(Unusable(1, f"{{{named}}} {why}"))

    def _count(self, at: float, key: Key, code: int, amount: float) -> None:
        if amount:
            of_key = self.amounts.setdefault((at, key), {})
            of_key[code] = of_key.get(code, 0.0) + amount

    def _add_counter(self, name: str, one: Series, share: float) -> None:
        key = key_of(one.metric)
        if key[1] is None and name == "requests":
            self.without_org = True
        labels = one.metric
        if name == "requests":
            self.with_outcome = bool(self.with_outcome) or "outcome" in labels
            code = kind_of(labels.get("class"), labels.get("outcome", "")) * BUCKETS + UNTIMED
        else:
            code = REPEATED * BUCKETS + OK
        if one.histograms:
            raise UnusableError("is a histogram, and no count")
        amounts = [(at, _amount(text)) for at, text in one.values]  # all of it, or nothing
        for at, amount in amounts:
            self._count(at, key, code, amount * share)

    def _add_native(
        self, one: Series, kind: int, unit: float, share: float, bounds: Bounds
    ) -> None:
        key = key_of(one.metric)
        found = [(at, list(_native_parts(histogram, unit))) for at, histogram in one.histograms]
        for at, parts in found:
            for part in parts:
                bounds.add((part.low_ms, part.high_ms))
                code = kind * BUCKETS + self._bucket_of(part.low_ms, part.high_ms)
                self._count(at, key, code, part.amount * share)

    def _add_classic(
        self, series: Iterable[Series], kind: int, unit: float, share: float, bounds: Bounds
    ) -> None:
        """Add classic histograms: cumulative counts, of which each series has those up to ``le``.

        A step without a value in a series has no more there than in the bucket below.
        """
        grouped: dict[Key, dict[float, Mapping[float, float]]] = {}
        for one in series:
            try:
                key, high = key_of(one.metric), _bound_of(one.metric.get("le"))
                amounts = {at: _amount(text) for at, text in one.values}
            except UnusableError as error:
                self._note(one, str(error))
                continue
            of_key = grouped.setdefault(key, {})
            if high in of_key:
                self._note(one, "has a bucket that another series has as well")
                continue
            of_key[high] = amounts
        for key, by_bound in grouped.items():
            low, before = 0.0, dict[float, float]()
            for high in sorted(by_bound):
                for at, cumulated in by_bound[high].items():
                    amount = cumulated - before.get(at, 0.0)
                    if amount > _ROUNDING:
                        code = kind * BUCKETS + self._bucket_of(low * unit, high * unit)
                        self._count(at, key, code, amount * share)
                        before[at] = cumulated
                bounds.add((low * unit, high * unit))
                low = high

    def _bucket_of(self, low_ms: float, high_ms: float) -> int:
        """Return the bucket of the upper bound, so that no latency is taken for a lower one."""
        return bucket_of(high_ms if high_ms < inf else max(2 * low_ms, self._beyond_ms))


def above(limit_ms: float, bounds: Iterable[tuple[float, float]]) -> float:
    """Return the limit from which on a latency is surely over ``limit_ms``.

    Where that is inside a bucket of a histogram, what is in the bucket may be on either side: only
    what is above the bucket is over it for certain; inf where there is nothing above.
    """
    return max((high for low, high in bounds if low < limit_ms < high), default=limit_ms)


class _Part(NamedTuple):
    low_ms: float
    high_ms: float
    amount: float


def key_of(labels: Mapping[str, str]) -> Key:
    """Return route, org and side of a series; raises UnusableError where they are not there."""
    route, org, side = (labels.get(name) for name in ("route", "org", "side"))
    if not route:
        raise UnusableError("has no label route")
    if side not in ("tokenlab", "previous"):
        raise UnusableError(f"has no side tokenlab or previous, but {(side or '')[:40]!r}")
    if len(route) > MOST_NAME or len(org or "") > MOST_NAME:
        raise UnusableError(f"has a name of more than {MOST_NAME} characters")
    return route, org, side


def kind_of(cls: str | None, outcome: str) -> int:
    """Return the kind of requests by the labels ``class`` and ``outcome``.

    A class is a name of StatusClass, an HTTP status, or its hundred: ``5`` or ``5xx``.
    """
    if outcome not in _OUTCOMES:
        raise UnusableError(f"has the outcome {outcome[:40]!r}, which is not known")
    found = _class_of(cls)
    if found is StatusClass.ABANDONED or outcome == "abandoned":
        return LEFT
    if found is StatusClass.OK:
        return _OF_OUTCOME.get(outcome, OK)
    if found is StatusClass.GATEWAY and outcome == "truncated":
        return TRUNCATED
    return _KINDS[found]


def _class_of(text: str | None) -> StatusClass:
    if text is None:
        raise UnusableError("has no label class")
    if (named := _CLASSES.get(text)) is not None:
        return named
    if text.isascii() and text.isdigit() and len(text) == 3:
        return classify(int(text))
    if len(text) in (1, 3) and text[0] in "12345" and text[1:] in ("", "xx"):
        return classify(int(text[0]) * 100)
    if text == "0":
        return StatusClass.GATEWAY
    raise UnusableError(f"has the class {text[:40]!r}, which is not known")


def _amount(text: str) -> float:
    number = number_of(text)
    if number is None:
        raise UnusableError(f"has the value {text[:40]}, which is no count")
    if not -_ROUNDING <= number <= MOST_COUNT:
        raise UnusableError(f"has the value {number:g}, which is no count of a few seconds")
    return max(number, 0.0)


def _bound_of(text: str | None) -> float:
    if text is None:
        raise UnusableError("has no label le, and is no native histogram")
    try:
        bound = float(text)
    except ValueError:
        bound = -1.0
    if not bound >= 0:
        raise UnusableError(f"has the bound {text[:40]!r}, which is no latency")
    return bound


def _native_parts(histogram: Native, unit: float) -> Iterator[_Part]:
    for _, low, high, text in histogram.buckets:
        bounds, amount = (number_of(low), number_of(high)), _amount(text)
        if bounds[1] is None or bounds[0] is None:
            raise UnusableError("has a bucket without bounds")
        if bounds[1] < 0:
            raise UnusableError("has latencies below 0")
        yield _Part(max(bounds[0], 0.0) * unit, bounds[1] * unit, amount)
