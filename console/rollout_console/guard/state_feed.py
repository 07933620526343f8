"""Watch a rollout without a screen and without acting, and report each change of its state once.

Verdicts, alerts and proofs are those of the home screen: ``Monitor`` judges, ``Alerts`` raises.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice

from rollout_console.changes.switch import Switch
from rollout_console.common.durations import going_on, target_text
from rollout_console.common.listing import first_of
from rollout_console.guard.alerts import Alert, Alerts, ModelTrouble, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.draining import Draining
from rollout_console.guard.evidence.verdict import WORDS, Verdict
from rollout_console.guard.file_changes import FileChanges
from rollout_console.guard.following import follow_file
from rollout_console.guard.leader_lock import guard_acts
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.state_change import (
    CALM,
    ROLLBACK,
    WAITS,
    Grade,
    Hysteresis,
    Place,
    StateChange,
    grade_of,
)
from rollout_console.guard.state_summary import (
    alarm_of,
    balance_state,
    guard_state,
    log_state,
    summary_of,
)
from rollout_gate.file.errors import RolloutError

FRESH_AFTER_S = 20.0
"""Seconds until a log counts as fresh again; more than those after which it is stale, so that a log
with a line now and then does not flap."""
GUARD_EVERY_S = 3.0
ORGS_A_TURN = 200
"""Orgs that are judged in a turn, in rotation; those that ask for a rollback are found in each."""
MOST_SINGLY = 5
"""Orgs of a route with the same change that have a line each; more have one together."""
_MOST_NAMED = 3
_LOG: Place = ("log", None)


class StateFeed:
    """Follows one rollout file, its history and its log, a turn at a time; it changes nothing.

    Times are epoch seconds. A clock that is set back ends a wait, and makes none longer.
    """

    def __init__(self, switch: Switch, monitor: Monitor) -> None:
        self._switch = switch
        self._monitor = monitor
        self._alerts = Alerts()
        self._draining = Draining()
        self._verdicts = Hysteresis()
        self._log = Hysteresis(FRESH_AFTER_S)
        self._orgs: Iterator[Place] = iter(())
        self._guard = guard_state(monitor.file, acts=False)
        self._guard_at = 0.0
        self._balance_known = False
        self._has_lines = False

    def start(
        self, balance: BalanceWatch, models: Mapping[str, ModelTrouble], now: float
    ) -> list[StateChange]:
        """Read history and log, and return the summary of the state; the next turns follow it."""
        monitor = self._monitor
        clock = going_on(now)
        recorded = self._switch.recorded()
        now = clock()
        monitor.remember(recorded, now)
        self._files = FileChanges(self._switch, recorded.changes)
        monitor.go_on(now)
        self._alerts.look(alerts_now(monitor, balance, models, "", now), now)
        acts = guard_acts(self._switch)
        self._guard, self._guard_at = guard_state(monitor.file, acts=acts), now
        for name, verdict in monitor.verdicts(now).items():
            if not monitor.file.is_latched(name):
                self._verdicts.note((name, None), grade_of(verdict))
        self._log.note(_LOG, self._log_grade(now))
        self._has_lines = monitor.age_s(now) is not None
        path = self._switch.title
        return [*summary_of(monitor, path, self._alerts.open, guard_acts=acts, now=now)]

    def turn(
        self, balance: BalanceWatch, models: Mapping[str, ModelTrouble], now: float
    ) -> list[StateChange]:
        """Look once; return what has changed since the last look, in the order of cause."""
        return [
            *self._of_file(now),
            *self._of_guard(now),
            *self._of_log(now),
            *self._of_alerts(balance, models, now),
            *self._of_routes(now),
            *self._of_orgs(now),
            *self._of_balance(balance),
            *self._draining.drained(self._monitor, now),
        ]

    def end(self) -> None:
        """Close the log."""
        self._monitor.close()

    def _of_file(self, now: float) -> list[StateChange]:
        before, clock = self._monitor.file, going_on(now)
        try:
            found, rows = follow_file(self._switch, self._monitor, now)
        except RolloutError as error:
            return self._files.unusable(str(error))
        finally:
            self._monitor.go_on(clock())
        if found is not None:
            self._draining.begin(before, found[0].file, now)
            self._guard_at = 0.0
        return self._files.look(found, rows, now)

    def _of_guard(self, now: float) -> Iterator[StateChange]:
        if abs(now - self._guard_at) < GUARD_EVERY_S:
            return
        before, self._guard_at = self._guard, now
        self._guard = guard_state(self._monitor.file, acts=guard_acts(self._switch))
        if self._guard != before:
            yield self._guard

    def _log_grade(self, now: float) -> Grade:
        age = self._monitor.age_s(now)
        is_old = age is None or age > self._monitor.stale_after_s
        return WAITS if is_old or self._monitor.source_trouble(now) else CALM

    def _of_log(self, now: float) -> Iterator[StateChange]:
        grade, before = self._log_grade(now), self._has_lines
        self._has_lines = self._monitor.age_s(now) is not None
        if self._has_lines and not before:
            self._log.note(_LOG, grade)
            yield log_state(self._monitor, now)
        elif self._log.is_due(_LOG, grade, now):
            stale = log_state(self._monitor, now)
            yield stale if grade == WAITS else StateChange("log", self._fresh_words)

    @property
    def _fresh_words(self) -> str:
        is_log = self._monitor.prometheus is None
        return "fresh: new lines arrive" if is_log else "fresh: Prometheus answers"

    def _of_alerts(
        self, balance: BalanceWatch, models: Mapping[str, ModelTrouble], now: float
    ) -> Iterator[StateChange]:
        # An unusable file is told by its own lines, also once its error is another.
        found = alerts_now(self._monitor, balance, models, "", now)
        blind = bool(self._monitor.no_figures(now))
        began, ended = self._alerts.look(found, now, blind=blind)
        for alert in began:
            yield alarm_of(alert)
        for alert in ended:
            yield self._over(alert, now)

    def _over(self, alert: Alert, now: float) -> StateChange:
        text, verdict, (route, org) = alert.sentence, "", (alert.route, alert.org)
        if _is_verdict(alert) and route is not None and route in self._monitor.file.routes:
            found = self._monitor.health(route, org, now).verdict
            latched = self._monitor.file.is_latched(route, org)
            grade = CALM if latched else grade_of(found)
            self._verdicts.note((route, org), grade)
            if grade.rank == ROLLBACK:  # it fell out of the most that have an alert
                return _of_verdict(route, org, found)
            text += f"; now {'rolled back' if latched else found.advised}"
            verdict = found.kind
        return StateChange("over", text, route, org, alert.signal, verdict, alert.level)

    def _alarmed(self) -> set[Place]:
        """Return the routes and orgs of which an alarm tells the verdict, until it is over."""
        return {(one.route or "", one.org) for one in self._alerts.open if _is_verdict(one)}

    def _of_routes(self, now: float) -> Iterator[StateChange]:
        alarmed, file = self._alarmed(), self._monitor.file
        for name, verdict in self._monitor.verdicts(now).items():
            place, grade = (name, None), grade_of(verdict)
            if file.is_latched(name):
                self._verdicts.note(place, CALM)  # the change of the file was told
            elif place in alarmed:
                self._verdicts.note(place, Grade(ROLLBACK, verdict.signal))
            elif self._verdicts.is_due(place, grade, now):
                yield _of_verdict(name, None, verdict)

    def _of_orgs(self, now: float) -> Iterator[StateChange]:
        """Yield the changes of orgs that are worse than their route, or no longer are."""
        file, condemned = self._monitor.file, self._monitor.condemned(now)
        of_routes = {name: grade_of(one) for name, one in self._monitor.verdicts(now).items()}
        alarmed = self._alarmed()
        due: dict[tuple[str, Grade], list[tuple[str, Verdict]]] = defaultdict(list)
        places = dict.fromkeys((name, org) for name, some in condemned.items() for org in some)
        for route, org in (*places, *(one for one in self._next_orgs() if one not in places)):
            if route not in file.routes or org is None:
                continue
            if file.is_latched(route, org):
                self._verdicts.note((route, org), CALM)
                continue
            verdict = condemned[route].get(org) or self._monitor.health(route, org, now).verdict
            grade = grade_of(verdict)
            if (route, org) in alarmed:
                self._verdicts.note((route, org), Grade(ROLLBACK, verdict.signal))
                continue
            if grade.rank <= max(of_routes[route].rank, WAITS.rank):
                grade = CALM
            if self._verdicts.is_due((route, org), grade, now):
                due[route, grade].append((org, verdict))
        for (route, grade), some in due.items():
            yield from _of_org_verdicts(route, grade, some)

    def _next_orgs(self) -> list[Place]:
        """Return the next orgs of the log in rotation, at most ORGS_A_TURN and each once."""
        found = [*islice(self._orgs, ORGS_A_TURN)]
        if not found:
            seen = self._monitor.seen_orgs()
            self._orgs = iter([(route, org) for route, orgs in seen.items() for org in orgs])
            found = [*islice(self._orgs, ORGS_A_TURN)]
        return found

    def _of_balance(self, balance: BalanceWatch) -> Iterator[StateChange]:
        """Yield the balance once it is known; what is wrong with it is an alert."""
        known = balance_state(balance)
        if known is not None and not self._balance_known:
            self._balance_known = True
            yield known


def _is_verdict(alert: Alert) -> bool:
    return alert.key[0] == "verdict"


def _of_verdict(route: str, org: str | None, verdict: Verdict) -> StateChange:
    where = target_text(route, org)
    text = f"{where}: {verdict.advised}"
    return StateChange("verdict", text, route, org, verdict.signal, verdict.kind)


def _of_org_verdicts(
    route: str, grade: Grade, some: list[tuple[str, Verdict]]
) -> Iterator[StateChange]:
    if len(some) <= MOST_SINGLY:
        yield from (_of_verdict(route, org, verdict) for org, verdict in some)
        return
    kind = some[0][1].kind if grade != CALM else "ok"
    signal = f" ({WORDS.get(grade.signal, grade.signal)})" if grade.signal else ""
    named = first_of([org for org, _ in some], _MOST_NAMED)
    text = f"{route}: {len(some):,} orgs {kind}{signal}: {named}"
    yield StateChange("verdict", text, route, signal=grade.signal, verdict=kind)
