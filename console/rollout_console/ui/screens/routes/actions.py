"""Flows of the routes screen's actions: checks, probes, shadow samples, phases, the playbook."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import Event
from time import time
from typing import Protocol

from textual.app import App

from rollout_console.changes.switch import Switch
from rollout_console.common.listing import counted
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.monitor import Monitor
from rollout_console.health.log.probe_log import append_probe, probe_log_path
from rollout_console.models.catalogue import Catalogue
from rollout_console.readiness.checks.offline import check_offline
from rollout_console.readiness.checks.online import check_online
from rollout_console.readiness.checks.result import Result
from rollout_console.readiness.phases import Phases, PhaseState
from rollout_console.readiness.probes import (
    CEILING_USD,
    ProbePlan,
    Probes,
    Shot,
    lines_of,
    log_line,
)
from rollout_console.readiness.shadow import (
    Pair,
    Tally,
    plan_shadow,
    read_prompts,
    run_shadow,
)
from rollout_console.tokenlab.probe import Probe
from rollout_console.ui.change_flow import ChangeFlow
from rollout_console.ui.change_question import Hold
from rollout_console.ui.dialogs.choice import ChoiceDialog
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.form import Field, FormDialog
from rollout_console.ui.dialogs.money import parse_usd, usd_problem
from rollout_console.ui.dialogs.pair import PairDialog
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.off_loop import off_loop
from rollout_gate.file.model import MEDIA_FORMATS, PHASES, RolloutFile
from rollout_gate.file.phases import following

_MOST_WIDE = 110


class Listener(Protocol):
    """The screen that starts the flows."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message; ``bad`` marks a problem."""

    def reload(self) -> None:
        """Re-evaluate the routes: phases, exit checks and probes."""

    def checked(self, results: Sequence[Result]) -> None:
        """Keep and show the results of the checks."""


