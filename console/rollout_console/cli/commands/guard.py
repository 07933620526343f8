"""``guard``: the guard as a headless service."""

import json
import os
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec.structs import asdict, replace

from rollout_console.changes.names import check_org
from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.cli.outcome import Outcome
from rollout_console.common.durations import target_text
from rollout_console.common.errors import Misused
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.common.stop_signal import stop_on_signals
from rollout_console.guard.condemned import sick_list
from rollout_console.guard.evidence.culprits import Culprit
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.ingestion import ANSWER_S, OLDER_BYTES
from rollout_console.guard.loop import Event, GuardLoop, LogRead, Turn
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.put_back import put_back
from rollout_console.guard.traffic import Routing
from rollout_console.jobs.outcomes import ended_json
from rollout_console.models.catalogue import Catalogue
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import Side
from rollout_gate.file.percent import percent_text
from rollout_gate.secret import redacted
from rollout_gate.systemd import Systemd

_EVERY_S = 2.0


def guard(options: Namespace, switch: Switch) -> int:
    """Watch, act and notify until SIGTERM, SIGINT or SIGHUP; with --once, run one pass.

    One pass exits with 1 for a rollback verdict of a route or org, an error, an unusable log or
    ledger of jobs, budgets that nothing counts for, and where another guard holds the leader lock.
    """
    monitor = Monitor(
        switch.path, switch.open().file, older_bytes=OLDER_BYTES, servers=lambda: switch.spread
    )
    if options.put_back:
        return _put_back(options.put_back, switch, monitor)
    guarding = GuardLoop(switch, monitor)
    from rollout_console.cli.credentials import given_on, make_vault
    from rollout_console.guard.budget_counter import BudgetCounter
    from rollout_console.guard.network_sources import GuardSources

    # Before the notifier copies os.environ: --notify-command must not inherit credentials.
    given = given_on(options)
    notifier = _notifier(options, switch)
    room = Catalogue(root_of(monitor.file.base_url), state_folder())
    vault = make_vault(given, asks=False)
    counter = BudgetCounter(switch.path, vault, switch.access, switch.location)

    def count() -> None:
        counter.turn(monitor.file, monitor.budgets.spending, time.time())

    sources = GuardSources(vault, room, lambda: monitor.file, count)
    guarding.start(time.time(), wait=options.once)
    try:
        if options.once:
            monitor.budgets.grace_s = 0.0  # there is no later look that would tell it
            # Two turns: rollbacks are made before the network is asked, raises after it.
            first = guarding.turn(sources.balance, sources.models(), time.time())
            sources.ask()
            now = time.time()
            turn = guarding.turn(sources.balance, sources.models(), now)
            turn = replace(turn, events=[*first.events, *turn.events])
            if monitor.is_asking:  # there is no later look that would have an answer
                why = f"Prometheus: no answer within {ANSWER_S:.0f} s"
                turn = replace(turn, log=LogRead(turn.log.lines, 0, why, why, much=True))
            _tell(turn.events, notifier, options, quiet=True)
            if options.json:
                print(json.dumps(_without_credentials(_turn_json(turn, monitor, now)), indent=2))
            else:
                print(_turn_text(turn, now))
            # Jobs that cannot be read are not judged, budgets without a count hold nothing: each is
            # an alert.
            bad = turn.is_sick or bool(monitor.jobs.trouble)
            bad = bad or bool(monitor.budgets.trouble(monitor.file, now))
            if not (turn.acts or switch.access.read_only or turn.trouble):
                print(
                    "rollout-console: this guard did not act: another guard holds the leader lock",
                    file=sys.stderr,
                )
                bad = True
            return PROBLEMS if bad or turn.trouble or turn.log.much else DONE
        sources.start()
        _go_on(options, guarding, sources, notifier)
    finally:
        sources.stop()
        counter.close()
        guarding.end()
        notifier.close()
    return DONE


