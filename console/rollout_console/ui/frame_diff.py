"""Damage tracking: write only the cells that differ from what the terminal shows already.

Textual repaints whole screens: when a screen opens or closes, for each toast, and for each change
behind a dialog. On a slow link such a frame takes half a second. This module keeps a model of the
terminal's cells and reduces each of Textual's updates to the cells that differ from it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style
from textual.strip import Strip

_BRIDGED = 4
"""Unchanged cells between two changes that are written again: shorter than moving the cursor."""
_ERASED = 10
"""Blanks in a row that are erased (ECH) and not written: longer than that and a cursor move."""
_SEEN_ON_BLANKS = frozenset(("4", "7", "9", "21", "51", "52", "53"))
"""SGR attributes that show on a space: underlines, reverse, strike and frames."""
_OFF = {
    "1": "22", "2": "22", "3": "23", "4": "24", "21": "24", "5": "25", "6": "25", "7": "27",
    "8": "28", "9": "29", "51": "54", "52": "54", "53": "55",
}  # fmt: skip
"""SGR attributes and the code that ends each; one code may end two."""
_UNLIKE_TEXTUAL = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an update raises that has another form than Textual's of today."""

_Piece = tuple[int, int, list[Strip]]
"""Line, first column and the strips that an update draws there, one after the other."""


class FrameDiff:
    """The cells that the terminal shows, and the updates that turn them into the next frame.

    A cell is its character and its SGR codes. Text that is not one character to a cell (wide or
    combining characters) or has a link is kept in its first cell as a whole, and the cells after it
    are empty. A line with such text is written as Textual writes it, or not at all: terminals
    disagree about its width, and half of a wide character is never overwritten.
    """

    def __init__(self, *, erases: bool = False) -> None:
        """``erases`` is whether the terminal erases with the background in use (BCE)."""
        self._erases = erases
        self._frame_size = (0, 0)
        self._chars: list[list[str | None]] = []
        self._styles: list[list[str | None]] = []
        self._whole: list[bool] = []
        self._cursor: object = None

    def forget(self) -> bool:
        """Discard the model, as the terminal may show anything; return whether there was one."""
        known, self._frame_size = self._frame_size != (0, 0), (0, 0)
        return known

    def reduced(self, update: Any, console: Console, cursor: object) -> Any:
        """Return ``update`` writing only what differs; None where nothing does.

        An update whose form is unknown is returned as it is, and the model is discarded.
        """
        if update is None:
            return None
        try:
            written = self._apply(update, console)
            if not written and cursor == self._cursor:
                return None
            vars(update)["render_segments"] = partial(_render, written)
        except _UNLIKE_TEXTUAL:
            self.forget()
            return update
        self._cursor = cursor
        return update

    def _apply(self, update: Any, console: Console) -> str:
        """Return what makes the terminal show the update, and note that it does."""
        pieces = _pieces_of_layout(update) if hasattr(update, "strips") else _pieces(update)
        if hasattr(update, "region"):
            self._fit(update.region)
        system = COLOR_SYSTEMS[console.color_system or "truecolor"]
        output = _Output(self._erases)
        for y, x, strips in pieces:
            self._draw(y, x, strips, console, system, output)
        return output.text()

    def _fit(self, region: Any) -> None:
        """Discard the model where a whole frame has another size than the frame before."""
        size = (region.right, region.bottom)
        if self._frame_size != size:
            width, height = self._frame_size = size
            self._chars = [[None] * width for _ in range(height)]
            self._styles = [[None] * width for _ in range(height)]
            self._whole = [False] * height
            self._cursor = None

    def _draw(
        self,
        y: int,
        x: int,
        strips: list[Strip],
        console: Console,
        system: ColorSystem,
        output: "_Output",
    ) -> None:
        chars, styles, whole = _cells(strips, system)
        width, height = self._frame_size
        end = x + len(chars)
        if not (0 <= y < height and x >= 0 and end <= width):
            raise ValueError("an update outside of the frame")
        shown, shown_styles = self._chars[y][x:end], self._styles[y][x:end]
        if shown == chars and shown_styles == styles:
            return
        self._chars[y][x:end] = chars
        self._styles[y][x:end] = styles
        if whole or self._whole[y]:
            self._whole[y] = whole or end - x < width
            output.as_it_is(y, x, "".join([strip.render(console) for strip in strips]))
        else:
            output.cells(y, x, chars, styles, _changes(shown, shown_styles, chars, styles))


