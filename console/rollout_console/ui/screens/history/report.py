"""The flow of writing an incident report from the history screen."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from textual.app import App

from rollout_console.changes.change_details import way_of
from rollout_console.common.errors import OperationError
from rollout_console.history.rows import Change
from rollout_console.report.files import ReportExists, write_report
from rollout_console.report.incident import Asked, Incident, find_incident
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.form import Field, FormDialog
from rollout_console.ui.session import Session


class Listener(Protocol):
    """The screen that the report is written from."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message."""


async def write_incident_report(
    app: App[Any], session: Session, changes: Sequence[Change], selected: Change, listener: Listener
) -> None:
    """Find the incident, ask for a folder, and write the files; raises OperationError.

    It is that of the selected rollback, or of the latest one where another change is selected.
    """
    switch, file = session.switch, session.monitor.file
    asked = Asked(row=selected.id) if way_of(selected) == "rollback" else Asked()
    listener.say("reading the access log …")
    incident = await asyncio.to_thread(
        find_incident, file, switch.path, switch.history, changes, asked, time.time(), switch.name
    )
    listener.say("")
    folder = await _folder(app, incident)
    if folder is None:
        return
    switch.access.require()
    try:
        await asyncio.to_thread(
            write_report, incident, folder, rollout_file=switch.path, replaces=False
        )
    except ReportExists as error:
        question = Question("Replace the earlier report?", str(error))
        if await app.push_screen_wait(ConfirmDialog(question)) is None:
            listener.say("nothing was written")
            return
        await asyncio.to_thread(
            write_report, incident, folder, rollout_file=switch.path, replaces=True
        )
    listener.say(f"written: {incident.name}.md, .svg and .csv in {folder}")


async def _folder(app: App[Any], incident: Incident) -> Path | None:
    """Ask for the folder of the files; None where that is cancelled."""
    field = Field("folder", "folder", _here(), "where the three files go; ~ is your home",
                  check=_check_folder)  # fmt: skip
    dialog = FormDialog(
        f"Write the report {incident.name}",
        (field,),
        note=f"{incident.scope.words}: Markdown, charts (SVG) and figures (CSV)",
    )
    values = await app.push_screen_wait(dialog)
    return None if values is None else _expanded(values["folder"].strip())


def _check_folder(value: str) -> str:
    try:
        folder = _expanded(value.strip())
    except OperationError as error:
        return str(error)
    return "" if value.strip() and "\0" not in str(folder) else "empty; name a folder"


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise OperationError(f"{folder}: there is no such user") from None


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return ""
