"""Ask Prometheus for the counts of each step, and tell what of them is new."""

from collections.abc import Mapping, Sequence
from math import floor, inf
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollout_console.common.listing import counted
from rollout_console.health.log.unusable import ALL_USABLE, Unusable
from rollout_console.health.prometheus.answers import Series, number_of
from rollout_console.health.prometheus.counting import Amounts, Bounds, Counting, Key
from rollout_console.health.prometheus.errors import PrometheusError
from rollout_console.health.prometheus.queries import (
    COUNTED,
    LEAST_SCRAPES,
    Query,
    queries_of,
    scrapes_query,
)
from rollout_console.health.windows.count_batch import Counted
from rollout_gate.file.model import PrometheusSource

if TYPE_CHECKING:
    from rollout_console.health.prometheus.client import PrometheusClient

LAG_S = 1.0
"""Seconds after the end of a step until it is asked for: a scrape has the time of its begin."""
REREAD = 4
"""Steps that are asked for anew each time: a slow scrape arrives after its step was read."""
DAY_S = 86_400.0
MUCH_UNUSABLE = 0.01
"""The share of unusable series (0 to 1) above which an answer is not to be trusted."""
MOST_SKEW_S = 5.0
"""Seconds by which Prometheus' clock may differ, beside the time that an answer takes."""

_MOST_STEPS = 10_000
"""Prometheus refuses a range of more than 11,000 points."""
_COARSER = ((3600, 60), (DAY_S, 300))
"""Until how long ago, in seconds, the past is read in steps of which width."""
_CHUNK = 60
"""Steps of the past that are asked for at once."""
_MOST_BOUNDS = 2000
_EXACT = 1e-6
"""What is nearer to a whole number than this is one: sums of floats are not exact."""
_MOST_RESTS = 500_000


class State(msgspec.Struct, frozen=True):
    """How far Prometheus has been read: as of the end of the step ``until`` (epoch seconds).

    ``begins_at`` is since when every step is read, ``newest`` the time of the newest sample, and
    ``past`` whether all of the last day is read. ``trouble`` is what is wrong with the newest
    answers, in a sentence: there is nothing to judge by. ``unscraped`` says which servers the
    figures lack.
    """

    until: float = 0.0
    begins_at: float = inf
    newest: float = 0.0
    trouble: str = ""
    unscraped: str = ""
    past: bool = False
    unusable: Unusable = ALL_USABLE
    without_org: bool = False
    without_outcome: bool = False
    signals: frozenset[str] = frozenset()
    bounds: Mapping[str, frozenset[tuple[float, float]]] = {}


_UNSEEN_STEPS = 3
"""Steps after which what a server counts that is scraped again is in the figures: ``$increase``
looks back for three."""
_MOST_DOWN = 1e6
"""A count of servers that is no mistake of the query."""


def skew_problem(skew_s: float, step_s: int) -> str:
    """Return what is wrong with a clock that is ahead by ``skew_s`` seconds; empty if nothing."""
    if abs(skew_s) <= MOST_SKEW_S + step_s:
        return ""
    way = "ahead of" if skew_s > 0 else "behind"
    return f"its clock is {abs(skew_s):.0f} s {way} this host's"


class _Down(msgspec.Struct, frozen=True):
    """How many servers cannot be scraped now, and could not in the steps before; or what is odd."""

    now: float = 0.0
    lately: float = 0.0
    odd: str = ""

    @property
    def words(self) -> str:
        """Which servers the figures lack; empty where they lack none."""
        if self.odd:
            return self.odd
        if self.now:
            return f"{_servers(self.now)} cannot be scraped"
        return f"{_servers(self.lately)} could not be scraped lately" if self.lately else ""


def _servers(count: float) -> str:
    return counted(max(round(count), 1), "server")