def _render(written: str, _console: Console) -> str:
    return written


def _pieces_of_layout(update: Any) -> Iterator[_Piece]:
    """Yield the lines of a whole frame (LayoutUpdate)."""
    x = update.region.x
    for y, strips in enumerate(update.strips, update.region.y):
        yield y, x, list(strips)


def _pieces(update: Any) -> Iterator[_Piece]:
    """Yield what a partial update (ChopsUpdate) draws, joined where pieces touch."""
    for y, x1, x2 in update.spans:
        start = at = -1
        joined: list[Strip] = []
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x > x2 or end <= x1:
                continue
            if not (x2 > x >= x1 and end <= x2):
                strip = strip.crop(0, min(end, x2) - x)
            if x != at:
                if joined:
                    yield y, start, joined
                start, joined = x, []
            joined.append(strip)
            at = x + strip.cell_length
        if joined:
            yield y, start, joined


def _cells(
    strips: Iterable[Strip], system: ColorSystem
) -> tuple[list[str | None], list[str | None], bool]:
    """Return each cell's character and SGR codes, and whether only whole lines may be written."""
    chars: list[str | None] = []
    styles: list[str | None] = []
    whole = False
    for segment in chain.from_iterable(strips):
        text, style, control = segment
        if control:
            raise ValueError("a control code in a strip")
        if not text:
            continue
        ansi = "" if style is None else _codes(style, system)
        if text.isascii() or segment.cell_length == len(text):
            count = len(text)
            chars.extend(text)
        else:
            count = segment.cell_length
            whole = True
            chars.append(text)
            chars.extend([""] * (count - 1))
        if style is not None and style.link:
            whole = True
            ansi = f"{ansi} {style.link}"
        styles.extend([ansi] * count)
    return chars, styles, whole


def _codes(style: Style, system: ColorSystem) -> str:
    """Return the SGR codes that Textual writes: those memoized in the style, if there are any."""
    known = style._ansi
    return Strip.render_ansi(style, system) if known is None else known


def _changes(
    shown: list[str | None],
    shown_styles: list[str | None],
    chars: list[str | None],
    styles: list[str | None],
) -> list[int]:
    """Return the indexes of the cells that look different."""
    pairs = enumerate(zip(shown, shown_styles, chars, styles, strict=True))
    return [
        index
        for index, (was, was_style, char, style) in pairs
        if was != char or (was_style != style and not _same_blank(char, was_style, style))
    ]


def _same_blank(char: str | None, style: str | None, other: str | None) -> bool:
    return (
        char == " " and style is not None and other is not None and _blank(style) == _blank(other)
    )


