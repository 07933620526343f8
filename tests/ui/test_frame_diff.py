"""Only changed cells are written, and the terminal shows what Textual's own bytes would show."""

from collections.abc import Sequence
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from rollout_console.ui.frame_diff import FrameDiff
from tests.support.pty_console import looks, new_screen

WIDTH, HEIGHT = 12, 4
CONSOLE = Console(force_terminal=True, color_system="truecolor", no_color=False, _environ={})
CURSOR = (0, 0)
STYLES = [
    None,
    Style(),
    Style(color="red"),
    Style(color="default", bgcolor="default"),
    Style(color="#102030", bgcolor="#405060"),
    Style(color="#112233", bgcolor="#405060"),
    Style(color="#102030", bgcolor="#405060", bold=True),
    Style(bgcolor="#405060", underline=True),
    Style(color="color(200)", reverse=True, italic=True),
    Style(bgcolor="bright_blue", strike=True, meta={"@click": "x"}),
    Style(color="green", link="https://example.com"),
]
TEXTS = [
    "a",
    "b",
    " ",
    "   ",
    " " * WIDTH,
    "12.5%",
    "  x  ",
    "世",
    "世界",
    "é",
    "e\u0301",
    "😀",
    "▸",
    "─",
]

segments = st.tuples(st.sampled_from(TEXTS), st.sampled_from(STYLES)).map(
    lambda found: Segment(*found)
)
strips = st.lists(segments, min_size=1, max_size=8).map(
    lambda found: Strip(found).adjust_cell_length(WIDTH)
)
frames = st.lists(strips, min_size=HEIGHT, max_size=HEIGHT)
columns = st.integers(0, WIDTH)


@st.composite
def partial_updates(draw: st.DrawFn) -> ChopsUpdate:
    """Lines cut where widgets meet, and the spans of them that are drawn."""
    lines = draw(frames)
    chops: list[dict[int, Strip | None]] = []
    ends: list[list[int]] = []
    spans: list[tuple[int, int, int]] = []
    for y, line in enumerate(lines):
        cuts = sorted({0, WIDTH, *draw(st.lists(columns, max_size=3))})
        pieces = line.divide(cuts[1:])
        chops.append(dict(zip(cuts, pieces, strict=False)))
        ends.append(cuts[1:])
        first, last = sorted((draw(columns), draw(columns)))
        if first < last and (draw(st.booleans()) or y == HEIGHT - 1):
            spans.append((y, first, last))
    return ChopsUpdate(chops, spans or [(0, 0, WIDTH)], ends)


updates = st.one_of(
    frames.map(lambda lines: layout(lines)), partial_updates(), st.sampled_from(["forget"])
)


def layout(lines: Sequence[Strip]) -> LayoutUpdate:
    width = lines[0].cell_length
    return LayoutUpdate([[line] for line in lines], Region(0, 0, width, len(lines)))


def plain(*lines: str, style: Style | None = None) -> LayoutUpdate:
    return layout([Strip([Segment(line, style)]) for line in lines])


class Terminal:
    """A terminal of the frames' size."""

    def __init__(self) -> None:
        self.screen = new_screen(WIDTH, HEIGHT)
        self._stream = pyte.Stream(self.screen)

    def feed(self, text: str) -> None:
        self._stream.feed(text)


def written(frames_seen: FrameDiff, update: Any, cursor: object = CURSOR) -> str:
    found = frames_seen.reduced(update, CONSOLE, cursor)
    return "" if found is None else str(found.render_segments(CONSOLE))


@pytest.mark.slow
@given(frames, st.lists(updates, max_size=6), st.booleans())
def test_any_updates_show_what_textual_would_show(
    first: list[Strip], more: list[Any], erases: bool
) -> None:
    seen = FrameDiff(erases=erases)
    expected, shown = Terminal(), Terminal()
    for update in [layout(first), *more]:
        if update == "forget":
            seen.forget()
            continue
        expected.feed(update.render_segments(CONSOLE))
        shown.feed(written(seen, update))
        assert looks(shown.screen) == looks(expected.screen)
        assert shown.screen.cursor.attrs == pyte.Screen(1, 1).cursor.attrs, "a pen was left set"


@given(frames)
def test_the_same_frame_again_writes_nothing(lines: list[Strip]) -> None:
    seen = FrameDiff()
    assert written(seen, layout(lines))
    assert seen.reduced(layout(lines), CONSOLE, CURSOR) is None
    assert seen.reduced(layout(lines), CONSOLE, (1, 1)) is not None, "the cursor has moved"
    seen.forget()
    assert written(seen, layout(lines))


