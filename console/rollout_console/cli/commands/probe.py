"""``probe``: one minimal real request per route and side, judged field by field."""

import asyncio
import json
import sys
import time
from argparse import Namespace
from decimal import Decimal
from pathlib import Path
from typing import Any

from rollout_console.changes.file_store import RolloutStore
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.errors import OperationError
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.health.log.probe_log import append_probe, probe_log_path
from rollout_console.models.catalogue import Catalogue
from rollout_console.readiness.probes import (
    CEILING_USD,
    SIDES,
    ProbePlan,
    Probes,
    as_json,
    lines_of,
    log_line,
    real_cost,
)
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted


def run_probe(options: Namespace, path: Path, room: ApiKeys) -> int:
    """Plan, print the cost, confirm and send; exit code 1 if any side fails a check.

    With --every it repeats until interrupted, and confirms once.
    """
    if not options.dry_run:
        room.access.require_to_spend()
    probes = Probes(room, Catalogue(root_of(room.base_url), state_folder()))
    if not options.every:
        return _one_round(options, path, probes, asks=not options.yes)
    asks = not options.yes
    while True:
        try:
            code = _one_round(options, path, probes, asks=asks)
            if options.dry_run or (asks and code == PROBLEMS):
                return code
            asks = False
        except (OperationError, RolloutError, ApiError) as error:
            # Keep the schedule after an error: an outage is when probes are wanted most.
            print(f"rollout-console: {visible(redacted(str(error)))}", file=sys.stderr)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001  unattended: nothing restarts it
            print(f"rollout-console: internal error: {type(error).__name__}", file=sys.stderr)
        time.sleep(options.every)


def _one_round(options: Namespace, path: Path, probes: Probes, *, asks: bool) -> int:
    file = RolloutStore(path).open().file
    plan = asyncio.run(_plan(options, probes, file))
    print(visible(plan.words()), file=sys.stderr)
    if not options.json:
        _print_skipped(plan)
    if options.dry_run:
        return _print_plan(options, plan)
    if not plan.shots:
        if options.json:
            _print_plan(options, plan)
        raise OperationError("there is nothing to send; the reasons are above")
    if asks and not agreed("send", "nothing was sent"):
        return PROBLEMS
    return asyncio.run(_send(options, probes, plan, probe_log_path(path, file)))


async def _plan(options: Namespace, probes: Probes, file: RolloutFile) -> ProbePlan:
    return await probes.plan(
        file,
        options.route,
        sides=SIDES if options.side == "both" else (options.side,),
        streams=(False,) if options.no_stream else (False, True),
        media=options.media,
        scheduled=bool(options.every),
    )


async def _send(options: Namespace, probes: Probes, plan: ProbePlan, log: Path) -> int:
    done: list[dict[str, Any]] = []
    spent, troubles = Decimal(0), set()
    ceiling = CEILING_USD if options.ceiling is None else options.ceiling
    async for shot, result in probes.run(plan, ceiling):
        if result.sent:
            troubles.add(append_probe(log, log_line(result)))
        spent += real_cost(shot, result) or Decimal(0)
        done.append(as_json(shot, result))
        if not options.json:
            print("\n".join(visible(line) for line in lines_of(shot, result)))
    for trouble in filter(None, troubles):
        print(f"warning: {visible(trouble)}", file=sys.stderr)
    ok = all(one["ok"] for one in done)
    if options.json:
        skipped = [{"route": s.route, "side": s.side, "reason": s.reason} for s in plan.skipped]
        body = {"ok": ok, "cost_usd": f"{spent:f}", "probes": done, "skipped": skipped}
        # On a schedule, JSON Lines: one line for each round.
        print(json.dumps(body, indent=None if options.every else 2), flush=True)
    else:
        print(f"spent ${spent:.6f} on TokenLab", file=sys.stderr)
    return DONE if ok else PROBLEMS


def _print_skipped(plan: ProbePlan) -> None:
    for one in plan.skipped:
        print(f"not   {visible(one.route)} {one.side}: {visible(one.reason)}", file=sys.stderr)


def _print_plan(options: Namespace, plan: ProbePlan) -> int:
    rows = [
        {
            "route": shot.target.route,
            "side": shot.target.side,
            "stream": shot.stream,
            "model": shot.target.model,
            "most_usd": None if shot.cost is None else f"{shot.cost:f}",
        }
        for shot in plan.shots
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return DONE
    for row in rows:
        how = "stream" if row["stream"] else "whole"
        most = "unknown" if row["most_usd"] is None else f"${row['most_usd']}"
        print(visible(f"{row['route']}  {row['side']}  {how}  {row['model']}  at most {most}"))
    return DONE
