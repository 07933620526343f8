"""Private names of ours that Textual uses too would replace its own, in silence."""

import inspect
import re
from pathlib import Path

import textual.dom
import textual.message_pump
import textual.screen
import textual.widget
from textual.app import App
from textual.screen import ModalScreen

UI = Path(__file__).resolve().parents[2] / "console" / "rollout_console" / "ui"
ASSIGNED = re.compile(r"self\.(_\w+)(?:: [^=\n]+)? = ")


def test_no_private_name_is_textuals_own() -> None:
    modules = (textual.screen, textual.widget, textual.dom, textual.message_pump)
    taken = set(dir(ModalScreen)) | set(dir(App))
    for module in modules:
        taken |= set(ASSIGNED.findall(inspect.getsource(module)))
    for path in UI.rglob("*.py"):
        ours = set(ASSIGNED.findall(path.read_text()))
        assert not ours & taken, path.name
