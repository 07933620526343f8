"""The tables of docs/gate.md, held against the code row by row."""

import re
from pathlib import Path

import pytest

from rollout_gate.answers.error_codes import BY_WORDS, class_of
from rollout_gate.answers.inspect import inspected
from rollout_gate.answers.reading import OUTCOMES
from tests.gate.answers.shapes import CHAT, GEMINI, MESSAGES, RESPONSES, SHAPES

PAGE = (Path(__file__).parents[3] / "docs/gate.md").read_text()
FORMATS = {"Chat Completions": CHAT, "Responses": RESPONSES, "Messages": MESSAGES, "Gemini": GEMINI}


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table whose header begins so."""
    table = PAGE[PAGE.index(f"| {header} |") :].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def test_every_outcome_is_documented_and_has_an_example() -> None:
    documented = [cells[0].strip("`") for cells in rows("outcome")]
    assert sorted(documented) == sorted([*OUTCOMES, "none"])
    assert {shape.outcome for shape in SHAPES.values()} == set(OUTCOMES) - {"abandoned"}


WORDS = [
    (FORMATS[name], word, ours)
    for name, _, reasons in rows("format")
    if name in FORMATS
    for words, ours in re.findall(r"((?:`\w+`(?:, )?)+): `(\w+)`", reasons)
    for word in re.findall(r"`(\w+)`", words)
]


def body_with(route_format: str, word: str) -> str:
    said = '{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}'
    status = word if word in ("completed", "failed") else "incomplete"
    return {
        CHAT: f'{{"choices": [{{"message": {{"content": "hi"}}, "finish_reason": "{word}"}}]}}',
        RESPONSES: f'{{"status": "{status}", "output": [{said}],'
        f' "incomplete_details": {{"reason": "{word}"}}}}',
        MESSAGES: '{"type": "message", "content": [{"type": "text", "text": "hi"}],'
        f' "stop_reason": "{word}"}}',
        GEMINI: '{"candidates": [{"content": {"parts": [{"text": "hi"}]},'
        f' "finishReason": "{word}"}}]}}',
    }[route_format]


def test_the_table_was_read() -> None:
    assert len(WORDS) > 30


@pytest.mark.parametrize(("route_format", "word", "ours"), WORDS)
def test_finish_reasons_are_mapped_as_documented(route_format: str, word: str, ours: str) -> None:
    found = inspected(body_with(route_format, word).encode(), route_format)
    assert found is not None
    assert found.finish_reason == ours
    assert found.outcome == ("error" if ours == "error" else "ok")


def test_codes_have_the_class_that_is_documented() -> None:
    documented = {cells[0]: re.findall(r"`(\w+)`", cells[1]) for cells in rows("class")}
    for name, words in documented.items():
        for word in words:
            assert class_of(word) == name
    assert {name: set(words) for name, words in BY_WORDS} == {
        name: {word for word in documented[name] if not word.isdigit()} for name, _ in BY_WORDS
    }
