"""An escape and the key after it are two keys, and what is pasted is one text.

A terminal sends alt and a key as the same bytes as escape and that key, and Textual's parser
decides for alt where both come in one read. No key of the console has alt, and an escape that is
lost leaves a dialog open for the key after it: an enter would submit it. An escape in a pasted
text (a colour that was copied with it) ends Textual's paste, and the rest acts as keys.

No byte of a paste is ever a key, also where the rest comes late (packet loss over SSH), or never
(the terminal has died): its ``r`` and ``y`` would roll back. What follows a paste that has halted
is discarded up to its end, or up to an escape or ctrl+c alone. No silence ends it, however long: a
late packet comes after a silence, too. A key is always behind the rest of the paste, as both come
through one stream, so that an escape that nothing follows is the operator's.
"""

import re
import sys
from collections.abc import Generator, Iterable

from textual import constants, events
from textual._time import get_time
from textual._xterm_parser import XTermParser
from textual.message import Message

from rollout_console.ui.status_report import REPORT, StatusReport

_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"
"""Bracketed paste: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html"""
_SEQUENCE = "[O\t\x7fbf"
"""ESC and one of these is a sequence, or begins one: CSI, SS3, shift+tab of the Linux console,
delete a word (alt+backspace), a word to the left and to the right (Option and an arrow on macOS).
"""
_LONE = re.compile(rf"\x1b(?=[^\x1b{re.escape(_SEQUENCE)}])")
_MAY_GO_ON = re.compile(r"\x1b(\[(2(00?)?|0)?)?$")
"""The start of a paste, or of a status report, as far as it has come."""
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Colours and other control sequences (ECMA-48), and control characters but tab and line ends."""
_MAY_END = re.compile(r"\x1b(\[(2(01?)?)?)?$")
_PASTES_FOR_S = 1.0
"""Seconds without a byte after which a paste has halted: keys must not be pasted text."""
_ALONE_FOR_S = 0.2
"""Seconds without a byte after which an escape is alone, and not the start of a paste's end."""
_WAYS_OUT = ("escape", "ctrl+c", "ctrl+q")
_REPORTS = re.compile(r"\x1b\[(?:<[\d;]*[Mm]|[IO])|(\x1b\[(?:0n|48;[\d;:]*t|\?[\d;]*\$y))")
"""What a terminal sends by itself, complete: mouse, focus, and (group 1) status, sizes, modes."""
_LONGEST_WAY_OUT = 32


class LateInput(Message):
    """Input was discarded: it came after a paste had halted, and may be the rest of it."""

    def __init__(self, *, is_over: bool) -> None:
        """``is_over`` is whether the paste's end has come, so that what follows it is keys."""
        super().__init__()
        self.is_over = is_over