class RouteFlows:
    """One method for each key; each runs in a worker of the screen, one at a time."""

    def __init__(
        self,
        app: App[None],
        switch: Switch,
        room: ApiKeys,
        models: Catalogue,
        phases: Phases,
        monitor: Monitor,
        changing: ChangeFlow,
        listener: Listener,
    ) -> None:
        self._app = app
        self._switch = switch
        self._room = room
        self._models = models
        self._phases = phases
        self._probes = Probes(room, models)
        self._monitor = monitor
        self._changing = changing
        self._listener = listener

    def _file(self) -> RolloutFile:
        return self._monitor.file

    def _verdicts(self) -> dict[str, Verdict]:
        return self._monitor.verdicts(time())

    async def check(self) -> None:
        """Run every rule, offline and online, and show what fails."""
        self._listener.say("checking: file, credentials, models, both sides…")
        path = self._switch.path
        found = await asyncio.to_thread(check_offline, path, self._switch.address)
        found += await off_loop(lambda: check_online(self._room, self._models, path))
        self._listener.checked(found)
        bad = [result for result in found if not result.ok]
        self._listener.say(f"{len(found)} checks, {len(bad) or 'none'} failed", bad=bool(bad))
        if bad:
            lines = [
                line for r in bad for line in (f"{r.rule}  {r.where}", f"  {r.reason}",
                                               f"  do: {r.fix}", "")
            ]  # fmt: skip
            await self._app.push_screen_wait(TextDialog("what fails", lines))

    async def probe(self, route: str) -> None:
        """Send one minimal real request to each side, after its cost was confirmed."""
        file = self._file()
        plan = await off_loop(lambda: self._probes.plan(file, [route]))
        notes = tuple(f"not {one.side}: {one.reason}" for one in plan.skipped)
        if not plan.shots:
            self._listener.say(notes[0] if notes else "there is nothing to send", bad=True)
            return
        question = Question("Probe", f"{route}: {plan.words()}", notes=notes)
        if await self._app.push_screen_wait(ConfirmDialog(question)) is None:
            return
        self._listener.say(f"probing {route}…")
        with _stopped_when_left() as stop:
            done = await off_loop(lambda: self._shoot(plan, file, stop))
        failed = sum(not one.ok for _, one in done)
        self._listener.say(
            f"{route}: {counted(len(done), 'probe')}, {failed or 'none'} failed", bad=bool(failed)
        )
        self._listener.reload()
        lines = [line for shot, one in done for line in lines_of(shot, one)]
        await self._app.push_screen_wait(
            TextDialog(f"probe of {route}", lines, width=min(self._app.size.width, _MOST_WIDE))
        )

    async def _shoot(
        self, plan: ProbePlan, file: RolloutFile, stop: Event
    ) -> list[tuple[Shot, Probe]]:
        log = probe_log_path(self._switch.path, file)
        done = []
        async with aclosing(self._probes.run(plan, CEILING_USD)) as results:
            async for shot, one in results:
                trouble = append_probe(log, log_line(one)) if one.sent else ""
                if stop.is_set():
                    break
                if trouble:
                    self._app.call_from_thread(self._listener.say, trouble, bad=True)
                done.append((shot, one))
        return done

    async def shadow(self, route: str) -> None:
        """Send a sample of prompts to both sides, let the operator judge, and keep the tally."""
        if self._file().routes[route].format in MEDIA_FORMATS:
            self._listener.say(f"{route} makes media, which is never mirrored", bad=True)
            return
        values = await self._app.push_screen_wait(_shadow_form(route))
        if values is None:
            return
        file = self._file()
        prompts = await asyncio.to_thread(read_prompts, Path(values["prompts"].strip()))
        plan = await off_loop(
            lambda: plan_shadow(
                self._probes, file, route, prompts, sample=int(values["sample"]),
                most_tokens=int(values["tokens"]),
            )
        )  # fmt: skip
        question = Question("Shadow sample", plan.words())
        if await self._app.push_screen_wait(ConfirmDialog(question)) is None:
            return
        ceiling = parse_usd(values["ceiling"]) or Decimal(0)

        async def send() -> list[Pair]:
            found: list[Pair] = []
            async for pair in run_shadow(plan, ceiling):
                if stop.is_set():
                    break
                found.append(pair)
                said = f"{len(found)} of {counted(len(plan.prompts), 'prompt')} sent"
                self._app.call_from_thread(self._listener.say, said)
            return found

        with _stopped_when_left() as stop:
            pairs = await off_loop(send)
        tally = await self._judged(pairs)
        model = plan.ours.target.model
        sample = await self._changing.keep(
            f"keeping the sample of {route}",
            partial(self._phases.keep_tally, file, route, tally, model),
        )
        self._listener.say(f"{sample.words}: kept")
        self._listener.reload()

    async def _judged(self, pairs: Sequence[Pair]) -> Tally:
        tally = Tally()
        for number, pair in enumerate(pairs, 1):
            if pair.failed:
                tally.add(pair, None)
                continue
            dialog = PairDialog(pair, number, len(pairs))
            mark = await self._app.push_screen_wait(dialog)
            if mark is None:
                break
            tally.add(pair, mark)
        return tally

    async def tick(self, state: PhaseState) -> None:
        """Tick or untick an exit check that only a person can answer."""
        mine = [one for one in state.states if one.check.by == "person"]
        if not mine:
            self._listener.say(
                "no manual exit checks in this phase: the console evaluates all of them"
            )
            return
        choices = [f"[{'x' if s.done else ' '}] {s.check.words}" for s in mine]
        chosen = await self._app.push_screen_wait(ChoiceDialog(f"{state.route}: tick", choices))
        if chosen is None:
            return
        one, file = mine[chosen], self._file()
        if one.done:
            await self._changing.keep(
                f"taking the tick of {one.check.id} away from {state.route}",
                partial(self._phases.untick, file, state.route, one.check.id),
            )
        else:
            field = Field("note", "note", "", "what was looked at; may be empty")
            values = await self._app.push_screen_wait(FormDialog(one.check.words, (field,)))
            if values is None:
                return
            note = values["note"].strip()
            await self._changing.keep(
                f"ticking {one.check.id} of {state.route}",
                partial(self._phases.tick, file, state.route, one.check.id, note),
            )
        self._listener.reload()

    async def owner(self, state: PhaseState) -> None:
        """Name the route's owner and contacts."""
        plan = (await asyncio.to_thread(self._phases.plan)).route(state.route)
        fields = (
            Field("owner", "owner", plan.owner, "who owns the route and its bill"),
            Field("contacts", "contacts", ", ".join(plan.contacts), "separated by commas"),
        )
        values = await self._app.push_screen_wait(FormDialog(f"route {state.route}", fields))
        if values is None:
            return
        contacts = tuple(c.strip() for c in values["contacts"].split(",") if c.strip())
        file, owner = self._file(), values["owner"].strip()
        await self._changing.keep(
            f"naming the owner of {state.route}",
            partial(self._phases.own, file, state.route, owner, contacts),
        )
        self._listener.reload()

    async def move(self, route: str, by: int) -> None:
        """Move a route to the next phase, or one back; missing exit checks require a reason."""
        file = self._file()
        now = file.routes[route].phase
        wanted = following(now) if by > 0 else PHASES[max(0, PHASES.index(now) - 1)]
        if wanted == now:
            self._listener.say(f"{route} is in the {'last' if by > 0 else 'first'} phase", bad=True)
            return
        verdicts = self._verdicts()
        missing = await asyncio.to_thread(self._phases.missing, file, route, wanted, verdicts)
        hold = Hold(
            f"{len(missing)} of what ends {now} is missing" if missing else "",
            by="not ready", notes=tuple(f"[ ] {one.check.words}" for one in missing),
            asks="type a reason to override the missing exit checks",
        )  # fmt: skip
        await self._changing.run(partial(self._phases.plan_move, route, wanted), hold=hold)
        self._listener.reload()

    async def write_playbook(self) -> None:
        """Write the support playbook next to the rollout file."""
        path = await asyncio.to_thread(self._phases.write_playbook, self._file(), self._verdicts())
        self._listener.say(f"the playbook was written to {path.name}")
        self._listener.reload()


@contextmanager
def _stopped_when_left() -> Iterator[Event]:
    """Yield a cancellation event, set on exit: a thread would otherwise keep sending requests.

    The screen's worker is cancelled when the screen is left, but not the thread that it awaits.
    """
    stop = Event()
    try:
        yield stop
    finally:
        stop.set()


def _shadow_form(route: str) -> FormDialog:
    fields = (
        Field("prompts", "prompts", "", 'a JSONL file of {"prompt": "..."}', check=_check_path),
        Field("sample", "sample", "20", "how many, 1 to 200", check=_whole(1, 200)),
        Field("tokens", "max tokens", "256", "16 to 4096 for each answer", check=_whole(16, 4096)),
        Field("ceiling", "at most $", "1.00", "US dollars; nothing is sent if it may cost more",
              check=usd_problem),
    )  # fmt: skip
    note = "Each prompt goes once to each side. Neither prompts nor answers are kept."
    return FormDialog(f"Shadow sample of {route}", fields, note=note)


def _check_path(value: str) -> str:
    return "" if value.strip() else "empty; name the file with the prompts"


def _whole(least: int, most: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most:
            return ""
        return f"type a whole number from {least} to {most}"

    return check
