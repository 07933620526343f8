"""docs/first-file.md names every field that is looked up, and none that is not."""

import re
from pathlib import Path

from rollout_console.scaffold.fields import NAMES, is_known, normalized

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "first-file.md").read_text()


def test_the_fields_of_the_page_are_those_of_the_code() -> None:
    table = PAGE.split("| for | fields |")[1].split("\n\n")[0]
    documented = {normalized(name) for name in re.findall(r"`([^`]+)`", table)} - {"post"}
    assert {name for name in documented if not is_known(name)} == set()
    assert {name for names in NAMES.values() for name in names} - documented == set()


def test_one_spelling_for_all() -> None:
    assert {normalized(n) for n in ("Team ID", "teamId", "team.id", "team-id", "TEAM_ID")} == {
        "team_id"
    }
