"""Bytes of a terminal become keys: an escape is one, whatever comes in the same read."""

import string
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual import constants, events
from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver, web_driver
from textual.events import Resize
from textual.message import Message

from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.escape_parser import EscapeParser, LateInput, read_escapes_as_keys
from tests.support.waiting import until_ready, until_shown
from tests.ui.test_home import app_of
from tests.ui.test_key_order import settled

KEYS = {
    "escape": "\x1b", "enter": "\r", "space": " ", "slash": "/", "minus": "-", "1": "1", "j": "j",
    "R": "R", "exclamation_mark": "!", "up": "\x1b[A", "ctrl+right": "\x1b[1;5C", "f1": "\x1bOP",
    "f10": "\x1b[21~", "shift+tab": "\x1b[Z", "ctrl+left": "\x1bb", "ctrl+w": "\x1b\x7f",
    "é": "é", "tab": "\t", "ctrl+r": "\x12",
}  # fmt: skip
"""What a terminal sends for each; tab is left out behind an escape, where it is shift+tab."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The parser's clock: the last of these seconds is now."""
    seconds = [0.0]
    for module in ("rollout_console.ui.escape_parser", "textual._parser"):
        monkeypatch.setattr(f"{module}.get_time", lambda: seconds[-1])
    return seconds


def named(found: Iterable[Message]) -> list[str]:
    return [
        one.key if isinstance(one, events.Key) else f"paste {getattr(one, 'text', one)}"
        for one in found
    ]


def read(clock: list[float], *parts: str) -> list[str]:
    """Return what is read of parts that come without a pause, and of nothing for a while."""
    parser = EscapeParser()
    found = [one for part in parts for one in named(parser.feed(part))]
    clock.append(clock[-1] + constants.ESCAPE_DELAY)
    return found + named(parser.tick())


@settings(max_examples=100)
@given(data=st.data())
def test_keys_in_one_read_or_cut_anywhere_are_the_keys_that_were_typed(data: st.DataObject) -> None:
    chosen: list[str] = []
    for name in data.draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=50)):
        if name != "tab" or chosen[-1:] != ["escape"]:
            chosen.append(name)
    typed = "".join(KEYS[name] for name in chosen)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(typed)), max_size=4)))
    ends = [0, *cuts, len(typed)]
    parts = [typed[a:b] for a, b in pairwise(ends) if a < b]
    with pytest.MonkeyPatch.context() as patch:
        seconds = [0.0]
        for module in ("rollout_console.ui.escape_parser", "textual._parser"):
            patch.setattr(f"{module}.get_time", lambda: seconds[-1])
        assert read(seconds, *parts) == chosen


@pytest.mark.parametrize(
    "character", sorted({*string.ascii_letters, *string.digits, *"!/?:+-=.,; "} - {*"bfO"})
)
def test_an_escape_is_not_lost_before_any_other_key(clock: list[float], character: str) -> None:
    first, *more = read(clock, f"\x1b{character}")
    assert first == "escape"
    assert more == named(EscapeParser().feed(character))


def test_an_escape_alone_waits_for_the_delay_alone(clock: list[float]) -> None:
    parser = EscapeParser()
    assert named(parser.feed("\x1b")) == []
    assert named(parser.tick()) == []
    clock.append(constants.ESCAPE_DELAY)
    assert named(parser.tick()) == ["escape"]
    assert named(parser.feed("[A")) == ["left_square_bracket", "A"], "that came too late"
    assert named(parser.feed("\x1b")) == []
    assert named(parser.feed("")) == ["escape"], "the end of the input"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_what_is_pasted_is_one_text_without_controls(clock: list[float], size: int) -> None:
    text = "sk-\x1b[31mabc\x1b[0m\x00\x07 R\x1bR\x1b]0;y\x07\r\n\tü"
    sent = f"x\x1b[200~{text}\x1b[201~y"
    parts = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert read(clock, *parts) == ["x", "paste sk-abc RR]0;y\r\n\tü", "y"]


def halted(clock: list[float], sent: str = "\x1b[200~lost") -> EscapeParser:
    """Return a parser that has read the beginning of a paste, a second ago."""
    parser = EscapeParser()
    assert named(parser.feed(sent)) == []
    clock.append(clock[-1] + 0.9)
    assert named(parser.tick()) == []
    clock.append(clock[-1] + 0.2)
    assert named(parser.tick()) == ["paste lost"]
    return parser


def late(found: Iterable[Message]) -> list[object]:
    """Return the names of keys and pastes, and of what is discarded whether it is over."""
    return [one.is_over if isinstance(one, LateInput) else named([one])[0] for one in found]


