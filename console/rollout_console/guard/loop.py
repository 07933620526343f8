"""The guard without a screen: one turn looks at everything, acts where it may, and tells of it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from shlex import quote

from rollout_console.changes.errors import StoreError
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.errors import OperationError
from rollout_console.guard.alerts import Alert, Alerts, ModelTrouble, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.leader_lock import LeaderLock
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp import Ramps, Standing
from rollout_console.guard.ramp_record import RampRecord
from rollout_console.history.errors import HistoryError
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import Route
from rollout_gate.file.percent import percent_text

PATIENCE_S = 10.0
"""For so many seconds a guard leaves a rollback to the one that has the lock on the file."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell people. ``command`` is what takes it back, or where to look."""

    kind: str
    text: str
    route: str | None = None
    org: str | None = None
    signal: str = ""
    evidence: str = ""
    command: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class LogRead:
    """How many lines were used, how many could not be, and why the first of those could not.

    ``words`` say it while it matters; ``much`` is whether figures are not to be trusted for it.
    """

    lines: int
    unusable: int
    why: str
    words: str
    much: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn saw and did. ``acts`` is whether this guard is the one that may act.

    ``alerts`` is what is wrong in this look; ``log`` says what of the access log could be used, as
    far as it has been read.
    """

    acts: bool
    trouble: str
    verdicts: Mapping[str, Verdict]
    standings: Mapping[str, list[Standing]]
    alerts: list[Alert]
    log: LogRead
    events: list[Event] = field(default_factory=list)


class GuardLoop:
    """Watches one rollout file and its access log, and acts as the file's mode says.

    Mode ``observe`` acts on nothing, ``hold`` raises while the evidence is good, ``enforce`` rolls
    back as well. Of several guards on a file one acts. Read-only, none of it is written.
    """

    def __init__(self, switch: Switch, monitor: Monitor) -> None:
        self._switch = switch
        self._monitor = monitor
        self._lock = LeaderLock(switch.path)
        self._ramps = Ramps(switch, monitor, RampRecord(switch.path))
        self._alerts = Alerts()
        self._acted = False
        self._left_alone: dict[str, float] = {}

    @property
    def alerts(self) -> Alerts:
        """What is wrong, as of the last turn."""
        return self._alerts

    def start(self, now: float, *, wait: bool = True) -> None:
        """Read what there is of log, history and record.

        Without ``wait`` older lines of a long log come with the turns; until then they hold raises.
        """
        self._monitor.remember(self._switch.recorded(), now)
        with suppress(StoreError):  # a broken record holds the ramps alone, and each turn says so
            self._ramps.remember()
        if wait:
            self._monitor.catch_up(now)

    def end(self) -> None:
        """Let another guard act."""
        self._monitor.close()
        self._lock.release()

    def turn(self, balance: BalanceWatch, models: Mapping[str, ModelTrouble], now: float) -> Turn:
        """Look once, and act; ``models`` says by route what is wrong with its model.

        Raises nothing that one turn can mend in the next: it is the turn's ``trouble``.
        """
        events: list[Event] = []
        trouble = self._follow(now, events)
        self._monitor.go_on(now)
        acts = not self._switch.read_only and self._lock.hold()
        if acts != self._acted:
            self._acted = acts
            events.append(Event("guard", "this guard acts" if acts else "another guard acts"))
        no_locks = not self._switch.read_only and self._lock.no_locks
        if no_locks:
            trouble = trouble or (
                f"there are no locks for {self._switch.path} ({no_locks}), by which one of several"
                " guards raises: this one rolls back, and raises nothing"
            )
        standings: dict[str, list[Standing]] = {}
        try:
            if not self._switch.read_only:
                events += self._roll_back(now, acts=acts or bool(no_locks))
            if acts:
                events += [Event("ramp", said) for said in self._ramps.look(now)]
            standings = self._ramps.standings(
                lambda route, org, before, after: (
                    _held_by_model(models.get(route.name))
                    or self._held(route, org, before, after, balance, now)
                )
            )
            if acts and not trouble:
                for event in self._climb(standings, now):
                    events.append(event)  # told, whatever becomes of the next
        except (OperationError, RolloutError, HistoryError) as error:
            trouble = trouble or str(error)
        began, ended = self._alerts.look(
            alerts_now(self._monitor, balance, models, trouble, now), now
        )
        events += [self._alarm(alert) for alert in began]
        events += [Event("over", f"over: {alert.sentence}", alert.route) for alert in ended]
        verdicts = self._monitor.verdicts(now)
        read = self._log_read(now)
        wrong = [alert for alert in self._alerts.open if alert.seen_at == now]
        return Turn(acts, trouble, verdicts, standings, wrong, read, events)

    def _log_read(self, now: float) -> LogRead:
        monitor = self._monitor
        lines, why = monitor.unusable
        words = monitor.unusable_words(now)
        return LogRead(monitor.lines, lines, why, words, monitor.mostly_unusable(now))

    def _follow(self, now: float, events: list[Event]) -> str:
        try:
            found = self._switch.refresh(settled=True)
        except RolloutError as error:
            return str(error)
        if found is not None:
            self._monitor.configure(found[0].file, now)
        if self._switch.history_changed() or found is not None:
            self._monitor.remember(self._switch.recorded(self._monitor.known_to), now)
        if found is not None:
            edit = self._switch.edit
            if found[1] and not edit.ours:
                said = f"the file was changed by {edit.words}"
                kind = "alert" if edit.gives_back else "edit"
                text = f"a rollback is gone: {said}" if edit.gives_back else said
                events.append(Event(kind, text, revision=found[0].revision))
        return ""

    def _held(
        self, route: Route, org: str, before: int, after: int, balance: BalanceWatch, now: float
    ) -> str:
        if route.guard.mode == "observe":
            return "mode observe acts on nothing"
        return self._monitor.held(route.name, org, before, after, balance, now)

    def _roll_back(self, now: float, *, acts: bool) -> list[Event]:
        """Roll back what ought to be; where another is to act, what it has left alone for long.

        It may hang, and whoever holds a lock on the file may be no guard at all, but a backup.
        """
        events = []
        for name, verdict in self._monitor.verdicts(now).items():
            route = self._monitor.file.routes[name]
            may = route.guard.mode == "enforce" and not self._is_latched(route)
            if not (verdict.kind == "rollback" and may and route.most_points):
                self._left_alone.pop(name, None)
            elif acts or now - self._left_alone.setdefault(name, now) >= PATIENCE_S:
                events.append(self._roll_route_back(name, verdict, now))
        return events

    def _roll_route_back(self, name: str, verdict: Verdict, now: float) -> Event:
        plan = self._switch.plan_rollback(name, None, verdict.reason)
        done = self._switch.apply(plan, reason=verdict.reason, verdict=verdict.words)
        self._take_over(done, now)
        sick = self._monitor.previous_trouble(name, None, now)
        text = f"rolled back {name}: {verdict.reason}" + (f"; {sick}" if sick else "")
        return Event(
            "rollback", text, name, None, verdict.signal, verdict.reason,
            self._command("resume", name), done.snapshot.revision,
        )  # fmt: skip

    def _climb(self, standings: Mapping[str, list[Standing]], now: float) -> Iterator[Event]:
        for one in self._ramps.climb(standings, now):
            self._take_over(one.done, now)
            before, after = percent_text(one.before), percent_text(one.after)
            yield Event(
                "raise", f"raised {one.route} / {one.org} from {before}% to {after}%",
                one.route, one.org, command=self._command("rollback", one.route, one.org),
                revision=one.done.snapshot.revision,
            )  # fmt: skip

    def _take_over(self, done: Done, now: float) -> None:
        self._lock.hold()  # it is another file now, and still for this guard to act on
        self._monitor.configure(done.snapshot.file, now)

    def _alarm(self, alert: Alert) -> Event:
        command = self._command("rollback", alert.route) if alert.signal and alert.route else ""
        return Event("alert", alert.sentence, alert.route, None, alert.signal, command=command)

    def _is_latched(self, route: Route) -> bool:
        return self._monitor.file.rolled_back or route.rolled_back

    def _command(self, verb: str, *names: str) -> str:
        words = ["rollout-console", "-f", str(self._switch.path.absolute()), verb, *names]
        return " ".join(quote(word) for word in words)


def _held_by_model(trouble: ModelTrouble | None) -> str:
    return trouble.sentence if trouble is not None and trouble.holds else ""