def _go_on(options: Namespace, guarding: GuardLoop, sources: Any, notifier: Any) -> None:
    stop = stop_on_signals()
    trouble, unusable = "", 0
    systemd = Systemd(os.environ)
    systemd.ready()
    while not stop.is_set():
        turn = guarding.turn(sources.balance, sources.models(), time.time())
        _tell(turn.events, notifier, options)
        if turn.trouble != trouble:
            trouble = turn.trouble
            print(f"rollout-console: {_shown(trouble or 'recovered')}", file=sys.stderr)
        if turn.log.unusable and turn.log.words and turn.log.unusable >= 2 * unusable:
            unusable = turn.log.unusable  # warn again once the count has doubled
            print(f"rollout-console: {_shown(turn.log.words)}", file=sys.stderr)
        due = time.monotonic() + (options.every or _EVERY_S)
        while not stop.is_set() and (left := due - time.monotonic()) > 0:
            systemd.keep_alive(_shown(trouble or _status(turn)))
            stop.wait(min(left, systemd.every_s or left))
    systemd.ends()


def _status(turn: Turn) -> str:
    """Return the one-line status that ``systemctl status`` shows."""
    bad = [f"{name} {one.words}" for name, one in turn.verdicts.items() if one.kind == "rollback"]
    for name, sick in turn.condemned.items():
        bad += sick_list(name, sick)
    now = time.time()
    bad += [f"{name} {one.reason(now)}" for name, some in turn.culprits.items() for one in some]
    return "; ".join(bad) or ("this guard is the leader" if turn.acts else "this guard stands by")


def _notifier(options: Namespace, switch: Switch) -> Any:
    from rollout_console.credentials.vault.webhook import is_slack, take_webhook
    from rollout_console.guard.notify import Notifier, Told

    webhook = take_webhook(os.environ)
    try:
        command = shlex.split(options.notify_command)
    except ValueError as error:
        raise Misused(f"--notify-command cannot be read: {error}") from None
    told = Told(webhook, webhook is not None and is_slack(webhook), command)
    return Notifier(
        told,
        lambda event, reason: switch.note_undelivered(event.text, reason),
        who=switch.who.name,
        file=switch.title,
        environ=os.environ,
    )


def _tell(events: list[Event], notifier: Any, options: Namespace, *, quiet: bool = False) -> None:
    for event in events:
        notifier.tell(event)
        if quiet:
            continue
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if options.json:
            print(json.dumps(_without_credentials({"at": at, **asdict(event)})), flush=True)
        else:
            print(f"{at}  {event.kind}: {_shown(event.text)}", flush=True)


def _put_back(words: list[str], switch: Switch, monitor: Monitor) -> int:
    route, *rest = words
    if route not in monitor.file.routes:
        raise UnknownRoute(route, list(monitor.file.routes))
    org = rest[0] if rest else None
    seen = monitor.seen_orgs().get(route, ())
    check_org(monitor.file, seen, route, org, makes_new=False)
    with Outcome(switch) as outcome:
        orgs = outcome.of(
            f"putting {target_text(route, org)} back into the ramp",
            partial(put_back, switch, route, org),
        )
    if not orgs:
        what = "nothing of " * (org is None) + visible(target_text(route, org))
        print(f"{what} has {'not ' * (org is not None)}been taken out of its ramp", file=sys.stderr)
        return PROBLEMS
    print(f"back in the ramp of {visible(route)}: {', '.join(visible(org) for org in orgs)}")
    return DONE


def _turn_json(turn: Turn, monitor: Monitor, now: float) -> Mapping[str, Any]:
    return {
        "acts": turn.acts,
        "trouble": turn.trouble,
        "routes": {
            name: {
                "verdict": verdict.kind,
                "reason": verdict.reason,
                "signal": verdict.signal,
                "last_error": _time_json(verdict.last_error_at),
                "orgs": {
                    org: _org_json(monitor.health(name, org, now).verdict)
                    for org in {**monitor.file.routes[name].orgs, **turn.condemned.get(name, {})}
                },
                "culprits": [_culprit_json(one, now) for one in turn.culprits.get(name, ())],
                "jobs": _jobs_json(monitor, name, now),
                "unnamed": [*turn.unnamed.get(name, ())],
                "ramp": [
                    {
                        "org": one.org,
                        "percent": one.points / 100,
                        "next": None if one.next is None else one.next / 100,
                        "waits_for": one.waits_for,
                        "out": one.out,
                    }
                    for one in turn.standings.get(name, ())
                ],
            }
            for name, verdict in turn.verdicts.items()
        },
        "routing": _routing_json(turn.routing),
        "log": {
            **({} if monitor.prometheus is None else {"source": "prometheus"}),
            "lines": turn.log.lines,
            "unusable": turn.log.unusable,
            "why": turn.log.why,
        },
        "alerts": [alert.sentence for alert in turn.alerts],
        "events": [asdict(event) for event in turn.events],
    }


