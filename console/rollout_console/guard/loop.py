"""The guard's control loop, without a screen: each turn observes, acts and reports events."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from shlex import quote
from time import monotonic

import msgspec

from rollout_console.changes.errors import StoreError
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.durations import going_on, target_text
from rollout_console.common.errors import OperationError
from rollout_console.guard.alerts import Alert, Alerts, ModelTrouble, alerts_now, has_share
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.budget_lowering import BudgetLowering
from rollout_console.guard.condemned import may_have_traffic
from rollout_console.guard.evidence.culprits import Culprit
from rollout_console.guard.evidence.verdict import Verdict, mode_of
from rollout_console.guard.following import follow_file
from rollout_console.guard.leader_lock import election_of
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.objections import held_by_model
from rollout_console.guard.ramp import MOST_S_A_TURN, Ramps, Standing
from rollout_console.guard.ramp_record import RampRecord
from rollout_console.guard.traffic import Routing
from rollout_console.history.errors import HistoryError
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import Route
from rollout_gate.file.percent import percent_text
from rollout_gate.secret import redacted

PATIENCE_S = 10.0
"""Seconds that a standby guard leaves a rollback to the leader, which has the lock on the file."""


class Event(msgspec.Struct, frozen=True):
    """A notification for operators.

    ``command`` is the shell command that reverses the action, or that answers the alert with a
    rollback; empty without one.
    """

    kind: str
    text: str
    route: str | None = None
    org: str | None = None
    signal: str = ""
    evidence: str = ""
    command: str = ""
    revision: str = ""


class LogRead(msgspec.Struct, frozen=True):
    """Counts of usable and unusable log lines, and what is wrong with the first unusable one.

    ``words`` is the warning, while it is recent; ``much`` is set where there are too many for
    figures to be trusted.
    """

    lines: int
    unusable: int
    why: str
    words: str
    much: bool


class Turn(msgspec.Struct, frozen=True):
    """The result of one turn. ``acts`` is whether this guard is the leader, which may act.

    ``alerts`` are those seen in this turn; ``log`` counts the usable and unusable lines of the
    access log so far. ``condemned`` has, by route, the orgs that ask for a rollback of their own,
    ``culprits`` the hosts and key aliases that have its errors, ``unnamed`` the labels with more
    values than are judged. ``routing`` is the evidence of lines against their routing.
    """

    acts: bool
    trouble: str
    verdicts: Mapping[str, Verdict]
    standings: Mapping[str, list[Standing]]
    alerts: list[Alert]
    log: LogRead
    events: list[Event] = msgspec.field(default_factory=list)
    condemned: Mapping[str, Mapping[str, Verdict]] = msgspec.field(default_factory=dict)
    culprits: Mapping[str, Sequence[Culprit]] = msgspec.field(default_factory=dict)
    unnamed: Mapping[str, Sequence[str]] = msgspec.field(default_factory=dict)
    routing: Routing = Routing((), (), ())

    @property
    def is_sick(self) -> bool:
        """Whether a route or an org ought to be rolled back, or a host or alias has the errors."""
        asks = any(one.kind == "rollback" for one in self.verdicts.values())
        return asks or any(self.condemned.values()) or any(self.culprits.values())


class GuardLoop:
    """Watches one rollout file and its access log, and acts as the file's mode says.

    Mode ``observe`` acts on nothing, ``hold`` raises while the evidence is good, ``enforce`` rolls
    back as well: a route, or an org alone where that is what is sick; and it lowers the shares of
    budgets that are spent and ask for it. Of several guards on a file
    only the leader acts. A read-only guard writes nothing.
    """

    def __init__(self, switch: Switch, monitor: Monitor) -> None:
        self._switch = switch
        self._monitor = monitor
        self._lock = election_of(switch)
        record = RampRecord(switch.path, switch.access, switch.publisher("guard"))
        self._ramps = Ramps(switch, monitor, record)
        self._lowering = BudgetLowering(switch, monitor, record)
        self._alerts = Alerts()
        self._acted = self._leads = False
        self._left_alone: dict[tuple[str, str | None], float] = {}

    @property
    def alerts(self) -> Alerts:
        """The alerts, as of the last turn."""
        return self._alerts

    def start(self, now: float, *, wait: bool = True) -> None:
        """Load the log, the history and the ramp record.

        Without ``wait`` the log is read during the turns; raises are held until its backfill ends.
        """
        clock = going_on(now)
        recorded = self._switch.recorded()
        self._monitor.remember(recorded, now)
        self._ramps.follow(recorded.changes)
        with suppress(StoreError):  # an invalid record stops only the ramps; each turn reports it
            self._ramps.remember()
        if wait:
            self._monitor.catch_up(clock())

    def end(self) -> None:
        """Close the log, and release leadership to another guard."""
        self._monitor.close()
        self._lock.release()

    def turn(self, balance: BalanceWatch, models: Mapping[str, ModelTrouble], now: float) -> Turn:
        """Observe once, and act; ``models`` has, by route, the problem with its model.

        Errors that a later turn may recover from are not raised: they are the turn's ``trouble``.
        """
        events: list[Event] = []
        clock = going_on(now)
        trouble = self._follow(now, events)
        self._monitor.go_on(clock())  # a history that is locked may have taken seconds
        acts = not self._switch.access.read_only and self._lock.hold()
        self._leads = acts
        if acts and not self._acted:
            # The leader before may have changed the file, and the record of its steps, since.
            trouble = self._follow(now, events)
        if acts != self._acted:
            self._acted = acts
            leader = "this guard" if acts else "another guard"
            events.append(Event("guard", f"{leader} is the leader"))
        no_locks = not self._switch.access.read_only and self._lock.no_locks
        if no_locks:
            trouble = trouble or (
                f"there are no locks for {self._switch.title} ({no_locks}), by which one of several"
                " guards raises: this one rolls back, and raises nothing"
            )
        standings: dict[str, list[Standing]] = {}
        try:
            if not self._switch.access.read_only:
                for event in self._roll_back(now, acts=acts or bool(no_locks)):
                    events.append(event)  # kept for notification even if the next one fails
            if acts:
                events += [Event("ramp", said) for said in self._ramps.look(now)]
            if acts and not trouble:
                for event in self._lower(now):
                    events.append(event)  # kept for notification even if the next one fails
            standings = self._ramps.standings(
                lambda route, org, before, after: (
                    held_by_model(models, route.name)
                    or self._held(route, org, before, after, balance, now)
                )
            )
            if acts and not trouble:
                for event in self._climb(standings, now):
                    events.append(event)  # kept for notification even if the next raise fails
        except (OperationError, RolloutError, HistoryError) as error:
            trouble = trouble or str(error)
        began, ended = self._alerts.look(
            alerts_now(self._monitor, balance, models, trouble, now, self._alerts.keys),
            now,
            blind=bool(self._monitor.no_figures(now)),
        )
        events += [self._alarm(alert) for alert in began]
        events += [
            Event("over", f"over: {alert.sentence}", alert.route, alert.org) for alert in ended
        ]
        verdicts, condemned = self._monitor.verdicts(now), self._monitor.condemned(now)
        read = self._log_read(now)
        wrong = [alert for alert in self._alerts.open if alert.seen_at == now]
        culprits, unnamed = self._monitor.culprits(now), self._monitor.unnamed(now)
        return Turn(
            acts, trouble, verdicts, standings, wrong, read, events, condemned, culprits, unnamed,
            self._monitor.routing(now),
        )  # fmt: skip

    def _log_read(self, now: float) -> LogRead:
        monitor = self._monitor
        lines, why = monitor.unusable
        if blind := monitor.log_trouble:
            return LogRead(monitor.lines, lines, blind, blind, much=True)
        words = monitor.unusable_words(now)
        return LogRead(monitor.lines, lines, why, words, monitor.mostly_unusable(now))

    def _follow(self, now: float, events: list[Event]) -> str:
        try:
            found, rows = follow_file(self._switch, self._monitor, now)
            self._ramps.follow(rows)
        except RolloutError as error:
            return str(error)
        if found is not None:
            edit = self._switch.edit
            if found[1] and not edit.ours:
                said = f"the file was changed by {edit.words}"
                kind = "alert" if edit.gives_back else "edit"
                text = f"a rollback was reverted: {said}" if edit.gives_back else said
                events.append(Event(kind, text, revision=found[0].revision))
        return ""

    def _held(
        self, route: Route, org: str, before: int, after: int, balance: BalanceWatch, now: float
    ) -> str:
        if route.guard.mode == "observe":
            return "mode observe: the guard takes no action"
        return self._monitor.held(route.name, org, before, after, balance, now)

    def _roll_back(self, now: float, *, acts: bool) -> Iterator[Event]:
        """Roll back what has that verdict: routes first, then orgs of routes that are well.

        A standby does it with those that the leader has left for PATIENCE_S: the leader may hang,
        and the lock's holder may be no guard at all, but a backup program. An org whose rollback
        fails does not stop those of others; the first such error is raised at the end.
        """
        asked = self._asked_back(now)
        self._left_alone = {place: self._left_alone.get(place, now) for place in asked}
        end, failed = monotonic() + MOST_S_A_TURN, None
        for (name, org), verdict in asked.items():
            if not acts and abs(now - self._left_alone[name, org]) < PATIENCE_S:
                continue
            if self._switch.shared is not None and self._switch.shared.is_away:
                break  # each would wait for etcd in vain; that it is away is told already
            if org is not None and monotonic() >= end:
                break  # verdicts are computed anew before the others: the route may be sick itself
            try:
                yield self._roll_one_back(name, org, verdict, now)
            except (OperationError, RolloutError, HistoryError) as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _asked_back(self, now: float) -> dict[tuple[str, str | None], Verdict]:
        """Return the routes, then the orgs that are to be rolled back in mode ``enforce``."""
        file, condemned = self._monitor.file, self._monitor.condemned(now)
        routes: dict[tuple[str, str | None], Verdict] = {}
        orgs: dict[tuple[str, str | None], Verdict] = {}
        for name, verdict in self._monitor.verdicts(now).items():
            route = file.routes[name]
            if file.is_latched(name) or not route.most_points:
                continue
            if verdict.kind == "rollback" and mode_of(route.guard, verdict.signal) == "enforce":
                routes[name, None] = verdict
                continue
            for org, of_org in condemned[name].items():
                enforced = mode_of(route.guard, of_org.signal) == "enforce"
                if enforced and may_have_traffic(route, org):
                    orgs[name, org] = of_org
        return routes | orgs

    def _roll_one_back(self, name: str, org: str | None, verdict: Verdict, now: float) -> Event:
        plan = self._switch.planner.plan_rollback(name, org, verdict.reason)
        done = self._switch.apply(plan, reason=verdict.reason, verdict=verdict.words)
        self._take_over(done, now)
        sick = self._monitor.previous_trouble(name, org, now)
        place = [name] if org is None else [name, org]
        text = f"rolled back {' / '.join(place)}: {verdict.reason}" + (f"; {sick}" if sick else "")
        return Event(
            "rollback", text, name, org, verdict.signal, verdict.reason,
            self._command("resume", *place), done.snapshot.revision,
        )  # fmt: skip

    def _climb(self, standings: Mapping[str, list[Standing]], now: float) -> Iterator[Event]:
        for one in self._ramps.climb(standings, now, lambda: self._leads):
            self._take_over(one.done, now)
            before, after = percent_text(one.before), percent_text(one.after)
            yield Event(
                "raise", f"raised {target_text(one.route, one.org)} from {before}% to {after}%",
                one.route, one.org, command=self._command("rollback", one.route, one.org),
                revision=one.done.snapshot.revision,
            )  # fmt: skip

    def _lower(self, now: float) -> Iterator[Event]:
        for one in self._lowering.lower(now):
            self._take_over(one.done, now)
            yield Event(
                "lower", one.words, one.route, one.org, evidence=one.reason,
                command=self._command("budgets"), revision=one.done.snapshot.revision,
            )  # fmt: skip
            if not self._leads:
                return

    def _take_over(self, done: Done, now: float) -> None:
        # The change replaced the inode: lock the new one, to stay leader. Another may be sooner.
        self._leads = self._lock.hold() and self._leads
        self._monitor.configure(done.snapshot.file, now, done.plan)

    def _alarm(self, alert: Alert) -> Event:
        command = ""
        if alert.host is not None or alert.key_alias is not None:
            # Neither can be rolled back alone; an alias can be taken to 0% where it has a share.
            alias, route = alert.key_alias, alert.route or ""
            shown = alias is not None and redacted(alias) == alias  # a command must not tell a key
            if alias is not None and shown and has_share(self._monitor.file, route, alias):
                command = self._command("set", route, "0", f"--alias={alias}")
        elif alert.signal and alert.route:
            place = (alert.route,) if alert.org is None else (alert.route, alert.org)
            command = self._command("rollback", *place)
        return Event("alert", alert.sentence, alert.route, alert.org, alert.signal, command=command)

    def _command(self, verb: str, *names: str) -> str:
        words = ["rollout-console", "-f", self._switch.location, verb, *names]
        return " ".join(quote(word) for word in words)
