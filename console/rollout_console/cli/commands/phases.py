"""``phase`` and ``playbook``: how far each route is, what is missing, and the support playbook."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from rollout_console.changes.switch import Switch
from rollout_console.changes.under_way import doing
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.cli.outcome import Outcome
from rollout_console.common.errors import OperationError
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.monitor import Monitor
from rollout_console.readiness.exit_checks import CheckState
from rollout_console.readiness.phases import Phases, PhaseState
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted


def phase(options: Namespace, switch: Switch) -> int:
    """Show phases, tick exit checks, set owners, or move a route to another phase."""
    file = switch.open().file
    room = Phases(switch)
    changes = (options.tick, options.untick, options.owner, options.contact, options.to)
    if options.dry_run and any(changes):
        return _would(options, switch, room, file)
    if any(changes[:-1]):
        words = f"changing the plan of {options.route}"
        with Outcome(switch) as outcome:
            outcome.of(words, partial(_keep, options, room, file))
            if outcome.is_told_to_end:
                left = "; it was not moved" if options.to else ""
                print(f"done: the plan of {visible(options.route)}{left}", file=sys.stderr)
                return PROBLEMS if options.to else DONE
    if options.to:
        return _move(options, switch, room, file)
    return _show(options, room.states(file, _verdicts(switch, file)))


def _keep(options: Namespace, room: Phases, file: RolloutFile) -> None:
    if options.tick:
        room.tick(file, options.route, options.tick, options.note)
    if options.untick:
        room.untick(file, options.route, options.untick)
    if options.owner or options.contact:
        owner = options.owner or room.plan().route(options.route).owner
        contacts = tuple(options.contact) if options.contact else None
        room.own(file, options.route, owner, contacts)


def _verdicts(switch: Switch, file: RolloutFile) -> dict[str, Verdict]:
    monitor = Monitor(switch.path, file, servers=lambda: switch.spread)
    with closing(monitor):
        recorded, now = switch.recorded(), time.time()
        monitor.remember(recorded, now)
        monitor.catch_up(now)
        return monitor.verdicts(time.time())


def _show(options: Namespace, states: list[PhaseState]) -> int:
    if options.route:
        known = [state.route for state in states]
        states = [state for state in states if state.route == options.route]
        if not states:
            raise UnknownRoute(options.route, known)
    if options.json:
        print(json.dumps([_as_json(state) for state in states], indent=2))
        return DONE
    for state in states:
        owner = visible(state.owner) or "nobody"
        print(f"{visible(state.route)}  {state.phase}  owner {owner}")
        for one in state.states:
            _print_check(one)
    return DONE


def _print_check(one: CheckState) -> None:
    mark = "x" if one.done else " "
    print(f"  [{mark}] {one.check.id:<24} {one.check.words}: {visible(one.why)}")


def _as_json(state: PhaseState) -> dict[str, object]:
    return {
        "route": state.route,
        "phase": state.phase,
        "owner": state.owner,
        "ready": not state.missing,
        "checks": [
            {"id": s.check.id, "done": s.done, "by": s.check.by, "words": s.check.words,
             "why": s.why}
            for s in state.states
        ],
    }  # fmt: skip


def _would(options: Namespace, switch: Switch, room: Phases, file: RolloutFile) -> int:
    """Print the dry run of the changes; exit code 1 where a move has missing exit checks."""
    if options.route not in file.routes:
        raise UnknownRoute(options.route, list(file.routes))
    for name in filter(None, (options.tick, options.untick)):
        room.check_tick(file, options.route, name)
    said = list(_ticks_and_names(options))
    body: dict[str, object] = {"would": said}
    lines = [visible(f"would, on {options.route}, {words}") for words in said]
    missing: list[CheckState] = []
    if options.to:
        settled = {options.tick, "inventory.owner" if options.owner else None} - {options.untick}
        missing = [
            one
            for one in room.missing(file, options.route, options.to, _verdicts(switch, file))
            if one.check.id not in settled
        ]
        plan = room.plan_move(options.route, options.to)
        diff = list(plan.prepared.diff)
        lines += [visible(line.rstrip("\r\n")) for line in (plan.effect, *diff)]
        body |= {"effect": plan.effect, "diff": diff, "missing": [one.check.id for one in missing]}
    if options.json:
        print(json.dumps(body, indent=2))
        return PROBLEMS if missing else DONE
    for line in lines:
        print(line)
    for one in missing:
        _print_check(one)
    return PROBLEMS if missing else DONE


def _ticks_and_names(options: Namespace) -> Iterator[str]:
    """Yield what is asked for beside a move, in words."""
    if options.tick:
        yield f"tick {options.tick}" + (f": {redacted(options.note)}" if options.note else "")
    if options.untick:
        yield f"take the tick of {options.untick} away"
    if options.owner:
        yield f"name {redacted(options.owner)} the owner"
    if options.contact:
        yield f"name {redacted(', '.join(options.contact))} as contacts"


def _move(options: Namespace, switch: Switch, room: Phases, file: RolloutFile) -> int:
    missing = room.missing(file, options.route, options.to, _verdicts(switch, file))
    plan = room.plan_move(options.route, options.to)
    if missing and not options.reason.strip():
        for one in missing:
            _print_check(one)
        raise OperationError(
            f"{options.route} is not ready for {options.to}: {len(missing)} missing; tick what is "
            "so with --tick, or move on with --reason"
        )
    if not options.yes and not agreed("do it", "nothing was changed", lines=[plan.effect]):
        return PROBLEMS
    make = partial(room.move, plan, missing, options.reason)
    with Outcome(switch) as outcome:
        done = outcome.of(doing(plan, switch.name), make)
        if options.json:
            body = {"effect": plan.effect, "revision": done.snapshot.revision}
            print(json.dumps(body | {"warnings": list(done.warnings)}, indent=2))
        else:
            print(f"done: {visible(plan.effect)}")
    for warning in done.warnings:
        print(f"warning: {visible(warning)}", file=sys.stderr)
    return DONE


def write_playbook(options: Namespace, switch: Switch) -> int:
    """Write the support playbook in Markdown."""
    file = switch.open().file
    room, verdicts = Phases(switch), _verdicts(switch, file)
    if options.output == "-":
        print(room.playbook(file, verdicts), end="")
        return DONE
    path = Path(options.output) if options.output else None
    print(f"written to {visible(str(room.write_playbook(file, verdicts, path)))}")
    return DONE
