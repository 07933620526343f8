"""The commands that change the rollout file, under the same rules as the screen."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Literal

from rollout_console.changes.effect_words import left_out_by_reason
from rollout_console.changes.names import check_org, check_share
from rollout_console.changes.open_conversations import cut_by
from rollout_console.changes.plan import Plan, Target
from rollout_console.changes.share_group import share_words
from rollout_console.changes.spread import Spread
from rollout_console.changes.switch import Done, Switch
from rollout_console.changes.under_way import doing
from rollout_console.cli.commands.held import Objections
from rollout_console.cli.commands.shares import (
    is_org_and_percent,
    named_shares,
    percent_of,
    plan_shares,
)
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.cli.outcome import Outcome
from rollout_console.common.durations import seconds_text, target_text
from rollout_console.common.errors import Misused, OperationError
from rollout_console.common.folders import state_folder
from rollout_console.common.listing import first_of
from rollout_console.common.safe_text import visible
from rollout_console.guard.ingestion import ANSWER_S, COLD_BYTES
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.rollback_figures import rollback_figures
from rollout_gate.file.errors import UnknownName
from rollout_gate.file.revision import SHORT

_MENDS_S = 3.0
"""Seconds that what mends something waits for Prometheus, at most."""
_ROLLBACK_BYTES = 1024 * 1024
_SPREAD_S = 3.0
"""How long a change waits for the servers to apply it, in seconds."""
_MOST_SERVERS = 5


def change(options: Namespace, switch: Switch) -> int:
    """Plan, confirm and apply one change; return the exit code.

    Raises OperationError where the guard holds a raise that is not overridden.
    """
    back = options.command == "rollback"
    sick = back and options.sick
    mends = back or options.command == "restore"
    snapshot = switch.open_or_last_good() if mends else switch.open()
    # With --yes, a rollback reads the log only for its reason: 1 MiB of the tail, without delay.
    # One that is asked about shows the figures of the screen's confirm, which need the window.
    hurries = back and not sick and options.yes and not options.dry_run
    monitor = Monitor(
        switch.path, snapshot.file, cold_bytes=_ROLLBACK_BYTES if hurries else COLD_BYTES,
        servers=lambda: switch.spread,
    )  # fmt: skip
    with closing(monitor):
        recorded, now = switch.recorded(), time.time()
        monitor.remember(recorded, now)
        if hurries:
            monitor.go_on(now)  # which waits for no Prometheus
        else:
            monitor.catch_up(now, most_s=_MENDS_S if mends else ANSWER_S)
        return _change(options, switch, monitor)


def _change(options: Namespace, switch: Switch, monitor: Monitor) -> int:
    back, now = options.command == "rollback", time.time()
    sick = back and options.sick
    objections, override = Objections(monitor, now), getattr(options, "override_guard", False)
    shares = named_shares(options) if options.command == "set" else {}
    if not getattr(options, "new", False):
        _check_names(options, monitor, shares)
    if back:
        targets = monitor.sick_targets(now, options.route) if sick else _named(options)
        if not targets:
            return _nothing_sick(options, monitor, now)
        plan = _plan_rollback(options, switch, monitor, targets)
    else:
        plan = _plan(options, switch, shares, None if override else objections)
    switch.require_kept(plan)
    figures = rollback_figures(monitor, plan.targets, now) if plan.latches else ()
    held = objections.held(plan)
    if options.dry_run:
        return _show_plan(options, plan, switch, figures, "" if override else held)
    if held and not override:
        raise OperationError(
            f"the guard holds this raise: {held}; --override-guard with --reason overrides it"
        )
    if not options.yes and not plan.changes_nothing:
        if not _agreed(plan, switch, figures):
            return PROBLEMS
        if not override:
            _check_again(plan, monitor)
    make = partial(
        switch.apply,
        plan,
        reason=_reason(options, plan, monitor, now),
        verdict=monitor.spoken_verdict_of(plan.judged, now),
        held=held,
        override=override,
    )
    with Outcome(switch) as outcome:
        options.is_sent = True
        _tell(options, outcome.of(doing(plan, switch.name), make), outcome)
    return _code(plan)


def _check_again(plan: Plan, monitor: Monitor) -> None:
    """Ask the guard once more after a question that may have waited long; raises OperationError."""
    now = time.time()
    monitor.catch_up(now)
    if held := Objections(monitor, now).held(plan):
        raise OperationError(f"the guard holds this raise by now: {held}")


def _tell(options: Namespace, done: Done, outcome: Outcome) -> None:
    plan = done.plan
    if not options.json:  # before it is waited for the servers: it is made already
        print(f"done: {visible(plan.effect)}  (revision {done.snapshot.revision[:SHORT]})")
        if done.kept_as:
            print(f"the broken text was kept as {visible(done.kept_as)}")
        sys.stdout.flush()
    spread = None
    if options.shared is not None:
        spread = options.shared.wait_for_spread(_SPREAD_S, lambda: outcome.is_told_to_end)
    if options.json:
        body = {
            "action": plan.action,
            "effect": plan.effect,
            "targets": plan.targets,
            "left_out": _left_out(plan),
            "revision": done.snapshot.revision,
            "warnings": list(done.warnings),
            "kept_as": done.kept_as,
        }
        if spread is not None:
            body["servers"] = spread.as_json()
        print(json.dumps(body, indent=2))
    if spread is not None:
        _tell_spread(options, spread)
    for line in left_out_by_reason(plan.left_out):
        print(f"left out: {visible(line)}", file=sys.stderr)
    for warning in done.warnings:
        print(f"warning: {visible(warning)}", file=sys.stderr)


def _tell_spread(options: Namespace, spread: Spread) -> None:
    """Say how many servers have applied a change, and name those that have not."""
    if not options.json:
        print(f"servers: {spread.words}")
    if spread.lagging:
        names = first_of([one.host for one in spread.lagging], _MOST_SERVERS)
        print(f"warning: not applied yet on {visible(names)}", file=sys.stderr)
    if spread.gone:
        names = first_of([one.host for one in spread.gone], _MOST_SERVERS)
        print(f"warning: no heartbeat from the mirror on {visible(names)}", file=sys.stderr)
    if spread.clock_problem:
        print(f"warning: {visible(spread.clock_problem)}", file=sys.stderr)


def _check_names(options: Namespace, monitor: Monitor, shares: Mapping[str | None, int]) -> None:
    """Refuse a name found in neither file nor log: a typo would move no traffic."""
    if options.command not in ("set", "rollback", "resume"):
        return
    for kind in ("alias", "flag"):
        if name := getattr(options, kind, ""):
            check_share(monitor.file, options.route, kind, name)
            return
    seen = monitor.seen_orgs().get(options.route or "", ())
    named = {"rollback": options.org, "resume": [options.org], "set": list(shares)}
    for org in named[options.command] or [None]:
        try:
            makes_new = hasattr(options, "new")
            check_org(monitor.file, seen, options.route, org, makes_new=makes_new)
        except UnknownName:
            if options.command == "set" and is_org_and_percent(str(org)):
                raise Misused(
                    f"{org!r} is beside a percent for all: give ORG=PERCENT for each org, or one"
                    " percent after them all"
                ) from None
            raise


def _named(options: Namespace) -> list[Target]:
    """Return what a rollback names: the orgs of a route, a route, or everything."""
    return [(options.route, org) for org in options.org or (None,)]


def _plan_rollback(
    options: Namespace, switch: Switch, monitor: Monitor, targets: Sequence[Target]
) -> Plan:
    now = time.time()
    reasons = {one: options.reason or monitor.rollback_reason(*one, now) for one in targets}
    if len(targets) == 1:
        return switch.planner.plan_rollback(*targets[0], reasons[targets[0]])
    several = {(route, org): why for (route, org), why in reasons.items() if route is not None}
    named = [(route, org) for route, org in targets if route is not None]
    return switch.planner.plan_rollbacks(named, options.reason or several)


def _nothing_sick(options: Namespace, monitor: Monitor, now: float) -> int:
    """Say that ``--sick`` finds nothing, and from how old a log."""
    age = monitor.age_s(now)
    words = "there is no data in the log" if age is None else f"the log is {seconds_text(age)} old"
    if monitor.prometheus is not None:
        words = monitor.source_trouble(now) or "Prometheus was read to its end"
    elif trouble := monitor.log_trouble:
        words = trouble
    where = "nothing" if options.route is None else f"nothing on {options.route}"
    effect = f"{where} asks for a rollback now; {words}"
    if options.json:
        print(json.dumps({"action": "rollback", "effect": effect, "targets": []}, indent=2))
    else:
        print(visible(effect))
    return DONE


def _plan(
    options: Namespace,
    switch: Switch,
    shares: Mapping[str | None, int],
    objections: Objections | None,
) -> Plan:
    if options.command == "set":
        if options.alias or options.flag:
            table: Literal["keys", "flags"] = "keys" if options.alias else "flags"
            points = percent_of(options.percent)
            return switch.planner.plan_share(
                options.route, table, options.alias or options.flag, points
            )
        (org, points), *others = shares.items()
        if others or org is None:
            return plan_shares(options, switch, shares, objections)
        return switch.planner.plan_set(options.route, org, points)
    if options.command == "resume":
        return switch.planner.plan_resume(options.route, options.org)
    return (
        switch.planner.plan_undo()
        if options.command == "undo"
        else switch.planner.plan_restore(options.revision)
    )


def _reason(options: Namespace, plan: Plan, monitor: Monitor, now: float) -> str:
    if options.reason or plan.action != "rollback":
        return str(options.reason)
    if plan.parts:
        return "by the operator"  # each has its own
    return monitor.rollback_reason(plan.route, plan.org, now)


def _show_plan(
    options: Namespace, plan: Plan, switch: Switch, figures: Sequence[str], held: str
) -> int:
    if options.json:
        body = {
            "action": plan.action,
            "effect": plan.effect,
            "targets": plan.targets,
            "left_out": _left_out(plan),
            "figures": list(figures),
            "adds": _added(plan, switch),
            "held": held,
            "diff": list(plan.prepared.diff),
        }
        print(json.dumps(body, indent=2))
    else:
        print(visible(plan.effect))
        for line in (*figures, *_listed(plan)):
            print(line)
        for line in _effects(plan, switch):
            print(line)
        if held:
            print(f"the guard holds this raise: {visible(held)}")
        for line in plan.prepared.diff:
            print(visible(line.rstrip("\r\n")))
    return _code(plan)


def _code(plan: Plan) -> int:
    """Return the exit code of a change: not all was done where what was asked for is left out."""
    return PROBLEMS if any(one.missed for one in plan.left_out) else DONE


def _listed(plan: Plan) -> list[str]:
    """Return a line for each target of several, and for each that is left out of a set."""
    if plan.action == "set":
        lines = [share_words(part) for part in plan.parts]
    else:
        lines = [f"{target_text(*part.target)}: {part.reason or part.after}" for part in plan.parts]
    lines += [f"left out: {line}" for line in left_out_by_reason(plan.left_out)]
    return [visible(f"  {line}") for line in lines]


def _left_out(plan: Plan) -> list[dict[str, str | None]]:
    return [{"route": one.route, "org": one.org, "reason": one.reason} for one in plan.left_out]


def _effects(plan: Plan, switch: Switch) -> list[str]:
    """Return what a plan would cut, and what it would add to the bill of a day, where known."""
    return [words for words in (cut_by(plan, switch.path), _added(plan, switch)) if words]


def _added(plan: Plan, switch: Switch) -> str:
    if plan.direction != "up":
        return ""
    from rollout_console.cost.share_costs import added_by  # lazy import: no rollback needs it

    return added_by(plan, switch.path, state_folder())


def _agreed(plan: Plan, switch: Switch, figures: Sequence[str]) -> bool:
    raises = plan.direction == "up"
    said = filter(None, (plan.rescues, plan.effect, *figures, *_effects(plan, switch)))
    lines = [*said, *_listed(plan), *(plan.prepared.diff if raises else ())]
    wanted = plan.asked_name if raises and plan.wide and not plan.regrets else "yes"
    return agreed("do it", "nothing was changed", wanted=wanted, lines=lines)
