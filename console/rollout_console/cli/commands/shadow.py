"""``shadow``: send a sample of prompts to both sides, and judge the answers on the terminal."""

import asyncio
import json
import shutil
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

from rollout_console.changes.switch import Switch
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.cli.line_input import read_line
from rollout_console.cli.outcome import Outcome
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.models.catalogue import Catalogue
from rollout_console.readiness.phases import Phases
from rollout_console.readiness.probes import Probes
from rollout_console.readiness.shadow import (
    CEILING_USD,
    MOST_SILENT,
    Mark,
    Pair,
    Tally,
    facts_of,
    plan_shadow,
    read_prompts,
    run_shadow,
)
from rollout_gate.file.formats import root_of

_MARKS: dict[str, Mark] = {"b": "better", "s": "same", "w": "worse"}


def run(options: Namespace, switch: Switch, room: ApiKeys) -> int:
    """Send the prompts, show answers side by side, ask for a judgement of each, save the tally."""
    if not options.dry_run:
        switch.access.require_to_spend()
    file = switch.open().file
    prompts = read_prompts(Path(options.prompts))
    probes = Probes(room, Catalogue(root_of(room.base_url), state_folder()))
    plan = asyncio.run(
        plan_shadow(probes, file, options.route, prompts, sample=options.sample,
                    most_tokens=options.max_tokens)
    )  # fmt: skip
    print(visible(plan.words()), file=sys.stderr)
    if options.dry_run:
        return DONE
    if not options.yes and not agreed("send", "nothing was sent"):
        return PROBLEMS
    ceiling = CEILING_USD if options.ceiling is None else options.ceiling

    pairs: list[Pair] = []

    async def send() -> None:
        async for pair in run_shadow(plan, ceiling):
            pairs.append(pair)
            if sys.stderr.isatty():
                print(f"\r{len(pairs)} of {len(plan.prompts)} sent", end="", file=sys.stderr)

    why = f"a side gave no answer {MOST_SILENT} times in a row"
    try:
        asyncio.run(send())
    except KeyboardInterrupt:
        if not pairs:
            raise
        why = "interrupted"  # answers received so far are billed, so judge them
    if len(pairs) < len(plan.prompts):
        print(f"\nstopped after {len(pairs)} of {len(plan.prompts)}: {why}", file=sys.stderr)
    if options.json:
        print(json.dumps([_as_json(pair) for pair in pairs], indent=2))
        return DONE
    tally = _judge(pairs)
    keep = partial(Phases(switch).keep_tally, file, options.route, tally, plan.ours.target.model)
    with Outcome(switch) as outcome:
        sample = outcome.of(f"keeping the sample of {options.route}", keep)
    print(f"{sample.words}; {sample.latency_words}: kept")
    return DONE


def _judge(pairs: list[Pair]) -> Tally:
    tally = Tally()
    for number, pair in enumerate(pairs, 1):
        _print_pair(number, len(pairs), pair)
        if pair.failed:
            tally.add(pair, None)
            continue
        mark = _ask()
        if mark is None:
            break
        tally.add(pair, mark)
    return tally


def _ask() -> Mark | None:
    while True:
        print("TokenLab's is (b)etter, the (s)ame, (w)orse; (q) stops: ", end="", flush=True)
        line = read_line()
        answer = line.strip().lower()[:1]
        if answer in _MARKS:
            return _MARKS[answer]
        if answer == "q" or not line:
            return None


def _print_pair(number: int, count: int, pair: Pair) -> None:
    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    column = (width - 3) // 2
    print(f"\n{number} of {count}: {visible(pair.prompt)[: 3 * width]}")
    heads = (
        f"TokenLab: {facts_of(pair.tokenlab, pair.cost)}",
        f"previous: {facts_of(pair.previous)}",
    )
    cells = [
        [*wrap(visible(head), column), "", *_lines(text, column)]
        for head, text in zip(heads, (pair.tokenlab.text, pair.previous.text), strict=True)
    ]
    for i in range(max(map(len, cells))):
        left, right = (cell[i] if i < len(cell) else "" for cell in cells)
        print(f"{left:<{column}} | {right}".rstrip())


def _lines(text: str, column: int) -> list[str]:
    return [line for part in text.splitlines() for line in wrap(visible(part), column) or [""]]


def _as_json(pair: Pair) -> dict[str, Any]:
    sides = {
        name: {
            "text": one.text, "status": one.status, "latency_ms": one.latency_ms,
            "tokens_out": one.tokens_out, "request_id": one.request_id or None,
            "problems": list(one.problems),
        }
        for name, one in (("tokenlab", pair.tokenlab), ("previous", pair.previous))
    }  # fmt: skip
    cost = None if pair.cost is None else f"{pair.cost:f}"
    return {"prompt": pair.prompt, **sides, "cost_usd": cost}
