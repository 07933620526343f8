"""The key table: every key binding, once; the source of bindings, footer, help and docs/keys.md."""

import msgspec
from textual.binding import Binding


class Key(msgspec.Struct, frozen=True):
    """One key binding; ``changes`` marks an action that read-only mode disables.

    ``at_terminal`` marks one that a browser's tab disables, too: it costs money, asks for a
    passphrase, or shows another organisation's keys.

    ``keys`` is Textual's comma-separated list, ``shown`` the key as it is displayed, ``footer`` the
    label in the footer (empty: not listed there). One with ``priority`` works in dialogs, too.
    """

    id: str
    keys: str
    action: str
    help: str
    footer: str = ""
    shown: str = ""
    changes: bool = False
    priority: bool = False
    at_terminal: bool = False

    def binding(self) -> Binding:
        """Return the Textual binding, hidden from Textual's footer: KeyBar replaces that."""
        return Binding(
            self.keys,
            self.action,
            self.help,
            id=self.id,
            show=False,
            key_display=self.shown,
            priority=self.priority,
        )


HOME_KEYS = (
    Key(
        "raise", "plus,equals_sign", "raise", "Raise the org, or all marked, a step", "raise", "+",
        True,
    ),
    Key("lower", "minus", "lower", "Lower the org, or all marked, a step", "lower", "-", True),
    Key("exact", "e", "exact", "Set an exact percent, of all marked too", "exact %", "e", True),
    Key("rollback", "r", "rollback", "Roll back what is selected", "roll back", "r", True),
    Key("rollback.route", "R", "rollback_route", "Roll back the whole route", "route", "R", True),
    Key(
        "rollback.all", "exclamation_mark", "rollback_all", "Roll back everything", "all", "!", True
    ),
    Key("mark", "space", "mark", "Mark for a change of several", "", "space"),
    Key("mark.shown", "M", "mark_shown", "Mark all that the filter shows", "", "M"),
    Key("undo", "u", "undo", "Undo the last change", "undo", "u", True),
    Key("resume", "o", "resume", "Resume what is rolled back here", "resume", "o", True),
    Key("ramp.back", "b", "put_back", "Put back into the guard's ramp", "", "b", True),
    Key("trouble.next", "n", "trouble(1)", "To the next trouble, wherever it is", "trouble", "n"),
    Key("trouble.previous", "N", "trouble(-1)", "To the previous trouble", "", "N"),
    Key("acknowledge", "a", "acknowledge", "Acknowledge the alarm that is shown", "", "a"),
    Key("fold", "enter", "fold", "Fold or unfold the route", "", "enter"),
    Key("fold.all", "z", "fold_all", "Fold or unfold all routes", "", "z"),
    Key("sort", "s", "sort", "Sort: file, worst, traffic, percent, name", "sort", "s"),
    Key("filter", "slash", "filter", "Filter names, ok, hold, sick, …; ! inverts", "filter", "/"),
    Key("charts", "c", "charts", "Next pair of charts", "charts", "c"),
    Key("copy", "y", "copy", "Copy the id (sent to the terminal's clipboard)", "", "y"),
    Key("up", "up,k", "move(-1)", "Up", "", "↑ k"),
    Key("down", "down,j", "move(1)", "Down", "", "↓ j"),
    Key("route.previous", "left,h", "route(-1)", "Previous route", "", "← h"),
    Key("route.next", "right,l", "route(1)", "Next route", "", "→ l"),
    Key("page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("first", "g,home", "first", "First row", "", "g"),
    Key("last", "G,end", "last", "Last row", "", "G"),
)  # fmt: skip

APP_KEYS = (
    Key("palette", "colon,ctrl+p", "command_palette", "Commands", "more", ":"),
    Key("screen.home", "1", "show_home", "Home: routes and orgs", "", "1"),
    Key("screen.keys", "2", "show_keys", "Keys: profiles and API keys", "keys", "2"),
    Key("screen.models", "3", "show_models", "Models: what TokenLab offers", "models", "3"),
    Key("screen.routes", "4", "show_routes", "Routes: checks, probes, phases", "routes", "4"),
    Key("screen.live", "5", "show_live", "Live: charts, events, alerts, errors", "live", "5"),
    Key("screen.history", "6", "show_history", "History: who changed what, report", "history", "6"),
    Key("screen.jobs", "7", "show_jobs", "Jobs: async media tasks, polled, lost", "jobs", "7"),
    Key("screen.money", "8", "show_money", "Money: bill, runway, piles, why", "money", "8"),
    Key("jump.back", "ctrl+o", "jump(-1)", "Back to before the last jump: n g / 1-8", "", "ctrl+o"),
    Key("jump.forward", "ctrl+n", "jump(1)", "Forward again", "", "ctrl+n"),
    Key("help", "question_mark,f1", "help", "Help", "help", "?"),
    Key("back", "escape", "back", "Close, clear filter or marks, dismiss a notice", "", "esc"),
    Key(
        "redraw", "ctrl+l", "redraw", "Redraw: another program has written to the terminal",
        "", "ctrl+l", priority=True,
    ),
    Key("quit", "q,ctrl+q", "quit", "Quit; traffic stays as it is", "quit", "q"),
)  # fmt: skip

VAULT_KEYS = (
    Key("keys.edit", "enter,e", "edit", "Name, limit, models, expiry of a key", "edit", "e", True),
    Key("keys.new", "n", "new", "Make an API key", "new", "n", True),
    Key("keys.usage", "d", "usage", "What a key has cost, by model and day", "usage", "d"),
    Key("keys.rotate", "t", "rotate", "Start or continue a rotation", "rotate", "t", True),
    Key("keys.abandon", "T", "abandon", "Abandon a rotation, keep the old key", "", "T", True),
    Key("keys.stop", "x", "stop", "Deactivate or reactivate a key", "(de)activate", "x", True),
    Key("keys.revoke", "X", "revoke", "Revoke a key for ever", "revoke", "X", True),
    Key("keys.add", "a", "add", "Paste a credential for a profile", "add", "a", True),
    Key("keys.remove", "minus", "remove", "Delete a profile's credentials", "forget", "-", True),
    Key(
        "keys.profile", "p", "profile", "Use the next profile for this run", "profile", "p",
        at_terminal=True,
    ),
    Key(
        "keys.verify", "v", "verify", "Prove the credentials with a real call", "verify", "v",
        at_terminal=True,
    ),
    Key(
        "keys.unlock", "U", "unlock", "Unlock the encrypted store; ask the keyring again", "", "U",
        at_terminal=True,
    ),
    Key("keys.sort", "s", "sort", "Sort by the next column", "sort", "s"),
    Key("keys.filter", "slash", "filter", "Filter keys by name, id or model", "filter", "/"),
    Key("keys.reload", "f5", "reload", "Ask the API again", "", "f5"),
    Key("keys.down", "j", "row(1)", "Down", "", "↓ j"),
    Key("keys.up", "k", "row(-1)", "Up", "", "↑ k"),
    Key("keys.copy", "y", "copy", "Copy the key's id (never its secret)", "", "y"),
)  # fmt: skip

SCENE_KEYS = (
    ("i", "image"), ("v", "video"), ("m", "music"), ("d", "3d"), ("t", "tts"), ("s", "stt"),
    ("e", "embedding"), ("r", "rerank"), ("n", "translation"),
)  # fmt: skip
"""Keys, each with the scene (use case) whose recommended models it shows."""

MODEL_KEYS = (
    Key("models.contract", "enter", "contract", "The model's full contract", "contract", "enter"),
    Key("models.use", "u", "use", "Put the model on a route", "use on a route", "u", True),
    Key("models.compare", "equals_sign", "compare", "Two models side by side", "compare", "="),
    Key("models.search", "slash", "search", "Search as you type", "search", "/"),
    Key("models.sort", "o", "sort", "Order by rank, price, context, id", "order", "o"),
    Key("models.category", "c", "choose('category')", "One category", "category", "c"),
    Key("models.provider", "p", "choose('provider')", "One provider", "provider", "p"),
    Key("models.tag", "number_sign", "choose('tag')", "One tag", "tag", "#"),
    Key("models.stage", "f", "stage", "One stage of the lifecycle", "lifecycle", "f"),
    Key("models.price", "dollar_sign", "price", "At most a price", "price", "$"),
    Key("models.changed", "asterisk", "changed", "Changed since the last look", "changed", "*"),
    Key("models.seen", "S", "seen", "Mark the changes as seen", "", "S", True),
    *(
        Key(f"models.scene.{scene}", key, f"scene('{scene}')", f"Recommended for {scene}", "", key)
        for key, scene in SCENE_KEYS
    ),
    Key("models.copy", "y", "copy", "Copy the model's id", "", "y"),
    Key("models.reload", "f5", "reload", "Ask the API again", "", "f5"),
    Key("models.up", "up,k", "row(-1)", "Up", "", "↑ k"),
    Key("models.down", "down,j", "row(1)", "Down", "", "↓ j"),
    Key("models.page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("models.page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("models.first", "g,home", "end(False)", "First model", "", "g"),
    Key("models.last", "G,end", "end(True)", "Last model", "", "G"),
)  # fmt: skip

ROUTE_KEYS = (
    Key("routes.check", "c", "check", "Check everything before traffic", "check", "c"),
    Key("routes.probe", "p", "probe", "One real request to each side", "probe", "p", True),
    Key("routes.shadow", "s", "shadow", "A sample through both sides", "shadow", "s", True),
    Key("routes.tick", "x", "tick", "Tick an exit check", "tick", "x", True),
    Key("routes.next", "n", "move(1)", "Go to the next phase", "next phase", "n", True),
    Key("routes.back", "N", "move(-1)", "Go one phase back", "", "N", True),
    Key("routes.owner", "o", "owner", "Name owner and contacts", "owner", "o", True),
    Key("routes.playbook", "w", "playbook", "Write the support playbook", "playbook", "w", True),
    Key("routes.copy", "y", "copy", "Copy the route's name", "", "y"),
    Key("routes.reload", "f5", "reload", "Look again", "", "f5"),
    Key("routes.up", "up,k", "row(-1)", "Up", "", "↑ k"),
    Key("routes.down", "down,j", "row(1)", "Down", "", "↓ j"),
    Key("routes.page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("routes.page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("routes.first", "g,home", "end(False)", "First route", "", "g"),
    Key("routes.last", "G,end", "end(True)", "Last route", "", "G"),
)  # fmt: skip

LIVE_KEYS = (
    Key("live.window", "w", "window", "Next window: 1 m, 5 m, 1 h, 24 h", "window", "w"),
    Key("live.route", "right_square_bracket,tab", "route(1)", "Next route", "route", "]"),
    Key(
        "live.route.previous", "left_square_bracket,shift+tab", "route(-1)", "Route before", "", "["
    ),
    Key("live.org", "o", "org(1)", "Next org of the route, by traffic", "org", "o"),
    Key("live.org.previous", "O", "org(-1)", "Org before", "", "O"),
    Key(
        "live.rollback", "r", "rollback('rollback')", "Roll back what the charts show", "roll back",
        "r", True,
    ),
    Key(
        "live.rollback.route", "R", "rollback('rollback.route')", "Roll back its route", "", "R",
        True,
    ),
    Key(
        "live.rollback.all", "exclamation_mark", "rollback('rollback.all')", "Roll back everything",
        "", "!", True,
    ),
    Key("live.pause", "space", "pause", "Pause or resume updates", "pause", "space"),
    Key("live.chart", "c", "chart", "Next chart, where not all fit", "chart", "c"),
    Key("live.earlier", "left,h", "cursor(-1)", "Time cursor earlier", "", "← h"),
    Key("live.later", "right,l", "cursor(1)", "Time cursor later, up to now", "", "→ l"),
    Key("live.event", "p", "event(-1)", "Time cursor to the event before", "event", "p"),
    Key("live.event.next", "n", "event(1)", "Time cursor to the next event", "", "n"),
    Key("live.list", "v", "list", "List alerts or the top errors", "alerts/errors", "v"),
    Key("live.acknowledge", "a", "acknowledge", "Acknowledge the alert", "ack", "a"),
    Key("live.open", "enter", "open", "The whole alert, or error with its ids", "", "enter"),
    Key("live.copy", "y", "copy", "Copy the error's newest request id", "copy id", "y"),
    Key("live.copy.all", "Y", "copy_all", "Copy the error's request ids for support", "", "Y"),
    Key("live.up", "up,k", "row(-1)", "Up in the list", "", "↑ k"),
    Key("live.down", "down,j", "row(1)", "Down in the list", "", "↓ j"),
    Key("live.page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("live.page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("live.first", "g,home", "end(False)", "First row", "", "g"),
    Key("live.last", "G,end", "end(True)", "Last row", "", "G"),
)  # fmt: skip

HISTORY_KEYS = (
    Key("history.open", "enter", "open", "The whole change, with its diff", "whole", "enter"),
    Key(
        "history.restore", "o", "restore", "Restore the file as it was after this change",
        "restore", "o", True,
    ),
    Key("history.report", "w", "report", "Write the incident report", "report", "w", True),
    Key("history.filter", "slash", "filter", "Filter by words; ! inverts", "filter", "/"),
    Key("history.copy", "y", "copy", "Copy the revision", "copy", "y"),
    Key("history.reload", "f5", "reload", "Read all changes again", "", "f5"),
    Key("history.up", "up,k", "row(-1)", "Up", "", "↑ k"),
    Key("history.down", "down,j", "row(1)", "Down", "", "↓ j"),
    Key("history.page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("history.page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("history.first", "g,home", "end(False)", "Newest change", "", "g"),
    Key("history.last", "G,end", "end(True)", "Oldest change", "", "G"),
)  # fmt: skip

JOB_KEYS = (
    Key("jobs.open", "enter", "open", "All that is known of the job, what to do", "whole", "enter"),
    Key("jobs.poll", "p", "poll", "Poll the open tasks, or stop polling", "poll", "p", True),
    Key("jobs.cancel", "x", "cancel", "Cancel the task at TokenLab", "cancel", "x", True),
    Key(
        "jobs.forget", "f", "forget", "Forget a job whose create's outcome is unknown", "forget",
        "f", True,
    ),
    Key("jobs.duplicates", "d", "duplicates", "Jobs that were perhaps made twice", "twice", "d"),
    Key("jobs.sort", "s", "sort", "Sort: trouble, newest, oldest, route", "sort", "s"),
    Key("jobs.filter", "slash", "filter", "Filter: trouble, lost, words; ! inverts", "filter", "/"),
    Key("jobs.copy", "y", "copy", "Copy the task id, or the job id without one", "copy", "y"),
    Key("jobs.copy.all", "Y", "copy_all", "Copy all ids of the job for support", "", "Y"),
    Key("jobs.reload", "f5", "reload", "Read the ledger again", "", "f5"),
    Key("jobs.up", "up,k", "row(-1)", "Up", "", "↑ k"),
    Key("jobs.down", "down,j", "row(1)", "Down", "", "↓ j"),
    Key("jobs.page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("jobs.page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("jobs.first", "g,home", "end(False)", "First job", "", "g"),
    Key("jobs.last", "G,end", "end(True)", "Last job", "", "G"),
)  # fmt: skip

MONEY_KEYS = (
    Key("money.open", "enter", "open", "Drill down: orgs, models; rows; a row", "open", "enter"),
    Key("money.cost", "c", "section('cost')", "Cost: the bill, by route first", "cost", "c"),
    Key("money.piles", "m", "section('piles')", "Piles: matched, or billed alone", "piles", "m"),
    Key("money.why", "d", "section('why')", "Why the bill differs from before", "why", "d"),
    Key("money.view", "v", "view(1)", "Next view: route, org, model, key, day", "view", "v"),
    Key("money.view.previous", "V", "view(-1)", "View before", "", "V"),
    Key("money.period", "w", "period", "Next period: 24 h, 7 d, 30 d", "period", "w"),
    Key("money.sort", "s", "sort", "Sort: cost, requests, price, name; newest", "sort", "s"),
    Key("money.filter", "slash", "filter", "Filter by words; ! inverts", "filter", "/"),
    Key(
        "money.pull", "p", "pull", "Pull the usage records, or stop", "pull", "p",
        at_terminal=True,
    ),
    Key("money.export", "e", "export", "Export as CSV or JSON Lines", "export", "e", True),
    Key("money.copy", "y", "copy", "Copy the id of the row", "", "y"),
    Key("money.copy.all", "Y", "copy_all", "Copy all ids of the row for support", "", "Y"),
    Key("money.reload", "f5", "reload", "Match what was pulled again", "", "f5"),
    Key("money.up", "up,k", "row(-1)", "Up", "", "↑ k"),
    Key("money.down", "down,j", "row(1)", "Down", "", "↓ j"),
    Key("money.page.up", "pageup,ctrl+u", "page(-1)", "Half a page up", "", "ctrl+u"),
    Key("money.page.down", "pagedown,ctrl+d", "page(1)", "Half a page down", "", "ctrl+d"),
    Key("money.first", "g,home", "end(False)", "First row", "", "g"),
    Key("money.last", "G,end", "end(True)", "Last row that is listed", "", "G"),
)  # fmt: skip

CONTEXTS = {
    "home": HOME_KEYS + APP_KEYS,
    "keys": VAULT_KEYS + APP_KEYS,
    "models": MODEL_KEYS + APP_KEYS,
    "routes": ROUTE_KEYS + APP_KEYS,
    "live": LIVE_KEYS + APP_KEYS,
    "history": HISTORY_KEYS + APP_KEYS,
    "jobs": JOB_KEYS + APP_KEYS,
    "money": MONEY_KEYS + APP_KEYS,
}
"""The keys of each screen; the same key may mean another thing on another screen."""

ALL_KEYS = tuple(dict.fromkeys(key for keys in CONTEXTS.values() for key in keys))
FORBIDDEN = ("ctrl+a", "ctrl+b", "ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+s")
"""Keys that terminals and multiplexers reserve: prefixes, XOFF, and aliases of tab and enter."""


def checked_keymap(wanted: dict[str, object]) -> tuple[dict[str, str], list[str]]:
    """Validate an operator's ``[keymap]``; return its usable part and a message for each error."""
    ids = {key.id: key for key in ALL_KEYS}
    keymap: dict[str, str] = {}
    troubles = []
    for name, keys in wanted.items():
        if name not in ids:
            troubles.append(f"keymap: no action {name!r}; known: {', '.join(sorted(ids))}")
        elif not isinstance(keys, str) or not keys.strip():
            troubles.append(f'keymap: {name} needs a text such as "x" or "ctrl+x"')
        elif bad := [k for k in _split(keys) if k in FORBIDDEN]:
            troubles.append(f"keymap: {name}: {bad[0]} is used by terminals; choose another")
        else:
            keymap[name] = keys
    return _without_clashes(keymap, troubles), troubles


def _without_clashes(keymap: dict[str, str], troubles: list[str]) -> dict[str, str]:
    kept = dict(keymap)
    for keys in CONTEXTS.values():
        taken: dict[str, str] = {}
        for key in keys:
            for name in _split(kept.get(key.id, key.keys)):
                other = taken.setdefault(name, key.id)
                if other != key.id:
                    troubles.append(
                        f"keymap: {name} is both {other} and {key.id}; neither is changed"
                    )
                    kept.pop(other, None)
                    kept.pop(key.id, None)
    return kept


def _split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]
