"""``reconcile``: what TokenLab billed against what the access log has, to the last digit."""

import itertools
import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from rollout_console.changes.names import expect_names_of_period
from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.pull_progress import PullProgress
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.reconcile.piles import PILES, Name
from rollout_console.reconcile.reconciliation import (
    SETTLE_ASYNC_S,
    SETTLE_S,
    Asked,
    Outcome,
    reconcile,
)
from rollout_console.reconcile.tables import as_json, row_json, write_csv, write_jsonl
from rollout_console.reconcile.text import as_text, row_text

_DAY_S = 86_400.0
_ROWS = 100


def run(options: Namespace, switch: Switch, room: ApiKeys) -> int:
    """Reconcile, print and export; return the exit code.

    It is PROBLEMS where there is a gap, or a log that cannot be read.
    """
    if options.csv or options.jsonl:
        switch.access.require()
    file = switch.open_or_last_good().file
    now = time.time()
    until = now if options.until is None else options.until
    asked = Asked(
        until - _DAY_S if options.since is None else options.since,
        until,
        options.route,
        options.org,
        options.key,
        SETTLE_S if options.settle is None else options.settle,
        SETTLE_ASYNC_S if options.settle_async is None else options.settle_async,
        options.reread,
        options.offline,
    )
    with (
        PullProgress() as progress,
        reconcile(asked, room, file, switch.path, state_folder(), progress) as outcome,
    ):
        progress.clear()
        piles = outcome.piles
        is_seen = bool(piles.log.lines or any(pile.all.records for pile in piles.piles.values()))
        expect_names_of_period(file, options.route, options.org, is_seen=is_seen)
        return _show(options, switch.path, outcome)


def _show(options: Namespace, path: Path, outcome: Outcome) -> int:
    for words in outcome.words:
        print(f"warning: {visible(words)}", file=sys.stderr)
    piles: tuple[Name, ...] = (options.pile,) if options.pile else PILES
    for given, write in ((options.csv, write_csv), (options.jsonl, write_jsonl)):
        if given:
            write(Path(given), outcome, piles, rollout_file=path)
    if options.pile:
        _list(options, outcome)
    elif options.json:
        print(json.dumps(as_json(outcome), indent=2))
    else:
        for line in as_text(outcome):
            print(line)
    for given in filter(None, (options.csv, options.jsonl)):
        print(visible(str(given)), file=sys.stderr if options.json else sys.stdout)
    return DONE if outcome.piles.is_ok else PROBLEMS


def _list(options: Namespace, outcome: Outcome) -> None:
    """Print the rows of a pile, one by one: there may be millions."""
    rows = outcome.piles.rows(options.pile)
    if options.json:
        _print_array(row_json(row, outcome) for row in itertools.islice(rows, options.limit))
        return
    limit = options.limit or _ROWS
    for row in itertools.islice(rows, limit):
        print(row_text(row, outcome))
    figures = outcome.piles.piles[options.pile].all
    if (more := figures.records + figures.lines - limit) > 0:
        print(f"and {more:,} more: --limit, --csv and --jsonl have them", file=sys.stderr)


def _print_array(values: "itertools.chain[Any] | Any") -> None:
    start = "["
    for value in values:
        print(f"{start}\n{json.dumps(value)}", end="")
        start = ","
    print("\n]" if start == "," else "[]")
