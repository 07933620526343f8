"""Flows of the money screen's actions: all of a record, and exports."""

import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from textual.app import App
from textual.binding import BindingType

from rollout_console.common.errors import OperationError
from rollout_console.common.write_access import WriteAccess
from rollout_console.cost.worker_protocol import Export
from rollout_console.reconcile.piles import Row
from rollout_console.ui.dialogs.form import Field, FormDialog
from rollout_console.ui.dialogs.ids import IdsDialog
from rollout_console.ui.keymap import MONEY_KEYS
from rollout_console.ui.screens.money.about import ids_of, record_lines
from rollout_console.ui.screens.money.cells import title_of
from rollout_console.ui.screens.money.state import Level

_MOST_WIDE = 120


class Listener(Protocol):
    """The screen that starts the flows."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message; ``bad`` marks a problem."""


class RecordDialog(IdsDialog):
    """All of a record, whose ids can be copied by the keys of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key.binding() for key in MONEY_KEYS if key.id in ("money.copy", "money.copy.all")
    ]


Ask = Callable[[Callable[[int], Export]], Awaitable[None]]
"""Sends a request, which is made with its serial, to the worker; raises OperationError."""


class MoneyFlows:
    """One method for each key; each runs in a worker of the screen, one at a time."""

    def __init__(self, app: App[Any], access: WriteAccess, listener: Listener, ask: Ask) -> None:
        self._app = app
        self._access = access
        self._listener = listener
        self._ask = ask

    async def record(self, row: Row, keys: Mapping[str, str]) -> None:
        """Show everything that is known of a record or a line."""
        width = min(max(self._app.size.width - 4, 40), _MOST_WIDE)
        title = title_of(row.pile, row.reason)
        dialog = RecordDialog(title, record_lines(row, keys), ids_of(row), width=width)
        await self._app.push_screen_wait(dialog)

    async def export(self, level: Level, until: float) -> None:
        """Write the rows of the view, the pile or the difference to a file; its path is asked."""
        of_view, of_why = level.section == "cost", level.section == "why"
        what, name = "all piles", f"piles-{level.pile or 'all'}"
        note = "all rows of the period, without filter and without drill"
        if of_view:
            what, name = f"costs by {level.view}", f"cost-{level.view}"
        elif of_why:
            what, name = "why the bill differs", "cost-why"
            note = "every part of every cause, without filter; they add up to the difference"
        elif level.pile is not None:
            what = f"the pile {title_of(level.pile, '')}"
        path = Field(
            "path", "path", str(_here() / f"{name}-{datetime.fromtimestamp(until, UTC):%Y-%m-%d}"),
            "gets .csv or .jsonl; for you alone (0600); replaces an earlier export alone",
            check=_check_path,
        )  # fmt: skip
        kind = Field("kind", "format", "csv", choices={"csv": "", "jsonl": "JSON Lines"})
        values = await self._app.push_screen_wait(
            FormDialog(
                f"Export {what}",
                (path,) if of_view else (kind, path),
                note=note,
            )
        )
        if values is None:
            self._listener.say("nothing was written")
            return
        self._access.require()
        as_csv = values.get("kind", "csv") == "csv"
        target = _with_suffix(_expanded(values["path"].strip()), "csv" if as_csv else "jsonl")
        kind_of: Literal["csv", "jsonl"] = "csv" if as_csv else "jsonl"
        self._listener.say(f"writing {target} …")
        view, path_of = level.view if of_view else None, os.fsencode(target.absolute())
        await self._ask(lambda serial: Export(serial, path_of, kind_of, view, level.pile, of_why))
        self._listener.say(f"written: {target}")


def _with_suffix(path: Path, suffix: str) -> Path:
    """Return a path with a suffix, where it has none by itself."""
    return path if path.suffix else path.with_name(f"{path.name}.{suffix}")


def _check_path(value: str) -> str:
    try:
        path = _expanded(value.strip())
    except OperationError as error:
        return str(error)
    if not value.strip() or "\0" in str(path):
        return "empty; name a file"
    return "a folder; name a file in it" if path.is_dir() else ""


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise OperationError(f"{path}: there is no such user") from None


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return Path("~")
