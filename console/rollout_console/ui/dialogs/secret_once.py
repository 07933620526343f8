"""A modal dialog that shows the secret of a new key once; the operator may copy it."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from rollout_console.common.safe_text import cleaned, visible
from rollout_console.ui.dialogs.seen import SeenDialog
from rollout_console.ui.messages import SecretCopied, SecretShown
from rollout_gate.secret import Secret


class SecretOnce(SeenDialog[None], SecretShown):
    """Shows a secret until the dialog is closed; screenshots are refused meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy", show=False),
        Binding("escape,q", "close", "Close", show=False),
    ]

    DEFAULT_CSS = """
    SecretOnce { align: center middle; }
    SecretOnce > Vertical {
        width: 76; max-width: 100%; height: auto;
        border: round $warning; background: $panel; padding: 0 1;
    }
    SecretOnce .secret { margin: 1 0; text-style: bold; }
    """

    def __init__(self, name: str, secret: Secret) -> None:
        super().__init__()
        self._name_of_key = name
        self._secret: Secret | None = secret

    @property
    def secret(self) -> Secret | None:
        """The secret that is shown; None once the dialog is closed."""
        return self._secret

    def compose(self) -> ComposeResult:
        """Yield the secret and the key hints; ``cleaned``, unlike ``visible``, caches nothing."""
        assert self._secret is not None
        with Vertical():
            yield Static(Content(f"The secret of {visible(self._name_of_key)}, shown this once"))
            yield Static(Content(cleaned(self._secret.reveal())), classes="secret")
            yield Static(
                "y: copy to the terminal's clipboard for 30 s   esc: close, it is not shown again"
            )

    def action_copy(self) -> None:
        """Copy the secret to the terminal's clipboard (OSC 52); the app clears it after 30 s."""
        if self._secret is not None:
            self.app.post_message(SecretCopied(self._secret))
            self.notify("copied; cleared from the clipboard in 30 s", markup=False)

    def action_close(self) -> None:
        """Drop the secret, clear it from the screen, and close; not unseen: it would be lost."""
        if not self.sight.is_seen:
            return
        self._secret = None
        for shown in self.query(".secret").results(Static):
            shown.update("")
        self.dismiss(None)
