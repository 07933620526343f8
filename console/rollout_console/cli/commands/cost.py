"""``cost``: what TokenLab bills, by route, org, model, key and day; burn, runway, differences."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path

from rollout_console.budgets.spending import known_spending, spending_path
from rollout_console.budgets.standing import is_due
from rollout_console.changes.names import expect_names_of_period
from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.pull_progress import PullProgress
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.errors import OperationError
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.cost.bill import VIEWS, View
from rollout_console.cost.costs import CostAsked, Costs, costs
from rollout_console.cost.tables import as_json, write_csv
from rollout_console.cost.text import as_text
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.model import RolloutFile

_DAY_S = 86_400.0


def run(options: Namespace, switch: Switch, room: ApiKeys) -> int:
    """Pull, attribute, print and export; return the exit code."""
    if options.csv:
        switch.access.require()
    file = switch.open_or_last_good().file
    until = time.time() if options.until is None else options.until
    asked = CostAsked(
        until - _DAY_S if options.since is None else options.since,
        until,
        options.route,
        options.org,
        options.key,
        options.offline,
        options.against,
    )
    with PullProgress() as progress:
        found = costs(
            asked, room, file, switch.path, state_folder(), progress, recorded=switch.recorded()
        )
        expect_names_of_period(
            file, options.route, options.org, is_seen=bool(found.bill.chosen.requests),
            known=[group.org for group in found.bill.groups if group.org],
        )  # fmt: skip
        _count_budgets(options, switch.path, file, room, progress)
    return _show(options, switch.path, found)


def _count_budgets(
    options: Namespace, path: Path, file: RolloutFile, room: ApiKeys, progress: PullProgress
) -> None:
    """Count for the file's budgets as well, where that is due; an error is no error of the bill."""
    folder = state_folder()
    kept_at = spending_path(folder, path, file.profile)
    now = time.time()
    known = known_spending(folder, path, file.profile, now)
    is_own = room.profile == file.profile and not options.base_url
    if options.offline or not is_own or not is_due(file, known, now):
        return
    from rollout_console.cost.spending_count import count_spending, counting

    try:
        with counting(kept_at, progress):
            count_spending(
                room, file, path, folder, shares=not options.access.read_only, watcher=progress
            )
    except (OperationError, ApiError) as error:
        progress.clear()
        print(f"warning: budgets are not counted: {visible(str(error))}", file=sys.stderr)


def _show(options: Namespace, path: Path, found: Costs) -> int:
    for words in found.words:
        print(f"warning: {visible(words)}", file=sys.stderr)
    views: tuple[View, ...] = (options.by,) if options.by else VIEWS
    if options.csv:
        write_csv(Path(options.csv), found, views, rollout_file=path)
    if options.json:
        print(json.dumps(as_json(found, views), indent=2))
    else:
        for line in as_text(found, options.by, options.limit):
            print(line)
    if options.csv:
        print(visible(options.csv), file=sys.stderr if options.json else sys.stdout)
    return DONE
