"""``report``: an incident as Markdown with charts and figures, from history and access log."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path

from rollout_console.changes.switch import Switch
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.safe_text import visible
from rollout_console.history.errors import HistoryError
from rollout_console.history.rows import Change
from rollout_console.report.files import ReportExists, write_report
from rollout_console.report.incident import Asked, Incident, find_incident
from rollout_console.report.markdown import as_markdown
from rollout_console.report.tables import as_json


def report(options: Namespace, switch: Switch) -> int:
    """Find the incident, and print it or write its files."""
    file = switch.open_or_last_good().file
    asked = Asked(options.rollback, around=options.around, since=options.since)
    changes = _changes(switch, needed=asked == Asked() or bool(asked.revision))
    prints = options.out == "-"
    if not prints and (options.out or not options.json):
        switch.access.require()
    incident = find_incident(
        file, switch.path, switch.history, changes, asked, time.time(), switch.name
    )
    for words in incident.log_words:
        print(f"warning: {visible(words)}", file=sys.stderr)
    if options.json:
        print(json.dumps(as_json(incident), indent=2))
    elif prints:
        print(as_markdown(incident), end="")
    if prints or (options.json and not options.out):
        return DONE
    return _write(options, switch, incident)


def _changes(switch: Switch, *, needed: bool) -> list[Change]:
    """Return the history, newest first; where it cannot be read, none if it is not ``needed``."""
    try:
        return switch.history.rows(switch.path, None)
    except HistoryError as error:
        if needed:
            raise
        print(f"warning: without the history: {visible(str(error))}", file=sys.stderr)
        return []


def _write(options: Namespace, switch: Switch, incident: Incident) -> int:
    folder = Path(options.out or ".")
    try:
        paths = write_report(incident, folder, rollout_file=switch.path, replaces=options.yes)
    except ReportExists as error:
        if not agreed("replace it", "nothing was written", lines=[str(error)]):
            return PROBLEMS
        paths = write_report(incident, folder, rollout_file=switch.path, replaces=True)
    out = sys.stderr if options.json else sys.stdout
    for path in paths:
        print(visible(str(path)), file=out)
    return DONE