class _Output:
    """Collects what is written: cursor moves, SGR changes against the pen in use, and text."""

    def __init__(self, erases: bool) -> None:
        self._erases = erases
        self._parts: list[str] = []
        self._pen = ""

    def text(self) -> str:
        """Return all of it, ending with attributes reset."""
        self._put_down()
        return "".join(self._parts)

    def as_it_is(self, y: int, x: int, text: str) -> None:
        """Write a text that sets and resets its own attributes."""
        self._put_down()
        self._parts.append(f"\x1b[{y + 1};{x + 1}H{text}")

    def cells(
        self,
        y: int,
        x: int,
        chars: list[str | None],
        styles: list[str | None],
        changed: list[int],
    ) -> None:
        """Write the cells of the given indexes, and short gaps between them."""
        append = self._parts.append
        at = -1
        pen = self._pen
        end = 0
        for index in changed:
            if index < end:
                continue
            if at < 0:
                append(f"\x1b[{y + 1};{x + index + 1}H")
            elif at < index:
                if index - at <= _BRIDGED and all(
                    _fits(pen, chars[i] or "", styles[i] or "") for i in range(at, index)
                ):
                    append("".join([char or "" for char in chars[at:index]]))
                else:
                    append(f"\x1b[{x + index + 1}G")
            char, style = chars[index] or "", styles[index] or ""
            if style != pen and not _fits(pen, char, style):
                append(_sgr(pen, style))
                pen = style
            end = _erased_to(chars, styles, changed, index) if self._erases else index
            if end > index:
                append(f"\x1b[{end - index}X")  # ECH: the cursor stays where it is
                at = index
            else:
                append(char)
                at = index + 1
        self._pen = pen

    def _put_down(self) -> None:
        if self._pen:
            self._parts.append(_sgr(self._pen, ""))
            self._pen = ""


def _erased_to(
    chars: list[str | None], styles: list[str | None], changed: list[int], index: int
) -> int:
    """Return where a long run of blanks ends that can be erased from ``index`` on, else ``index``.

    It goes over unchanged blanks of the same background, and ends with a changed one.
    """
    style = styles[index] or ""
    if chars[index] != " " or _parsed(style)[0] & _SEEN_ON_BLANKS:
        return index
    background, end = _blank(style), index
    while end < len(chars) and chars[end] == " " and _blank(styles[end] or "") == background:
        end += 1
    if end - index < _ERASED:
        return index
    end = changed[bisect_left(changed, end) - 1] + 1
    return end if end - index >= _ERASED else index


def _fits(pen: str, char: str, style: str) -> bool:
    """Return whether a cell looks the same when it is written with the pen in use."""
    return pen == style or (char == " " and _blank(pen) == _blank(style))


@lru_cache(maxsize=4096)
def _blank(ansi: str) -> str:
    """Return the part of SGR codes that shows on a space."""
    attributes, _, background = _parsed(ansi)
    if attributes & _SEEN_ON_BLANKS:
        return ansi
    return background


@lru_cache(maxsize=4096)
def _parsed(ansi: str) -> tuple[frozenset[str], str, str]:
    """Split SGR codes into attributes, foreground and background."""
    attributes, foreground, background = set(), "", ""
    codes = iter(ansi.split(";") if ansi else ())
    for code in codes:
        number, value = int(code), code
        if number in (38, 48):
            kind = next(codes)
            value = ";".join([code, kind, *(next(codes) for _ in range(1 if kind == "5" else 3))])
        if 30 <= number <= 39 or 90 <= number <= 97:
            foreground = "" if number == 39 else value
        elif 40 <= number <= 49 or 100 <= number <= 107:
            background = "" if number == 49 else value
        else:
            attributes.add(code)
    return frozenset(attributes), foreground, background


@lru_cache(maxsize=16_384)
def _sgr(before: str, after: str) -> str:
    """Return the shortest SGR sequence that turns one pen into another."""
    if not after:
        return "\x1b[m"
    anew = f"\x1b[0;{after}m" if before else f"\x1b[{after}m"
    attributes, foreground, background = _parsed(before)
    wanted, wanted_foreground, wanted_background = _parsed(after)
    ended = {_OFF.get(one, "") for one in attributes - wanted}
    if "" in ended:
        return anew
    kept = {one for one in attributes & wanted if _OFF.get(one) not in ended}
    codes = [*sorted(ended), *sorted(wanted - kept)]
    if foreground != wanted_foreground:
        codes.append(wanted_foreground or "39")
    if background != wanted_background:
        codes.append(wanted_background or "49")
    return min(f"\x1b[{';'.join(codes)}m", anew, key=len)
