"""``budgets``: what was spent of each budget, and what that holds."""

import json
import os
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from rollout_console.budgets.spending import (
    Spending,
    known_spending,
    note_failure,
    spending_path,
)
from rollout_console.budgets.standing import is_due, standings_of
from rollout_console.budgets.tables import as_json, as_text
from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.pull_progress import PullProgress
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.guard.leader_lock import guard_acts
from rollout_gate.file.model import RolloutFile

_NICE = 15


def run(options: Namespace, switch: Switch, room: ApiKeys) -> int:
    """Count and print; return the exit code: 1 where a budget is spent, or of no key."""
    file = switch.open_or_last_good().file
    kept_at = spending_path(state_folder(), switch.path, file.profile)
    if options.if_due:
        with suppress(OSError):
            os.nice(_NICE)
        now = time.time()
        if is_due(file, known_spending(state_folder(), switch.path, file.profile, now), now):
            _count(options, switch.path, file, room, kept_at)
        return DONE
    found, words = Spending(), list[str]()
    if file.asks_for_counts:
        found, words = _count(options, switch.path, file, room, kept_at) or (found, words)
    now = time.time()
    for one in words:
        print(f"warning: {visible(one)}", file=sys.stderr)
    standings = standings_of(file, found, now)
    if options.json:
        print(json.dumps(as_json(file, standings, found, words, now), indent=2))
    else:
        acts = guard_acts(switch)
        for line in as_text(file, standings, found, now, guard_acts=acts):
            print(line)
    bad = any(one.is_over or (one.spend is not None and one.spend.problem) for one in standings)
    return PROBLEMS if bad else DONE


def _count(
    options: Namespace, path: Path, file: RolloutFile, room: ApiKeys, kept_at: Path
) -> tuple[Spending, list[str]] | None:
    """Count; None where another process does so, or has just done so, and it was not asked for."""
    from rollout_console.cost.spending_count import count_spending, counting

    with PullProgress() as progress, counting(kept_at, progress, waits=not options.if_due) as taken:
        now = time.time()
        due = is_due(file, known_spending(state_folder(), path, file.profile, now), now)
        if options.if_due and not (taken and due):
            return None
        try:
            counted = count_spending(
                room,
                file,
                path,
                state_folder(),
                offline=options.offline,
                shares=not options.access.read_only,
                watcher=progress,
            )
        except VaultError as error:
            note_failure(kept_at, str(error), time.time())
            raise
    return counted.spending, list(counted.words)
