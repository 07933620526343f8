"""docs/simulator.md names everything that can be set and played."""

from pathlib import Path

import pytest

from rollout_console.sim.faults import CODES, KINDS, SIDES, VARIANTS, Fault
from rollout_console.sim.incidents import INCIDENTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text()
WORDS = {
    *KINDS, *SIDES, *CODES, *(word for words in VARIANTS.values() for word in words),
    *(name for name in Fault.__slots__ if name not in ("id", "kind")),
}  # fmt: skip


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_of_a_fault_is_on_the_page(word: str) -> None:
    assert f"`{word}`" in PAGE


@pytest.mark.parametrize("name", INCIDENTS)
def test_every_incident_is_on_the_page(name: str) -> None:
    assert name in PAGE.partition("## Incidents")[2]