class EscapeParser(XTermParser):
    """Ends an escape before a character that begins no sequence with it, and pastes as a whole."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._held, self._held_at = "", 0.0
        self._pasted: list[str] | None = None
        self._pasted_at = 0.0
        self._late: str | None = None
        """What may be the start of a paste's end, while what comes is discarded; None else."""
        self._late_at = 0.0
        self._way_out: list[Message] = []

    def feed(self, data: str) -> Iterable[Message]:
        """Yield the events of ``data``, which is empty at the end of the input."""
        if not data:
            yield from self._release()
            yield from super().feed("")
            return
        if self._late is not None:
            data = yield from self._discard(data, self._late)
        data, self._held = self._held + data, ""
        while data:
            part = self._keys if self._pasted is None else self._paste
            data = yield from part(data)

    def tick(self) -> Iterable[Message]:
        """Yield what nothing more is waited for."""
        now = get_time()
        if self._held and now >= self._held_at + constants.ESCAPE_DELAY:
            yield from self._release()
        if self._pasted is not None and now >= self._pasted_at + _PASTES_FOR_S:
            yield from self._halt_paste(self._pasted)
        if self._way_out and now >= self._late_at + _ALONE_FOR_S:
            self._late = None
            yield from self._way_out
            self._way_out = []
        yield from super().tick()

    def _keys(self, data: str) -> Generator[Message, None, str]:
        """Yield the events of keys; return what is after the start of a paste, if there is one.

        What may be the start of a paste, or of a status report, is held.
        """
        typed, begins, rest = data.partition(_PASTE)
        if begins:
            self._pasted, self._pasted_at = [""], get_time()
        else:
            begun = _MAY_GO_ON.search(typed)
            self._held, self._held_at = begun[0] if begun else "", get_time()
            typed = typed.removesuffix(self._held)
        *before_reports, typed = typed.split(REPORT)
        for part in before_reports:
            yield from self._split(part, ends=True)
            yield from self._end_sequence()  # an escape of the read before it
            yield StatusReport()
        yield from self._split(typed, ends=bool(begins))
        return rest

    def _split(self, typed: str, *, ends: bool) -> Iterable[Message]:
        """Yield the events of keys, an escape apart from the key after it.

        ``ends`` is whether no sequence goes on after ``typed``.
        """
        at = 0
        for match in _LONE.finditer(typed):
            yield from self._sequence(typed[at : match.end()])
            at = match.end()
        if at < len(typed):
            yield from self._sequence(typed[at:]) if ends else super().feed(typed[at:])

    def _sequence(self, data: str) -> Iterable[Message]:
        """Yield the events of ``data``, whose end is not waited for."""
        yield from super().feed(data)
        yield from self._end_sequence()

    def _end_sequence(self) -> Iterable[Message]:
        if self._timeout_time is not None:
            self._timeout_time = 0.0
            yield from super().tick()

    def _release(self) -> Iterable[Message]:
        """Yield the events of what was held: an escape, mostly."""
        held, self._held = self._held, ""
        for part in filter(None, (held[:1], held[1:])):
            yield from self._sequence(part)

    def _paste(self, data: str) -> Generator[Message, None, str]:
        """Collect pasted text; at its end yield it, and return what is after it."""
        assert self._pasted is not None
        # The last part is what may be the start of the end.
        text, ends, rest = (self._pasted.pop() + data).partition(_PASTED)
        at = len(text) if ends else max(len(text) - len(_PASTED) + 1, 0)
        self._pasted += [text[:at], text[at:]]
        self._pasted_at = get_time()
        if ends:
            yield self._end_paste(self._pasted)
        return rest

    def _end_paste(self, parts: list[str]) -> Message:
        self._pasted = None
        return events.Paste(_CONTROLS.sub("", "".join(parts)))

    def _halt_paste(self, parts: list[str]) -> Iterable[Message]:
        """Yield what has come of a paste, and discard from now on what may be the rest."""
        begun = _MAY_END.search(parts[-1])
        self._late = begun[0] if begun else ""
        yield self._end_paste([*parts[:-1], parts[-1].removesuffix(self._late)])

    def _discard(self, data: str, before: str) -> Generator[Message, None, str]:
        """Return what is after the end of a paste that has halted; yield that there was more.

        What the terminal reports by itself is no input: it ends no way out, and sizes are obeyed.
        """
        for report in filter(None, _REPORTS.findall(data)):
            yield from [StatusReport()] if report == REPORT else super().feed(report)
        data = _REPORTS.sub("", data)
        if not data:
            return ""
        late, ends, rest = (before + data).partition(_PASTED)
        begun = None if ends else _MAY_END.search(late)
        self._late, self._late_at = None if ends else begun[0] if begun else "", get_time()
        self._way_out = [] if ends else _way_out_of(data)
        if late and not self._way_out:
            yield LateInput(is_over=bool(ends))
        return rest


def _way_out_of(data: str) -> list[Message]:
    """Return the events of ``data`` where they are all escapes or ctrl+c; none otherwise.

    A terminal sends these as one byte each, or as a sequence (Kitty's keyboard protocol).
    """
    if len(data) > _LONGEST_WAY_OUT:
        return []
    parser = XTermParser()
    found = [*parser.feed(data), *parser.feed("")]
    is_way_out = all(isinstance(one, events.Key) and one.key in _WAYS_OUT for one in found)
    return found if is_way_out else []


def read_escapes_as_keys() -> None:
    """Have Textual's drivers, those that are imported, read by this parser.

    Their modules import the parser by its name; a test types into a terminal.
    """
    for name in ("linux_driver", "web_driver"):
        module = sys.modules.get(f"textual.drivers.{name}")
        if module is not None:
            vars(module)["XTermParser"] = EscapeParser
