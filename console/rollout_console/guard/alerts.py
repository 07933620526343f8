"""Alerts, deduplicated by key: each is raised once, and resolved after a time without it.

They are the same for the guard, which sends notifications, and for the screen, where each can be
acknowledged.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from rollout_console.changes.spread import Spread
from rollout_console.common.durations import target_text
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.evidence.culprits import Culprit
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.misrouted import MisroutedRequests
from rollout_console.guard.monitor import Monitor
from rollout_gate.access_log import REVISION_DIGITS
from rollout_gate.file.model import RolloutFile

NO_DATA_S = 120.0
OVER_AFTER_S = 60.0
"""Seconds without an alert's condition until it is over (hysteresis): a flapping alert notifies
once."""
RUNWAY_S = 3600.0
_REMEMBERED = 500
_MOST_SHOWN = 20
"""Limit of the alerts of one kind: condemned orgs of a route, misrouted ones, other versions."""

Level = Literal["warning", "alarm"]
Key = tuple[str, ...]
"""What deduplicates alerts."""


class ModelTrouble(NamedTuple):
    """A problem with a route's model; ``holds`` where it holds raises of the route."""

    sentence: str
    holds: bool


class Alert(msgspec.Struct, frozen=True):
    """One alert. ``key`` is its deduplication key; times are epoch seconds.

    ``org`` is set where it is of one org on the route, ``host`` or ``key_alias`` where one of these
    has the route's errors. ``fact`` is the sentence of a verdict without the verdict's kind.
    """

    key: tuple[str, ...]
    level: Level
    sentence: str
    route: str | None = None
    signal: str = ""
    since: float = 0.0
    seen_at: float = 0.0
    acknowledged_by: str = ""
    org: str | None = None
    host: str | None = None
    key_alias: str | None = None
    fact: str = ""
    is_state: bool = False
    """Whether it is read, not estimated, and so over as soon as it is not there."""


_STALE_AFTER_S = 3.0
"""Staleness in seconds: conditions are evaluated each second, and one that did not hold for longer
is shown as in the past."""


def as_of(alert: Alert, now: float) -> Alert:
    """Return an alert as it is shown at a time: a stale one is a warning with its age.

    It stays open for OVER_AFTER_S (hysteresis): a flapping signal must not notify each time.
    """
    age_s = now - alert.seen_at
    if not alert.seen_at or age_s <= _STALE_AFTER_S:
        return alert
    words = f"last seen {age_s:.0f} s ago: {alert.fact or alert.sentence}"
    return replace(alert, level="warning", fact=words if alert.fact else "", sentence=words)


_BY_FIGURES = frozenset({"verdict", "culprit", "previous"})
"""The first words of the keys of alerts that are over once the figures are well."""