def test_keys_after_a_paste_that_lost_its_end_are_keys(clock: list[float]) -> None:
    parser = EscapeParser()
    assert named(parser.feed("\x1b\x1b[200~lost")) == ["escape"]
    clock.append(0.9)
    assert named(parser.tick()) == []
    clock.append(1.1)
    assert named(parser.tick()) == ["paste lost"]
    assert late(parser.feed("\x1b")) == []
    clock.append(1.4)
    assert named(parser.tick()) == ["escape"]
    assert named(parser.feed("q")) == ["q"]


@pytest.mark.parametrize("pause", [0.0, 0.3, 60.0])
def test_the_rest_of_a_paste_is_no_key_however_late_it_comes(
    clock: list[float], pause: float
) -> None:
    parser = halted(clock)
    for part in ("r", "\r", "y", "\x1b[31m", "y\x1b", "1", "\x1b[", "y more"):
        assert late(parser.feed(part)) == [False]
        clock.append(clock[-1] + pause)
        assert late(parser.tick()) == []
    assert late(parser.feed("y\x1b[201~j")) == [True, "j"]


@pytest.mark.parametrize("cut", range(1, 6))
def test_the_end_of_a_paste_may_be_cut_by_the_halt(clock: list[float], cut: int) -> None:
    end = "\x1b[201~"
    parser = halted(clock, f"\x1b[200~lost{end[:cut]}")
    assert late(parser.feed(f"{end[cut:]}j")) == ["j"]


def test_the_end_of_a_paste_is_no_escape(clock: list[float]) -> None:
    parser = halted(clock)
    assert late(parser.feed("\x1b")) == []
    clock.append(clock[-1] + 0.1)
    assert late(parser.tick()) == []
    assert late(parser.feed("[201~j")) == ["j"]


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1b", ["escape"]),
        ("\x03", ["ctrl+c"]),
        ("\x1b\x1b", ["escape", "escape"]),
        ("\x1b[27u", ["escape"]),
        ("\x1b[99;5u", ["ctrl+c"]),
        ("\x11", ["ctrl+q"]),
    ],
)
def test_an_escape_or_ctrl_c_alone_takes_keys_again(
    clock: list[float], sent: str, keys: list[str]
) -> None:
    parser = halted(clock)
    assert late(parser.feed("j")) == [False]
    clock.append(clock[-1] + 1)
    assert late(parser.feed(sent)) == []
    clock.append(clock[-1] + 0.25)
    assert late(parser.tick()) == keys
    assert late(parser.feed("j")) == ["j"]


@pytest.mark.parametrize("report", ["\x1b[<35;10;10M", "\x1b[<0;1;1m", "\x1b[I", "\x1b[O"])
def test_a_report_of_the_terminal_ends_no_way_out(clock: list[float], report: str) -> None:
    parser = halted(clock)
    assert late(parser.feed(report)) == []
    assert late(parser.feed("\x1b")) == []
    clock.append(clock[-1] + 0.1)
    assert late(parser.feed(report)) == []
    clock.append(clock[-1] + 0.15)
    assert late(parser.tick()) == ["escape"]


def test_another_size_is_obeyed_while_the_rest_of_a_paste_is_discarded(
    clock: list[float],
) -> None:
    parser = halted(clock)
    found = [*parser.feed("\x1b[48;30;100;600;1000t")]
    assert [(one.size.width, one.size.height) for one in found if isinstance(one, Resize)] == [
        (100, 30)
    ]
    assert late(parser.feed("y")) == [False]


async def test_it_is_said_that_keys_are_discarded(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await settled(pilot, app)
        await pilot.press("question_mark")
        for is_over in (False, False, True):
            app.post_message(LateInput(is_over=is_over))
        await until_shown(pilot, lambda: len(app.screen.query("Toast")) == 2)
        assert "esc takes keys again" in next(iter(app._notifications)).message


@pytest.mark.parametrize("character", ["j", "y", "\r", "1"])
async def test_a_dialog_is_closed_by_an_escape_with_a_key_behind_it(
    file: Path, character: str
) -> None:
    app = app_of(file)
    before = file.read_bytes()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, app)
        await pilot.press("j", "r")
        await until_shown(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until_ready(pilot)
        for event in EscapeParser().feed(f"\x1b{character}"):
            app.post_message(event)
        await until_shown(pilot, lambda: app.screen is app.home)
    assert file.read_bytes() == before


def test_textuals_drivers_read_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drivers = (linux_driver, web_driver)
    for module in drivers:
        monkeypatch.setattr(module, "XTermParser", XTermParser)
    read_escapes_as_keys()
    assert {vars(module)["XTermParser"] for module in drivers} == {EscapeParser}
