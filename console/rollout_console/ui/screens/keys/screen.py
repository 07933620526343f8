"""The keys screen: where each credential comes from, and the organisation's API keys."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import partial
from time import time
from typing import Any, ClassVar, TypeVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Input, Static

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.key_values import SORTS, matches, sort_keys
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.vault.credential import PURPOSES, WORDS, Credential
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.types import ApiKey
from rollout_console.ui.keymap import CONTEXTS, VAULT_KEYS, Key
from rollout_console.ui.off_loop import off_loop
from rollout_console.ui.reading import Reading
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.screens.home.status import CHANGES_NOTHING, StatusFacts
from rollout_console.ui.screens.keys.actions import KeyFlows
from rollout_console.ui.screens.keys.cells import COST, cells, columns
from rollout_console.ui.screens.keys.costs import Costs
from rollout_console.ui.screens.keys.spending import DAYS, about_key, spark
from rollout_console.ui.screens.keys.table import KeyTable
from rollout_console.ui.text import fit
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine

T = TypeVar("T")

EVERY_S = 60.0
_SETTLED_S = 0.3
"""Debounce: the billing of a key is asked for once the cursor has rested on it for so long."""
_SHORT = 18
"""The terminal height in lines below which the details of the selected key are left out."""


_NO_LIST = (
    "The organisation's API keys and what they cost are listed with a management token (mt-...): "
    "a pastes one, v says where it was looked for. Everything else works without one."
)


class KeysScreen(BesideScreen):
    """Lists and changes keys. Calls of the vault and the API run in worker threads."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in VAULT_KEYS]
    CONTEXT = "keys"
    KEYS = VAULT_KEYS
    NOTICE = "#keys-notice"

    DEFAULT_CSS = """
    KeysScreen { layout: vertical; background: $background; }
    KeysScreen #keys-status { background: $panel; }
    KeysScreen DataTable { height: 1fr; background: $background; }
    KeysScreen #key { height: auto; max-height: 50%; border-top: solid $panel; padding: 0 1; }
    KeysScreen #key.-empty { border-top: none; }
    KeysScreen.-short #key { display: none; }
    KeysScreen #keys-filter { display: none; height: 1; border: none; padding: 0 1; }
    KeysScreen.-filtering #keys-filter { display: block; }
    """

    def __init__(
        self, room: ApiKeys, rotations: Rotations, facts: StatusFacts, models: Sequence[str]
    ) -> None:
        super().__init__()
        self._models = models
        self._room = room
        self._rotations = rotations
        self._facts = facts
        self._keys: list[ApiKey] = []
        self._keys_of = room.profile
        self._shown: list[ApiKey] = []
        self._rotating: set[str] = set()
        self._credentials: list[Credential] = []
        self._sort = 0
        self._filter = ""
        self._read_at: datetime | None = None
        self._shown_words = ""
        self._costs = Costs(room)
        self._unread = ""
        self._reading = Reading("the API keys", EVERY_S)

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="keys-status")
        yield self.alarm_line()
        for purpose in PURPOSES:
            yield TextLine(id=f"from-{purpose}")
        yield KeyTable(cursor_type="row", zebra_stripes=False, cell_padding=0)
        yield Static("", id="key", markup=False)
        yield TextLine(id="keys-notice")
        yield Input(placeholder="filter: part of a name, id or model", id="keys-filter")
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Show what is known, and start loading the rest."""
        self._flows = KeyFlows(
            self.app, self._room, self._rotations, self._facts.proving_model, self._models, self
        )
        self.query_one(DataTable).focus()
        self.action_reload()
        self._draw()
        self.set_interval(1.0, self._each_second)

    def _each_second(self) -> None:
        """Read again when it is time to, and say for how long a read is under way or due."""
        if self._reading.is_due(time()):
            self.action_reload()
        if self._reading.words(time()) or self._shown_words:
            self.draw_lines()
        if self.is_current and self._selected is not None:
            self._draw_key()  # how long ago it was used, before it is revoked

    def on_resize(self) -> None:
        """Redraw the table: the columns depend on the width, and the details on the height."""
        self.set_class(self.app.size.height < _SHORT, "-short")
        self._draw()

    # -- asking ----------------------------------------------------------------------------------

    def action_reload(self) -> None:
        """Reload credentials from the vault and keys from the API."""
        self._reading.begin(time())
        self._read()

    @work(group="keys-read", exclusive=True, exit_on_error=False)
    async def _read(self) -> None:
        if self._keys_of != self._room.profile:
            # Clear the list: another organisation's keys must not be revoked by mistake.
            self._keys, self._read_at, self._keys_of = [], None, self._room.profile
            self._costs.clear()
        self._credentials = await asyncio.to_thread(self._flows.resolve_all)
        self.draw_lines()
        try:
            self._keys = await off_loop(self._room.keys, is_read=True)
            rotating = await asyncio.to_thread(self._rotations.under_way)
        except (OperationError, VaultError) as error:
            self._trouble = self._unread = str(error)
            self._reading.wait_for_operator(time())
        except ApiError as error:
            self._trouble = self._unread = str(error)
            self._reading.end(time(), error)
        else:
            self._reading.end(time())
            self._rotating = {one.old_id for one in rotating}
            if self._trouble == self._unread:  # else keep it: an action's error
                self._trouble = ""
            self._unread, self._read_at = "", datetime.now(UTC)
        self._draw()
        self._read_spending()

    @work(group="keys-spending", exclusive=True, exit_on_error=False)
    async def _read_spending(self) -> None:
        """Read the billing of the selected key first, then of those in view."""
        await asyncio.sleep(_SETTLED_S)
        table = self.query_one(DataTable)
        top = int(table.scroll_offset.y)
        wanted = {key.id: key for key in (self._selected,) if key is not None}
        wanted |= {key.id: key for key in self._shown[top : top + max(table.size.height, 1)]}
        async for key in self._costs.read(list(wanted.values())):
            self._show_spending(key)

    def _show_spending(self, key: ApiKey) -> None:
        ids = [one.id for one in self._shown]
        names = [name for name, _ in columns(self.app.size.width)]
        if key.id in ids:
            text, style = spark(self._costs.of(key), datetime.now(UTC))
            place = Coordinate(ids.index(key.id), names.index(COST))
            self.query_one(DataTable).update_cell_at(place, Text(fit(text, DAYS), style))
        self._draw_key()

    def _draw_key(self) -> None:
        """Redraw the details of the selected key."""
        key = self._selected
        pieces: list[tuple[str, str]] = []
        if key is None and any(
            one.secret is None and one.purpose == "management_token" for one in self._credentials
        ):
            pieces += [(_NO_LIST, "$foreground 70%"), ("", "")]
        if key is not None:
            for line in about_key(key, self._costs.of(key), datetime.now(UTC)):
                pieces += [(visible(text), style) for text, style in line]
                pieces.append(("\n", ""))
        details = self.query_one("#key", Static)
        details.update(Content.assemble(*pieces[:-1]))
        details.set_class(not pieces, "-empty")

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.draw_lines()
        table = self.query_one(DataTable)
        row, before = table.cursor_row, self._selected
        wanted = columns(self.app.size.width)
        table.clear(columns=True)
        for name, width in wanted:
            mark = "▾" if SORTS[self._sort].replace("-", " ") == name else ""
            table.add_column(name + mark, width=width + 1)
        found = [key for key in self._keys if matches(key, self._filter)]
        self._shown = sort_keys(found, SORTS[self._sort])
        now = datetime.now(UTC)
        for key in self._shown:
            rotating = key.id in self._rotating
            cost = self._costs.of(key)
            table.add_row(*cells(key, now, wanted, cost, rotating=rotating), key=key.id)
        if self._shown:
            # The cursor follows its key by id: the operator's next action is meant for it.
            ids = [key.id for key in self._shown]
            if before is not None and before.id in ids:
                row = ids.index(before.id)
            table.cursor_coordinate = Coordinate(min(row, len(ids) - 1), 0)
        self.query_one(KeyBar).update_keys()
        self._draw_key()

    def draw_lines(self) -> None:
        """Redraw status, sources of credentials and notice."""
        facts, room = self._facts, self._room
        age = "" if self._read_at is None else f"  read {self._read_at:%H:%M:%S} UTC"
        self._shown_words = words = self._reading.words(time())
        count = counted(len(self._keys), "key")
        listed = f"  {count} by {SORTS[self._sort]}{age}" if self._reading.done else ""
        self.query_one("#keys-status", TextLine).say(
            (" keys", "bold"), (" ▸ ", "$accent"), (visible(room.profile), "bold"),
            facts.writes,
            (listed, ""), (f"  {words}" if words else "", "$warning"),
            (f"  {visible(room.base_url)}", "$foreground 70%"),
        )  # fmt: skip
        for credential in self._credentials:
            known = credential.secret is not None
            none = f"none: {credential.trouble or 'a adds one, v says where it was looked for'}"
            said = f"from {credential.source}" if known else none
            self.query_one(f"#from-{credential.purpose}", TextLine).say(
                (f" {WORDS[credential.purpose]}: ", ""),
                (visible(said), "$success" if known else "$warning"),
            )
        warnings = self._room.warnings(self._keys)
        if warnings:
            more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
            words = f"{visible(warnings[0].sentence)}{more}"
            self.show_notice((" ! ", "$error bold"), (words, "$warning"))
        else:
            self.show_notice((self._default_notice(), "$foreground 70%"))

    def _default_notice(self) -> str:
        if not self._reading.done or self._keys:
            return ""
        return " this organisation has no API key yet: n makes one"

    def reload(self) -> None:
        """Reload credentials from the vault and keys from the API."""
        self.action_reload()

    # -- what can be done now --------------------------------------------------------------------

    @property
    def _selected(self) -> ApiKey | None:
        row = self.query_one(DataTable).cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        if reason := self._facts.why_read_only(key, CHANGES_NOTHING):
            return reason
        needs_key = ("edit", "usage", "rotate", "abandon", "stop", "revoke", "copy")
        if key.id.removeprefix("keys.") in needs_key:
            selected = self._selected
            if selected is None:
                return "no API key is selected"
            if selected.status == "revoked" and key.changes:
                return f"{selected.name} is revoked, which is final"
        return ""

    # -- actions ---------------------------------------------------------------------------------

    def action_row(self, by: int) -> None:
        """Move the cursor."""
        table = self.query_one(DataTable)
        table.move_cursor(row=table.cursor_row + by)

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort = (self._sort + 1) % len(SORTS)
        self._draw()

    def action_filter(self) -> None:
        """Open the filter line."""
        self.add_class("-filtering")
        self.set_focus(self.query_one("#keys-filter", Input))  # synchronously, as at home

    @on(Input.Changed, "#keys-filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._filter = event.value
        self._draw()

    @on(Input.Submitted, "#keys-filter")
    def _filter_done(self) -> None:
        self.query_one(DataTable).focus()

    def go_back(self) -> bool:
        """Close the filter, or else dismiss the notice; return whether there was either."""
        if self.has_class("-filtering"):
            self.query_one("#keys-filter", Input).value = ""
            self.remove_class("-filtering")
            self.query_one(DataTable).focus()
            return True
        said = bool(self._told) or self._trouble != self._unread
        self._told, self._trouble = "", self._unread
        self.draw_lines()
        return said

    @on(DataTable.RowSelected)
    def _row_entered(self) -> None:
        self.action_edit()

    @on(DataTable.RowHighlighted)
    def _row_changed(self) -> None:
        self.query_one(KeyBar).update_keys()
        self._draw_key()
        key = self._selected
        if key is not None and self._costs.of(key) is None:
            self._read_spending()

    def action_copy(self) -> None:
        """Copy the selected key's id."""
        if self.may("keys.copy") and self._selected is not None:
            self.app.copy_to_clipboard(visible(self._selected.id))
            self.say(f"{self._selected.id}: sent to the terminal's clipboard")

    def _of_key(self, name: str, flow: Callable[[ApiKey], Coroutine[Any, Any, None]]) -> None:
        key = self._selected
        if self.may(f"keys.{name}") and key is not None:
            self._trouble = self._unread
            self.start(partial(flow, key))

    def _of_all(self, name: str, flow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self.may(f"keys.{name}"):
            self._trouble = self._unread
            self.start(flow)

    def action_new(self) -> None:
        """Create an API key; its secret is stored in the vault, or shown once."""
        self._of_all("new", self._flows.new)

    def action_edit(self) -> None:
        """Change name, limit, models and expiry."""
        self._of_key("edit", self._flows.edit)

    def action_stop(self) -> None:
        """Deactivate an active key, reactivate another."""
        self._of_key("stop", self._flows.stop)

    def action_revoke(self) -> None:
        """Revoke a key, which is final."""
        self._of_key("revoke", self._flows.revoke)

    def action_usage(self) -> None:
        """Show a key's requests and cost, by model and by day."""
        self._of_key("usage", self._flows.usage)

    def action_rotate(self) -> None:
        """Start a rotation, or advance the one under way."""
        self._of_key("rotate", self._flows.rotate)

    def action_abandon(self) -> None:
        """Abandon a rotation under way: keep the old key, revoke the new one."""
        self._of_key("abandon", self._flows.abandon)

    def action_add(self) -> None:
        """Store a pasted credential."""
        self._of_all("add", self._flows.add)

    def action_remove(self) -> None:
        """Delete the stored credentials of the profile in use."""
        self._of_all("remove", self._flows.remove)

    def action_profile(self) -> None:
        """Use the next profile, for this run alone."""
        self._of_all("profile", self._flows.profile)

    def action_verify(self) -> None:
        """Verify the credentials: read the balance, and send one billed request, if it may."""
        self._of_all("verify", self._flows.verify)

    def action_unlock(self) -> None:
        """Unlock the encrypted store, and retry the keyring."""
        self._of_all("unlock", self._flows.unlock)
