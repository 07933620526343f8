"""The keys screen: where each credential comes from, and the organisation's API keys."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.coordinate import Coordinate
from textual.screen import Screen
from textual.widgets import DataTable, Input
from textual.worker import Worker, WorkerState

from console.gate.secret import redacted
from console.operations.errors import OperationError
from console.operations.key_values import SORTS, matches, sort_keys
from console.operations.keys import KeyRoom
from console.operations.rotation import Rotations
from console.operations.visible import visible
from console.tokenlab.errors import ApiError
from console.tokenlab.types import ApiKey
from console.ui.dialogs.confirm import ConfirmDialog, Question
from console.ui.dialogs.secret_once import SecretOnce
from console.ui.dialogs.text import TextDialog
from console.ui.key_cells import cells, columns
from console.ui.key_forms import (
    credential_form,
    key_form,
    passphrase_form,
    place_of,
    read_key,
    rotation_form,
)
from console.ui.keys import CONTEXTS, VAULT_KEYS, Key
from console.ui.messages import CredentialsChanged
from console.ui.status import StatusFacts
from console.ui.widgets.key_bar import KeyBar
from console.ui.widgets.line import TextLine
from console.vault.credential import PURPOSES, WORDS, Credential
from console.vault.errors import VaultError
from console.vault.vault import Place

T = TypeVar("T")

EVERY_S = 60.0


class KeysScreen(Screen[None]):
    """Lists and changes keys. Whatever asks the vault or the API runs off this thread."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in VAULT_KEYS]

    DEFAULT_CSS = """
    KeysScreen { layout: vertical; background: $background; }
    KeysScreen #keys-status { background: $panel; }
    KeysScreen DataTable { height: 1fr; background: $background; }
    KeysScreen #keys-filter { display: none; height: 1; border: none; padding: 0 1; }
    KeysScreen.-filtering #keys-filter { display: block; }
    """

    def __init__(self, room: KeyRoom, rotations: Rotations, facts: StatusFacts) -> None:
        super().__init__()
        self._room = room
        self._rotations = rotations
        self._facts = facts
        self._keys: list[ApiKey] = []
        self._shown: list[ApiKey] = []
        self._rotating: set[str] = set()
        self._credentials: list[Credential] = []
        self._trouble = ""
        self._told = ""
        self._sort = 0
        self._filter = ""
        self._read_at: datetime | None = None

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="keys-status")
        for purpose in PURPOSES:
            yield TextLine(id=f"from-{purpose}")
        yield DataTable(cursor_type="row", zebra_stripes=False, cell_padding=0)
        yield TextLine(id="keys-notice")
        yield Input(placeholder="filter: part of a name, id or model", id="keys-filter")
        yield KeyBar(CONTEXTS["keys"], self.why_not, self._facts.keymap)

    def on_mount(self) -> None:
        """Show what there is, and ask for the rest."""
        self.query_one(DataTable).focus()
        self._draw()
        self.action_reload()
        self.set_interval(EVERY_S, self.action_reload)

    def on_resize(self) -> None:
        """The columns depend on the width."""
        self._draw()

    # -- asking ----------------------------------------------------------------------------------

    async def _off(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a use case in a thread with a loop of its own: the vault may block for seconds."""
        return await asyncio.to_thread(lambda: asyncio.run(make()))

    @work(group="keys-read", exclusive=True, exit_on_error=False)
    async def action_reload(self) -> None:
        """Ask the vault and the API again."""
        self._credentials = await asyncio.to_thread(self._resolve_all)
        self._draw_lines()
        try:
            self._keys = await self._off(self._room.keys)
            rotating = await asyncio.to_thread(self._rotations.under_way)
        except (ApiError, OperationError, VaultError) as error:
            self._trouble = str(error)
        else:
            self._rotating = {one.old_id for one in rotating}
            self._trouble, self._read_at = "", datetime.now(UTC)
        self._draw()

    def _resolve_all(self) -> list[Credential]:
        return [self._room.vault.resolve(self._room.profile, purpose) for purpose in PURPOSES]

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A worker that failed says so; nothing ends in silence."""
        if event.state is WorkerState.ERROR:
            self._say(f"internal fault: {type(event.worker.error).__name__}", bad=True)

    async def _do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Run a use case; what goes wrong becomes one sentence."""
        try:
            return await self._off(make)
        except (ApiError, OperationError, VaultError) as error:
            self._say(str(error), bad=True)
            return None

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._draw_lines()
        table = self.query_one(DataTable)
        row = table.cursor_row
        wanted = columns(self.app.size.width)
        table.clear(columns=True)
        for name, width in wanted:
            mark = " ▾" if SORTS[self._sort].startswith(name) else ""
            table.add_column(name + mark, width=width + 1)
        found = [key for key in self._keys if matches(key, self._filter)]
        self._shown = sort_keys(found, SORTS[self._sort])
        now = datetime.now(UTC)
        for key in self._shown:
            table.add_row(*cells(key, now, wanted), key=key.id)
        if self._shown:
            table.cursor_coordinate = Coordinate(min(row, len(self._shown) - 1), 0)
        self.query_one(KeyBar).update_keys()

    def _draw_lines(self) -> None:
        facts, room = self._facts, self._room
        count = "1 key" if len(self._keys) == 1 else f"{len(self._keys)} keys"
        age = "" if self._read_at is None else f"  read {self._read_at:%H:%M:%S} UTC"
        self.query_one("#keys-status", TextLine).say(
            (" keys", "bold"), (" ▸ ", "$accent"), (visible(room.profile), "bold"),
            ("  read-only", "$warning bold") if facts.read_only else ("  rw", ""),
            (f"  {count} by {SORTS[self._sort]}{age}", ""),
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
        if self._told:
            self.query_one("#keys-notice", TextLine).say((f" {self._told}", "$success"))
        elif self._trouble:
            self.query_one("#keys-notice", TextLine).say(
                (" ! ", "$error bold"), (visible(self._trouble), "$warning")
            )
        elif warnings:
            more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
            self.query_one("#keys-notice", TextLine).say(
                (" ! ", "$error bold"), (f"{visible(warnings[0].sentence)}{more}", "$warning")
            )
        else:
            self.query_one("#keys-notice", TextLine).say()

    def _say(self, sentence: str, *, bad: bool = False) -> None:
        sentence = redacted(visible(sentence))
        self._told, self._trouble = ("", sentence) if bad else (sentence, self._trouble)
        self._draw_lines()

    # -- what can be done now --------------------------------------------------------------------

    @property
    def _selected(self) -> ApiKey | None:
        row = self.query_one(DataTable).cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def why_not(self, key: Key) -> str:
        """Return why a key can do nothing now; empty where it can."""
        if key.changes and self._facts.read_only:
            return "read-only: nothing is changed; start without --read-only to change"
        needs_key = ("edit", "usage", "rotate", "abandon", "stop", "revoke", "copy")
        if key.id.removeprefix("keys.") in needs_key:
            selected = self._selected
            if selected is None:
                return "no API key is selected"
            if selected.status == "revoked" and key.changes:
                return f"{selected.name} is revoked, which is final"
        return ""

    def _may(self, name: str) -> bool:
        key = next(key for key in VAULT_KEYS if key.id == f"keys.{name}")
        reason = self.why_not(key)
        self._told = ""
        if reason:
            self._say(reason, bad=True)
        return not reason

    async def _sure(self, title: str, effect: str, type_name: str = "") -> bool:
        question = Question(title, effect, type_name=type_name)
        return await self.app.push_screen_wait(ConfirmDialog(question)) is not None

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
        self.query_one("#keys-filter", Input).focus()

    @on(Input.Changed, "#keys-filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._filter = event.value
        self._draw()

    @on(Input.Submitted, "#keys-filter")
    def _filter_done(self) -> None:
        self.query_one(DataTable).focus()

    def go_back(self) -> bool:
        """Leave the filter or dismiss what is said; return whether there was something to."""
        if self.has_class("-filtering"):
            self.query_one("#keys-filter", Input).value = ""
            self.remove_class("-filtering")
            self.query_one(DataTable).focus()
            return True
        said = bool(self._told)
        self._told = ""
        self._draw_lines()
        return said

    @on(DataTable.RowSelected)
    def _row_entered(self) -> None:
        self.action_edit()

    @on(DataTable.RowHighlighted)
    def _row_changed(self) -> None:
        self.query_one(KeyBar).update_keys()

    def action_copy(self) -> None:
        """Copy the selected key's id."""
        if self._may("copy") and self._selected is not None:
            self.app.copy_to_clipboard(visible(self._selected.id))
            self._say(f"{self._selected.id}: sent to the terminal's clipboard")

    @work(group="keys-change", exit_on_error=False)
    async def action_new(self) -> None:
        """Make a key; its secret goes to the vault, or is shown once."""
        if not self._may("new"):
            return
        values = await self.app.push_screen_wait(key_form(None, self._room.profile))
        if values is None:
            return
        wish = read_key(values)
        place = place_of(values["place"])
        where = f"its secret kept in the {place} store" if place else "its secret shown once"
        effect = f"make API key {wish['name']} for {self._room.base_url}, {where}"
        if not await self._sure("New API key", effect) or not await self._ready(place):
            return
        if place is None:
            created = await self._do(lambda: self._room.create(**wish))
            if created is not None:
                await self.app.push_screen_wait(SecretOnce(created.key.name, created.secret))
                self._say(f"{created.key.name} was made")
        else:
            profile = values["profile"]
            kept = await self._do(
                lambda: self._room.create_kept(profile=profile, place=place, **wish)
            )
            if kept is not None:
                self._say(f"{kept[0].key.name} was made; its secret is in {kept[1]} for {profile}")
        self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_edit(self) -> None:
        """Change name, limit, models and expiry."""
        key = self._selected
        if not self._may("edit") or key is None:
            return
        values = await self.app.push_screen_wait(key_form(key, self._room.profile))
        if values is None:
            return
        wish = read_key(values)
        now = {
            "name": key.name, "limit": key.limit, "models": key.models,
            "expires_at": key.expires_at,
        }  # fmt: skip
        changes = {name: value for name, value in wish.items() if value != now[name]}
        if not changes:
            self._say("nothing to do: the key says so already")
            return
        words = ", ".join(
            f"{name} {_words(now[name])} to {_words(v)}" for name, v in changes.items()
        )
        if await self._sure("Change API key", f"{key.name}: {words}"):
            changed = await self._do(lambda: self._room.change(key, **changes))
            if changed is not None:
                self._say(f"done: {changed.name}: {words}")
            self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_stop(self) -> None:
        """Deactivate an active key, reactivate another."""
        key = self._selected
        if not self._may("stop") or key is None:
            return
        stops = key.status == "active"
        verb = "Deactivate" if stops else "Reactivate"
        effect = f"{key.name}: requests with it {'fail from now on' if stops else 'work again'}"
        if await self._sure(f"{verb} API key", effect, key.name if stops else ""):
            status = "inactive" if stops else "active"
            if await self._do(lambda: self._room.change(key, status=status)) is not None:
                self._say(f"done: {key.name} is {status}")
            self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_revoke(self) -> None:
        """Revoke a key, which is final."""
        key = self._selected
        if not self._may("revoke") or key is None:
            return
        effect = f"{key.name} ({key.id}) never works again; this is final"
        if await self._sure("Revoke API key", effect, key.name):
            if await self._do(lambda: self._room.change(key, status="revoked")) is not None:
                self._say(f"done: {key.name} is revoked")
            self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_usage(self) -> None:
        """Show what a key has cost."""
        key = self._selected
        if not self._may("usage") or key is None:
            return
        found = await self._do(lambda: self._room.billing(key))
        if found is None:
            return
        lines = [f"{found.requests} requests, ${found.cost:f}", "", "by model"]
        lines += [f"  {row.name:<36} {row.requests:>8}  ${row.cost:f}" for row in found.by_model]
        lines += ["", "by day"]
        lines += [f"  {row.name:<36} {'':>8}  ${row.cost:f}" for row in found.by_day]
        await self.app.push_screen_wait(TextDialog(f"{key.name} ({key.id})", lines))

    @work(group="keys-change", exit_on_error=False)
    async def action_rotate(self) -> None:
        """Begin a rotation, or take one further."""
        key = self._selected
        if not self._may("rotate") or key is None:
            return
        try:
            found = await asyncio.to_thread(self._rotations.find, key)
        except OperationError as error:
            self._say(str(error), bad=True)
            return
        if found is None:
            values = await self.app.push_screen_wait(rotation_form(key))
            place = place_of(values["place"]) if values else None
            if values is None or place is None:
                return
            effect = (
                f"{key.name}: a new key with its limit and models, for profile "
                f"{self._room.profile}; the old one works until it is silent"
            )
            if not await self._sure("Rotate API key", effect) or not await self._ready(place):
                return
            model = values["model"]
            progress = await self._do(lambda: self._rotations.start(key, place, model))
        else:
            rotation = found
            progress = await self._do(lambda: self._rotations.advance(rotation))
        if progress is not None:
            waits = f"waits for {progress.waits_for}" if progress.waits_for else "it is done"
            lines = [*progress.did, "", waits, "", "t goes on, T goes back to the old key"]
            await self.app.push_screen_wait(TextDialog(f"rotation of {key.name}", lines))
        self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_abandon(self) -> None:
        """Stay with the old key of a rotation under way."""
        key = self._selected
        if not self._may("abandon") or key is None:
            return
        try:
            found = await asyncio.to_thread(self._rotations.find, key)
        except OperationError as error:
            self._say(str(error), bad=True)
            return
        if found is None:
            self._say(f"{key.name} is not being rotated", bad=True)
            return
        effect = f"stay with {found.old_name}, revoke {found.new_name} for ever"
        if await self._sure("Abandon rotation", effect, found.old_name):
            rotation = found
            said = await self._do(lambda: self._rotations.abandon(rotation))
            if said is not None:
                self._say(said)
            self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_add(self) -> None:
        """Keep a pasted credential."""
        if not self._may("add"):
            return
        values = await self.app.push_screen_wait(credential_form(self._room.profile))
        if values is None:
            return
        place = place_of(values["place"])
        if not await self._ready(place):
            return
        try:
            where = await asyncio.to_thread(
                self._room.add, values["profile"], values["secret"], place
            )
        except (OperationError, VaultError) as error:
            self._say(str(error), bad=True)
        else:
            self._say(f"kept for profile {values['profile']} in {where}; v proves it")
            self.post_message(CredentialsChanged())
        self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_remove(self) -> None:
        """Forget the credentials of the profile in use."""
        if not self._may("remove"):
            return
        profile = self._room.profile
        if not await self._sure("Forget credentials", f"both of profile {profile}", profile):
            return
        try:
            places = await asyncio.to_thread(self._room.remove, profile)
        except (OperationError, VaultError) as error:
            self._say(str(error), bad=True)
        else:
            self._say(f"removed: {', '.join(places)}" if places else "there was nothing to remove")
        self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_profile(self) -> None:
        """Use the next profile, for this run alone."""
        try:
            profiles = await asyncio.to_thread(self._room.known_profiles)
        except VaultError as error:
            self._say(str(error), bad=True)
            return
        names = [profile.name for profile in profiles]
        following = profiles[(names.index(self._room.profile) + 1) % len(profiles)]
        self._room.profile = following.name
        self._room.base_url = following.base_url or self._room.base_url
        self._keys = []
        self._say(f"profile {following.name} for this screen; the rollout file keeps its own")
        self.action_reload()

    @work(group="keys-change", exit_on_error=False)
    async def action_verify(self) -> None:
        """Prove the credentials: the balance, and one request of a few tokens."""
        self._told = ""
        lines: list[str] = []
        for credential in await asyncio.to_thread(self._resolve_all):
            words = WORDS[credential.purpose]
            if credential.secret is None:
                lines += [f"{words}: {credential.problem}", ""]
                lines += [f"  {s.source}: {s.reason or 'found'}" for s in credential.steps] + [""]
                continue
            purpose, model = credential.purpose, self._facts.proving_model
            if purpose == "api_key" and not await self._sure(
                "Verify API key", f"one request of a few tokens to {model}, which is billed"
            ):
                continue
            said = await self._do(lambda p=purpose, m=model: self._room.verify(p, m))  # type: ignore[misc]
            lines.append(f"{words} from {credential.source}: {said or self._trouble}")
        if lines:
            await self.app.push_screen_wait(TextDialog("credentials", lines))

    @work(group="keys-change", exit_on_error=False)
    async def action_unlock(self) -> None:
        """Unlock the encrypted store, and give the keyring another chance."""
        self._room.vault.keyring.retry()
        if self._room.vault.encrypted.exists and await self._ready("encrypted"):
            self._say("the encrypted store is unlocked for this run")
        self.post_message(CredentialsChanged())
        self.action_reload()

    async def _ready(self, place: Place | None) -> bool:
        """Unlock the encrypted store, or make one, where that is the place; False if given up."""
        store = self._room.vault.encrypted
        if place != "encrypted" or store.unlocked:
            return True
        values = await self.app.push_screen_wait(passphrase_form(new=not store.exists))
        if values is None:
            return False
        try:
            await asyncio.to_thread(store.unlock, values["passphrase"])
        except VaultError as error:
            self._say(str(error), bad=True)
            return False
        return True


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "any"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "none" if value is None else str(value)