class Alerts:
    """Keeps alerts from one evaluation to the next."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Alert] = {}
        self._begun: deque[Alert] = deque(maxlen=_REMEMBERED)

    @property
    def begun(self) -> Sequence[Alert]:
        """The log of alerts as they were raised, oldest first, at most _REMEMBERED."""
        return self._begun

    @property
    def keys(self) -> Collection[Key]:
        """The keys of the alerts that are not over."""
        return self._known.keys()

    @property
    def open(self) -> list[Alert]:
        """The alerts that are not over, alarms first, then by age, oldest first."""
        order = ("alarm", "warning")
        return sorted(self._known.values(), key=lambda one: (order.index(one.level), one.since))

    def look(
        self, found: Iterable[Alert], now: float, *, blind: bool = False
    ) -> tuple[list[Alert], list[Alert]]:
        """Update with the conditions found now; return the alerts that are new and those over.

        Where nothing is seen (``blind``) no alert by figures is over: it is only not known.
        """
        began, ended = [], []
        for one in found:
            known = self._known.get(one.key)
            since = now if known is None else min(known.since, now)  # the clock may be set back
            by = "" if known is None else known.acknowledged_by
            kept = replace(one, since=since, seen_at=now, acknowledged_by=by)
            self._known[one.key] = kept
            if known is None:
                began.append(kept)
        for key, known in list(self._known.items()):
            if blind and key[0] in _BY_FIGURES:
                continue  # it is not over, it is not known
            if abs(now - known.seen_at) > (0 if known.is_state else OVER_AFTER_S):
                ended.append(self._known.pop(key))
        self._begun += began
        return began, ended

    def acknowledge(self, key: tuple[str, ...], by: str) -> bool:
        """Record who acknowledged an alert; return whether it is still open."""
        known = self._known.get(key)
        if known is not None:
            self._known[key] = replace(known, acknowledged_by=by)
        return known is not None


def alerts_now(
    monitor: Monitor,
    balance: BalanceWatch,
    models: Mapping[str, ModelTrouble],
    file_trouble: str,
    now: float,
    known: Collection[Key] = (),
) -> list[Alert]:
    """Evaluate all alert conditions, and return those that hold now.

    ``models`` has, by route, the problem with its model; ``file_trouble`` is the error of the
    rollout file, empty without one. Of one kind _MOST_SHOWN are returned, those that are ``known``
    to be open before others: one whose condition holds must not be over as another took its place.
    """
    found = []
    if file_trouble:
        found.append(Alert(("file",), "alarm", file_trouble, is_state=True))
    found += _of_servers(monitor.spread, known)
    found += _of_routes(monitor, now, known)
    found += _of_routing(monitor, now, known)
    found += _of_data(monitor, now)
    found += _of_balance(monitor, balance, now)
    found += _of_jobs(monitor, now)
    found += _of_budgets(monitor, now)
    found += _of_runway(monitor, balance, now)
    found += [
        Alert(("model", route), "warning", f"{route}: {trouble.sentence}", route)
        for route, trouble in models.items()
    ]
    return found


def _shown(alerts: Iterable[Alert], known: Collection[Key]) -> list[Alert]:
    """Return the alerts of one kind that are shown: those that are open already come first."""
    return sorted(alerts, key=lambda one: one.key not in known)[:_MOST_SHOWN]


def _of_servers(spread: Spread | None, known: Collection[Key]) -> Iterable[Alert]:
    if spread is None:
        return
    yield from _shown(
        (Alert(("server", key), "alarm", said, is_state=True) for key, said in spread.problems),
        known,
    )
    if wrong := spread.clock_problem:
        yield Alert(("clock", "servers"), "warning", wrong, is_state=True)
    yield from _shown(
        (Alert(("latched", host), "warning", said, is_state=True) for host, said in spread.local),
        known,
    )


def _of_routes(monitor: Monitor, now: float, known: Collection[Key]) -> Iterable[Alert]:
    condemned, culprits = monitor.condemned(now), monitor.culprits(now)
    refused = monitor.refused(now)
    for name, verdict in monitor.verdicts(now).items():
        if verdict.kind == "rollback":
            yield _of_verdict(name, None, verdict)
        yield from _shown(
            (_of_verdict(name, org, of_org) for org, of_org in condemned[name].items()), known
        )
        yield from _shown(
            (_of_verdict(name, org, of_both) for org, of_both in refused[name].items()), known
        )
        for culprit in culprits[name]:
            yield _of_culprit(monitor.file, name, culprit, now)
        if trouble := monitor.previous_now(name, None, now):
            yield Alert(("previous", name), "warning", f"{name}: {trouble}", name)


def _of_routing(monitor: Monitor, now: float, known: Collection[Key]) -> Iterable[Alert]:
    misrouted, behind, far_shares = monitor.routing(now)
    spread = monitor.spread
    # A server that is rolled back by itself decides by a file of its own, and is told for that.
    own = {one[:REVISION_DIGITS] for one in spread.local_revisions} if spread is not None else set()
    behind = [one for one in behind if one.revision not in own]
    misrouted = [one for one in misrouted if not _decided_by(one, own)]
    strays = (
        Alert(
            ("stray", one.route, one.org, one.side), "alarm", one.sentence, one.route, org=one.org
        )
        for one in misrouted
    )
    shares = (
        Alert(("share", far.route, far.org), "warning", far.sentence, far.route, org=far.org)
        for far in far_shares
    )
    writers = (Alert(("writers", late.revision), "warning", late.sentence) for late in behind)
    for found in (strays, shares, writers):
        yield from _shown(found, known)


def _decided_by(one: MisroutedRequests, revisions: set[str]) -> bool:
    """Whether all of them are known to have been decided by one of these."""
    known = sum(one.decided_by.values())
    return known == one.requests and {revision for _, revision in one.decided_by} <= revisions


def _of_verdict(route: str, org: str | None, verdict: Verdict) -> Alert:
    key = ("verdict", route, verdict.signal, *((org,) if org is not None else ()))
    where = target_text(route, org)
    sentence, fact = f"{where}: {verdict.advised}", f"{where}: {verdict.fact}"
    return Alert(key, "alarm", sentence, route, verdict.signal, org=org, fact=fact)


def _of_culprit(file: RolloutFile, route: str, culprit: Culprit, now: float) -> Alert:
    key = ("culprit", route, culprit.label, culprit.name)
    alias = culprit.label == "key_alias"
    if culprit.fails_on_previous:
        advice = "it fails on the previous side as well, so mend it: a rollback does not help"
    elif alias and has_share(file, route, culprit.name):
        advice = "take it back alone, by its own share"
    elif alias:
        advice = "give it a share of its own, or look at what it asks for"
    else:
        advice = "mend that host: a rollback takes all hosts back"
    sentence = f"{route}: {culprit.reason(now)}; {advice}"
    return Alert(
        key, "alarm", sentence, route, culprit.signal,
        host=None if alias else culprit.name, key_alias=culprit.name if alias else None,
    )  # fmt: skip


def has_share(file: RolloutFile, route: str, alias: str) -> bool:
    """Return whether a key alias has a line of its own on a route, with a share of TokenLab."""
    found = file.routes.get(route)
    return found is not None and found.keys.get(alias, 0) > 0


def _of_data(monitor: Monitor, now: float) -> Iterable[Alert]:
    trouble = monitor.log_trouble if monitor.prometheus is None else monitor.no_figures(now)
    if trouble and not monitor.is_asking:
        yield Alert(("log",), "alarm", trouble)
    elif not trouble and (partial := monitor.source_trouble(now)):
        # A key of its own: where no target can be scraped any more, that alert is sent as well.
        sentence = f"{partial}: requests there are not seen"
        yield Alert(("log", "unscraped"), "alarm", sentence)
    if unsent := monitor.unsent.words(now):
        yield Alert(("unsent",), "alarm", unsent)
    if skewed := monitor.skew_words(now):
        yield Alert(("clock",), "warning", skewed)
    if late := monitor.writer_clocks.words(now):
        yield Alert(("clock", "late"), "warning", late)
    words = monitor.unusable_words(now)
    if words and monitor.mostly_unusable(now):
        yield Alert(("lines",), "alarm", words)
    age = monitor.age_s(now)
    if age is not None and age > NO_DATA_S and monitor.prometheus is None:
        yield Alert(("data",), "alarm", f"no line of the access log for {age / 60:.0f} m")


def _of_jobs(monitor: Monitor, now: float) -> Iterable[Alert]:
    verdicts, condemned = monitor.verdicts(now), monitor.condemned(now)
    for route, trouble in monitor.jobs.troubles.items():
        if route not in monitor.file.routes:
            continue
        told = [verdicts[route], *condemned[route].values()]
        is_told = any((one.kind, one.signal) == ("rollback", "jobs") for one in told)
        if (words := trouble.failing) and not is_told:
            advice = "roll back, unless the previous side fails as well"
            yield Alert(("failed_jobs", route), "alarm", f"{route}: {words}; {advice}", route)
        if words := trouble.twice_words:
            yield Alert(("duplicates", route), "warning", f"{route}: {words}", route)
        if words := trouble.open_words:
            yield Alert(("jobs", route), "warning", f"{route}: {words}", route)
    if monitor.jobs.trouble:
        yield Alert(("ledger",), "warning", monitor.jobs.trouble)
        return
    unknown = {
        name: words
        for name, route in monitor.file.routes.items()
        if (words := monitor.job_verdicts.unknown(route, now))
    }
    if unknown:
        named, words = ", ".join(unknown), next(iter(unknown.values()))
        yield Alert(("ledger", "none"), "warning", f"{named}: {words}", next(iter(unknown)))


def _of_balance(monitor: Monitor, balance: BalanceWatch, now: float) -> Iterable[Alert]:
    short = balance.hold(monitor.file.guard.min_balance_usd, now)
    if short and not balance.pending:  # no alert while the first response is outstanding
        yield Alert(("balance",), "alarm", short)
    runway = balance.runway_s()
    if runway is not None and runway < RUNWAY_S:
        yield Alert(("runway",), "alarm", f"the balance lasts for {runway / 60:.0f} m at this rate")


def _of_budgets(monitor: Monitor, now: float) -> Iterable[Alert]:
    """Yield what is near or over, once for each period: a warning, as an alarm is of traffic."""
    file, told = monitor.file, 0
    for one in monitor.budgets.notable(file, now):
        budget, problem = one.budget, one.spend.problem if one.spend is not None else ""
        told += 1
        if told > _MOST_SHOWN:
            continue
        route = budget.route if budget.route in file.routes else None
        org = budget.org or None if route is not None else None
        state, words = "near", f"{one.words_at(now)}: {one.percent}% is spent"
        if problem:
            state, words = "unknown", f"budget {budget.name}: {problem}"
        elif one.is_over:
            from rollout_console.budgets.standing import lowers_words

            lowers = lowers_words(file, one)
            state, words = "over", one.held_words_at(now) + (f"; {lowers}" if lowers else "")
        key = ("budget", budget.name, state, str(one.period.begins))
        yield Alert(key, "warning", words, route, org=org)
    if told > _MOST_SHOWN:
        words = f"{told - _MOST_SHOWN:,} more budgets are near their limit, or over it"
        yield Alert(("budgets", "more"), "warning", f"{words}: see rollout-console budgets")
    if words := monitor.budgets.trouble(file, now):
        yield Alert(("budgets",), "warning", words)


def _of_runway(monitor: Monitor, balance: BalanceWatch, now: float) -> Iterable[Alert]:
    least = max(monitor.file.least_runways_s, default=0)
    if words := monitor.budgets.short_runway(least, balance, now):
        yield Alert(("min_runway",), "warning", words)
