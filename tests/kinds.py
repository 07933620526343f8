"""The kinds of tests: unit, functional, e2e; ``make test-fast`` runs units that are not slow."""

import sys
from pathlib import Path
from typing import Any, Literal

Kind = Literal["unit", "functional", "e2e"]

_ROOT = Path(__file__).resolve().parent

E2E: frozenset[str] = frozenset(())
"""A real terminal, real shells, the SDKs, the whole demo."""

FUNCTIONAL: frozenset[str] = frozenset(())
"""HTTP over loopback, Textual's Pilot on the simulator, other processes."""

_EVENTS = frozenset(
    ("subprocess.Popen", "os.fork", "os.posix_spawn", "socket.connect", "socket.bind")
)


def kind_of(path: Path) -> Kind:
    """Return the kind of the tests of a module; one that is named nowhere is of units."""
    name = path.relative_to(_ROOT).as_posix()
    return "e2e" if name in E2E else "functional" if name in FUNCTIONAL else "unit"


class Effects:
    """Notes what a test does outside of its process, by an audit hook (PEP 578)."""

    def __init__(self) -> None:
        self._seen: dict[str, None] | None = None
        sys.addaudithook(self._note)

    def begin(self) -> dict[str, None]:
        """Begin to note; return what is filled with the events' names."""
        self._seen = {}
        return self._seen

    def end(self) -> None:
        """Note nothing more."""
        self._seen = None

    def _note(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and self._seen is not None:
            self._seen[event] = None