def test_only_what_changed_is_written() -> None:
    seen = FrameDiff()
    written(seen, plain("one two", "three  "))
    assert written(seen, plain("one ten", "three  ")) == "\x1b[1;6Hen"
    assert written(seen, plain("one ten", "thr33  ")) == "\x1b[2;4H33"
    seen.forget()
    written(seen, plain("a" * 20))
    assert written(seen, plain("b" + "a" * 18 + "b")) == "\x1b[1;1Hb\x1b[20Gb"
    assert written(seen, plain("b" + "a" * 15 + "ca" + "cb")) == "\x1b[1;17Hcac"


def test_a_change_of_style_alone_is_written() -> None:
    seen = FrameDiff()
    red, bold = Style(color="red", bgcolor="blue"), Style(color="red", bgcolor="blue", bold=True)
    assert written(seen, plain("ab", style=red)) == "\x1b[1;1H\x1b[31;44mab\x1b[m"
    assert written(seen, plain("ab", style=bold)) == "\x1b[1;1H\x1b[1;31;44mab\x1b[m"
    other = Style(bgcolor="blue", bold=True)
    both = layout([Strip([Segment("a", bold), Segment("b", other)])])
    assert written(seen, both) == "\x1b[1;2H\x1b[1;44mb\x1b[m"
    meta = Style.from_meta({"offset": (3, 4)})
    again = layout([Strip([Segment("a", bold + meta), Segment("b", other + meta)])])
    assert written(seen, again) == "", "what Textual notes about a cell is not seen"


def test_a_long_run_of_blanks_is_erased_with_its_background() -> None:
    seen, blue = FrameDiff(erases=True), Style(color="red", bgcolor="blue")
    written(seen, plain("a" * 12 + "end", style=blue))
    assert written(seen, plain("a" + " " * 11 + "END", style=blue)) == (
        "\x1b[1;2H\x1b[31;44m\x1b[11X\x1b[13GEND\x1b[m"
    )
    written(seen, plain("a" + " " * 5 + "x" + " " * 5 + "END", style=blue))
    assert "X" not in written(seen, plain("a" + " " * 11 + "END", style=blue)), "one cell changed"
    underlined = blue + Style(underline=True)
    assert "X" not in written(seen, plain(" " * 15, style=underlined)), "an underline shows"


def test_an_attribute_is_ended_alone_where_that_is_shorter() -> None:
    seen = FrameDiff()
    calm = Style(color="color(241)", bgcolor="color(16)")
    bold, dim = calm + Style(bold=True), calm + Style(dim=True)
    line = layout([Strip([Segment("a", bold), Segment("b", calm), Segment("c", bold + dim)])])
    assert written(seen, line) == ("\x1b[1;1H\x1b[1;38;5;241;48;5;16ma\x1b[22mb\x1b[1;2mc\x1b[m")
    again = layout([Strip([Segment("A", bold + dim), Segment("B", bold), Segment("C", dim)])])
    assert written(seen, again) == (
        "\x1b[1;1H\x1b[1;2;38;5;241;48;5;16mA\x1b[22;1mB\x1b[22;2mC\x1b[m"
    ), "22 ends bold and dim"


def test_a_line_with_wide_characters_is_written_whole() -> None:
    seen = FrameDiff()
    written(seen, plain("a世b 12"))
    assert written(seen, plain("a世b 13")) == "\x1b[1;1Ha世b 13"
    assert written(seen, plain("a  b 13")) == "\x1b[1;1Ha  b 13"
    assert written(seen, plain("a  b 14")) == "\x1b[1;7H4"


def test_another_size_is_another_terminal() -> None:
    seen = FrameDiff()
    written(seen, plain("same", "same"))
    assert written(seen, plain("same", "same", "same")).count("same") == 3
    assert written(seen, plain("same ", "same ", "same ")).count("same") == 3


class Renamed:
    """An update of another Textual, which has other names."""

    def render_segments(self, _: Console) -> str:
        return "its own"


def outside() -> ChopsUpdate:
    return ChopsUpdate([{0: Strip([Segment("abc")])}], [(0, 0, 3)], [[3]])


@pytest.mark.parametrize("unknown", [Renamed(), "text", outside()])
def test_what_is_unknown_is_textuals_own_and_the_model_is_discarded(unknown: Any) -> None:
    seen = FrameDiff()
    written(seen, plain("ab"))
    assert seen.reduced(unknown, CONSOLE, CURSOR) is unknown
    assert "render_segments" not in getattr(unknown, "__dict__", {})
    assert "ab" in written(seen, plain("ab")), "nothing is known of the terminal"
