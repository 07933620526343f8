"""Docs that are made from the code are what the code makes now."""

import json
from pathlib import Path

from rollout_console.export.json_schema import json_schema
from tests.support import keys_page, manual_page

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "rollout.schema.json"


def test_the_page_of_keys_is_what_the_bindings_are() -> None:
    made = keys_page.made()
    assert keys_page.PATH.read_text() == made, "run python -m tests.support.keys_page"


def test_the_manual_page_is_what_the_parser_takes() -> None:
    made = manual_page.made()
    assert manual_page.PATH.read_text() == made, "run python -m tests.support.manual_page"


def test_the_json_schema_is_what_the_parser_reads() -> None:
    made = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text() == made, (
        "run rollout-console export schema --out docs/rollout.schema.json"
    )