def _jobs_json(monitor: Monitor, route: str, now: float) -> Mapping[str, Any]:
    """Return how the async jobs of a route have ended in the last hour, of each side with any."""
    sides: tuple[Side, ...] = ("tokenlab", "previous")
    found = {side: monitor.job_verdicts.ended(route, None, side, now) for side in sides}
    return {side: ended_json(ended) for side, ended in found.items() if ended is not None}


def _org_json(verdict: Verdict) -> Mapping[str, str]:
    return {"verdict": verdict.kind, "reason": verdict.reason}


def _culprit_json(one: Culprit, now: float) -> Mapping[str, Any]:
    """Return a culprit with the names of the access log's fields; a credential is redacted."""
    return {
        "label": one.label,
        "name": redacted(one.name),
        "signal": one.signal,
        "errors": one.errors,
        "requests": one.requests,
        "percent_of_errors": round(100 * one.share, 1),
        "of": one.of,
        "fails_on_previous": one.fails_on_previous,
        "last_error": _time_json(one.last_error_at),
        "reason": one.reason(now),
    }


def _routing_json(routing: Routing) -> Mapping[str, Any]:
    """Return the evidence against the routing, with the names of the access log's fields."""
    return {
        "misrouted": [
            {
                "route": one.route,
                "org": one.org,
                "side": one.side,
                "requests": one.requests,
                "since": _time_json(one.since),
                "last": _time_json(one.last_at),
                "decided_by": [
                    {"host": redacted(host), "revision": revision, "requests": count}
                    for (host, revision), count in sorted(one.decided_by.items())
                ],
                "reason": one.sentence,
            }
            for one in routing.misrouted
        ],
        "behind": [
            {
                "revision": one.revision,
                "hosts": [redacted(host) for host in one.hosts],
                "of": one.of,
                "since": _time_json(one.since),
                "last": _time_json(one.last_at),
                "reason": one.sentence,
            }
            for one in routing.behind
        ],
        "far_shares": [
            {
                "route": one.route,
                "org": one.org,
                "requests": one.requests,
                "tokenlab": one.tokenlab,
                "percent": one.basis_points / 100,
                "last": _time_json(one.last_at),
                "reason": one.sentence,
            }
            for one in routing.far_shares
        ],
    }


def _time_json(at: float | None) -> str | None:
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _turn_text(turn: Turn, now: float) -> str:
    lines = ["this guard is the leader" if turn.acts else "this guard stands by"]
    if turn.trouble:
        lines.append(f"trouble: {visible(turn.trouble)}")
    if turn.log.words:
        lines.append(f"log: {visible(turn.log.words)}")
    for name, verdict in turn.verdicts.items():
        lines.append(f"{visible(name)}  {visible(verdict.advised)}")
        lines += [f"  {visible(one)}" for one in sick_list(name, turn.condemned.get(name, {}))]
        lines += [f"  {one.reason(now)}" for one in turn.culprits.get(name, ())]
        for one in turn.standings.get(name, ()):
            after = "" if one.next is None else f", next {percent_text(one.next)}%"
            said = f", held: {visible(one.waits_for)}" if one.waits_for else ""
            said = f": out, {visible(one.out)}" if one.out else said
            lines.append(f"  {visible(one.org):<28} {percent_text(one.points):>6}%{after}{said}")
    lines += [f"! {visible(alert.sentence)}" for alert in turn.alerts]
    # Skip events of active alerts, which are listed above; an alert that has ended is not there.
    shown = {alert.sentence for alert in turn.alerts}
    events = [event for event in turn.events if event.kind != "alert" or event.text not in shown]
    lines += [f"{event.kind}: {visible(event.text)}" for event in events]
    return redacted("\n".join(lines))


def _shown(text: str) -> str:
    return redacted(visible(text))


def _without_credentials(value: Any) -> Any:
    """Return a JSON value with all credentials redacted: an org may be named with one."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(str(name)): _without_credentials(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_credentials(one) for one in value]
    return value
