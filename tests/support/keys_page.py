"""Make docs/keys.md from the key table: ``python -m tests.support.keys_page``."""

from collections.abc import Iterator
from pathlib import Path

from rollout_console.ui.keymap import APP_KEYS, CONTEXTS, Key

PATH = Path(__file__).resolve().parents[2] / "docs" / "keys.md"

_HEAD = """\
# Keys
Made from the bindings by `python -m tests.support.keys_page`; a test holds them equal. Any of them
can be another key: `[keymap]` in `config.toml` maps an id to keys, as in `"rollback" = "f9"`. A
row with ● changes something: it asks before it does (`S` alone does not), and does nothing with
`--read-only`, where nothing is sent that is billed: `v` on the keys screen then proves the
management token alone. A browser's tab (`rollout-console web`) has those off, and the rows with ○
as well.
"""


def made() -> str:
    """Return the page."""
    parts = [_HEAD, *_section("On every screen", APP_KEYS)]
    for name, keys in CONTEXTS.items():
        own = [key for key in keys if key not in APP_KEYS]
        parts += _section(f"{name.capitalize()} screen", own)
    return "\n".join(parts) + "\n"


def _section(title: str, keys: tuple[Key, ...] | list[Key]) -> Iterator[str]:
    yield f"## {title}"
    yield "| key | what it does | | id |"
    yield "|---|---|---|---|"
    for key in keys:
        mark = "●" if key.changes else "○" if key.at_terminal else ""
        shown = (key.shown or key.keys).replace("|", "\\|")
        yield f"| `{shown}` | {key.help} | {mark} | `{key.id}` |"
    yield ""


if __name__ == "__main__":
    PATH.write_text(made(), encoding="utf-8")