class Reader:
    """Asks for what is new and for what is past, and remembers what was counted; one thread's."""

    def __init__(
        self,
        source: PrometheusSource,
        folder: Path,
        window_s: int,
        beyond_ms: float,
        answer_s: float,
    ) -> None:
        self.state = State()
        self._source = source
        self._step_s = source.step_s
        self._folder = folder
        self._first_s = window_s + (REREAD + 2) * source.step_s
        self._beyond_ms = beyond_ms
        self._answer_s = answer_s
        self._queries = queries_of(source)
        self._client: PrometheusClient | None = None
        self._login: object = None
        self._known: dict[tuple[float, Key], dict[int, float]] = {}
        self._rest: dict[tuple[Key, int], float] = {}
        self._bounds: dict[str, Bounds] = {}

    def close(self) -> None:
        client = self._client
        if client is not None:
            client.close()

    def next_at(self) -> float:
        """Return when the next step is to be asked for (epoch seconds)."""
        return self.state.until + self._step_s + LAG_S

    def is_due(self, now: float) -> bool:
        return now >= self.next_at()

    def failed(self, why: str) -> State:
        """Return the state with what is wrong."""
        self.state = msgspec.structs.replace(self.state, trouble=f"Prometheus: {why}")
        return self.state

    def newest(self, now: float) -> tuple[Sequence[Counted], State]:
        """Return the counts of the steps up to now that were not counted yet."""
        step, client = self._step_s, self._connected()
        until = floor((now - LAG_S) / step) * step
        first = self.state.until + step - (REREAD - 1) * step
        is_gap = (until - first) / step > _MOST_STEPS
        if not self.state.until or is_gap:
            # The boundary to coarser steps is a multiple of theirs.
            first = floor((until - self._first_s) / _COARSER[-1][1]) * _COARSER[-1][1] + step
            first = max(first, until - (_MOST_STEPS - 1) * step)
            self._known.clear()
            self.state = State()
        counting = self._counted(client, min(first, until), until, step)
        newest, trouble = self._latest(client, until)
        down = self._down(client, until)
        begins_at = min(self.state.begins_at, first - step)
        unscraped = down.words
        trouble = self._trouble(counting, newest, trouble, down, until, client.skew_s)
        found = self._fresh(counting.amounts, step)
        self._known = {one: of for one, of in self._known.items() if one[0] > until - REREAD * step}
        self._note_bounds(counting)
        self.state = State(
            until=until,
            begins_at=begins_at,
            newest=newest,
            trouble=f"Prometheus: {trouble}" if trouble else "",
            unscraped=f"Prometheus: {unscraped}" if unscraped else "",
            past=self.state.past,
            unusable=counting.unusable,
            without_org=counting.without_org or self.state.without_org,
            without_outcome=(
                self.state.without_outcome
                if counting.with_outcome is None
                else not counting.with_outcome
            ),
            signals=frozenset(self._queries),
            bounds={name: frozenset(of) for name, of in self._bounds.items()},
        )
        return found, self.state

    def past(self) -> tuple[Sequence[Counted], State]:
        """Return the counts of a stretch before those that are read, in coarser steps."""
        client, begins_at = self._connected(), self.state.begins_at
        age = self.state.until - begins_at
        coarser = ((reach, width) for reach, width in _COARSER if age < reach)
        found = next(coarser, None)
        if found is None:
            self.state = msgspec.structs.replace(self.state, past=True)
            return (), self.state
        width = max(found[1], self._step_s)
        first = begins_at - (_CHUNK - 1) * width
        try:
            counting = self._counted(client, first, begins_at, width)
        except PrometheusError:
            # What is not told of the past is missing there, and holds no verdict on what is new.
            self.state = msgspec.structs.replace(self.state, past=True)
            return (), self.state
        counts = self._fresh(counting.amounts, width, keep=False)
        self._note_bounds(counting)
        self.state = msgspec.structs.replace(self.state, begins_at=first - width)
        return counts, self.state

    def _connected(self) -> "PrometheusClient":
        """Return the client; a new one where a credential or a certificate has changed."""
        from rollout_console.health.prometheus.client import PrometheusClient
        from rollout_console.health.prometheus.login import login_of, tls_of

        login = login_of(self._source, self._folder)
        shown = None if login.authorization is None else login.authorization.reveal()
        if self._client is None or shown != self._login:
            self.close()
            self._client = PrometheusClient(
                self._source.url,
                login,
                tls_of(self._source, self._folder),
                answer_s=self._answer_s,
            )
            self._login = shown
        return self._client

    def _counted(
        self, client: "PrometheusClient", first: float, until: float, step_s: int
    ) -> Counting:
        counting = Counting(self._beyond_ms)
        for name in COUNTED:
            query = self._queries.get(name)
            if query is not None:
                series = self._ask(client, query, first, until, step_s)
                counting.add(name, series, query.share(step_s))
        return counting

    def _ask(
        self, client: "PrometheusClient", query: Query, first: float, until: float, step_s: int
    ) -> Sequence[Series]:
        try:
            found = client.range(query.promql(step_s), first, until, step_s)
        except PrometheusError as error:
            raise PrometheusError(f"{query.name}: {error}") from None
        if found.warning:
            raise PrometheusError(f"{query.name} is answered in part: {found.warning}")
        return found.series

    def _latest(self, client: "PrometheusClient", until: float) -> tuple[float, str]:
        """Return the time of the newest sample, and what is wrong with it or with the scrapes."""
        query = self._queries.get("newest")
        series = self._ask(client, query, until, until, self._step_s) if query else ()
        numbers = [number_of(text) for one in series for _, text in one.values]
        if None in numbers or any(one.histograms for one in series):
            return 0.0, "newest: the answer is no number"
        rarely = self._rarely_scraped(client, until)
        return max((number for number in numbers if number is not None), default=0.0), rarely

    def _down(self, client: "PrometheusClient", until: float) -> _Down:
        """Return the servers that cannot be scraped, also those that could not in the last steps.

        Of a server that is scraped again nothing is counted in the first step, and what it had
        before is never: it is not known to be well, or to have drained, until steps later.
        """
        query = self._queries.get("down")
        if query is None:
            return _Down()
        first = until - _UNSEEN_STEPS * self._step_s
        counts = dict[float, float]()
        for one in self._ask(client, query, first, until, self._step_s):
            for at, text in one.values:
                number = number_of(text)
                if number is None or abs(number) > _MOST_DOWN:
                    return _Down(odd="down: the answer is no number of servers")
                counts[at] = counts.get(at, 0.0) + max(number, 0.0)
        return _Down(counts.get(float(until), 0.0), max(counts.values(), default=0.0))

    def _rarely_scraped(self, client: "PrometheusClient", until: float) -> str:
        """Return that steps are too short for the interval of scrapes; empty where they are not.

        Nothing would be counted then, which looks as if there was no request.
        """
        query = scrapes_query(self._source)
        series = self._ask(client, query, until, until, self._step_s) if query else ()
        counts = [number_of(text) for one in series for _, text in one.values]
        if not counts or any(one is None or one >= LEAST_SCRAPES for one in counts):
            return ""
        return (
            f"servers are scraped too rarely for steps of {self._step_s} s: make prometheus_step"
            " at least the scrape interval"
        )

    def _trouble(
        self,
        counting: Counting,
        newest: float,
        trouble: str,
        down: _Down,
        until: float,
        skew_s: float,
    ) -> str:
        """Return why there is nothing to judge by, empty where there is.

        Servers that cannot be scraped are a reason only where nothing else is scraped either: how
        the others fail is evidence without them.
        """
        lines, why = counting.unusable
        if lines > MUCH_UNUSABLE * counting.series:
            return f"{lines:,} of {counting.series:,} series cannot be used; the first: {why}"
        if problem := skew_problem(skew_s, self._step_s):
            return f"{problem}: set the clocks"
        age = until - newest
        if down.now and age > 2 * self._step_s + MOST_SKEW_S:
            return down.words
        if trouble:
            return trouble
        if not newest:
            return "it has no sample of these requests: no metric, or nothing is scraped"
        if age > 2 * self._step_s + MOST_SKEW_S:
            return f"its newest sample of these requests is {age:.0f} s old: nothing is scraped"
        return ""

    def _fresh(self, amounts: Amounts, step_s: int, *, keep: bool = True) -> list[Counted]:
        """Return what is to be counted in addition, in whole numbers.

        A step that was read before is counted by what it has in addition; a rest below 1, as of an
        extrapolated value, is kept for the next one.
        """
        found = []
        for (at, key), codes in sorted(amounts.items(), key=lambda one: one[0][0]):
            known = self._known.setdefault((at, key), {}) if keep else {}
            whole = {}
            for code, amount in codes.items():
                rest = self._rest.pop((key, code), 0.0) + amount - known.get(code, 0.0)
                known[code] = amount
                count = floor(rest + _EXACT) if rest > 0 else 0
                if count:
                    whole[code] = count
                if abs(rest - count) > _EXACT:
                    self._rest[key, code] = rest - count
            if whole:
                begins_at = at - step_s - self._step_s
                found.append(Counted(*key, begins_at, at, whole))
        if len(self._rest) > _MOST_RESTS:
            self._rest.clear()
        return found

    def _note_bounds(self, counting: Counting) -> None:
        for name, bounds in counting.bounds.items():
            known = self._bounds.setdefault(name, set())
            if len(known) < _MOST_BOUNDS:
                known |= bounds
