"""``reconcile``: what TokenLab billed against what the access log has, to the last digit."""

import itertools
import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE, PROBLEMS, USAGE
from rollout_console.common.durations import seconds_text
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.reconcile.piles import PILES, Name
from rollout_console.reconcile.pull import Progress
from rollout_console.reconcile.reconciliation import (
    SETTLE_ASYNC_S,
    SETTLE_S,
    Asked,
    Outcome,
    Watcher,
    reconcile,
)
from rollout_console.reconcile.tables import as_json, row_json, write_csv, write_jsonl
from rollout_console.reconcile.text import as_text, row_text
from rollout_console.tokenlab.errors import ApiError

_DAY_S = 86_400.0
_ROWS = 100
_BAR = 24


def run(options: Namespace, switch: Switch, room: ApiKeys) -> int:
    """Reconcile, print and export; return the exit code, PROBLEMS where there is a gap."""
    if options.offline and options.reread:
        print("rollout-console: --reread asks the API, and --offline does not", file=sys.stderr)
        return USAGE
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
    told = _Told()
    try:
        with reconcile(asked, room, file, switch.path, state_folder(), told) as outcome:
            told.clear()
            return _show(options, switch.path, outcome)
    except (ApiError, KeyboardInterrupt):
        told.clear()
        print(
            "what was pulled is kept: the same command goes on where this one stopped",
            file=sys.stderr,
        )
        raise
    finally:
        told.clear()


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
    return PROBLEMS if outcome.piles.has_gap else DONE


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


class _Told(Watcher):
    """Draws a progress bar on a terminal, in one line that is wiped at the end."""

    def __init__(self) -> None:
        self._draws = sys.stderr.isatty()
        self._width = 0
        self._next = 0.0

    def progress(self, progress: Progress) -> None:
        """Draw how far it is, at most ten times a second."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        whole = (progress.key - 1 + progress.part) / progress.keys
        bar = f"[{'#' * int(whole * _BAR):<{_BAR}}] {100 * whole:3.0f}%"
        key = f"key {progress.key} of {progress.keys} {visible(progress.name)[:20]}"
        self._draw(f"{bar}  {key}  {progress.records:,} records, {progress.requests:,} requests")

    def waits(self, seconds: float, why: str) -> None:
        """Say that the pull waits, and what for."""
        self._draw(f"waiting {seconds_text(seconds)}: {visible(why)[:60]}")

    def locked(self) -> None:
        """Say that another process is waited for."""
        self._draw("waiting for another pull of the same records")

    def clear(self) -> None:
        """Wipe the line."""
        if self._width:
            self._draw("")
            print("\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def _draw(self, text: str) -> None:
        if self._draws:
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
