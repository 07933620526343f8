"""The published contract, which tests hold the simulator and the client against."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.support.parts import missing_part

CONTRACT = Path(__file__).resolve().parents[2].parent / "shared" / "tokenlab" / "openapi.json"


@lru_cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CONTRACT.read_text())
    return found


def published_contract() -> dict[str, Any]:
    """Return the contract; without it a test skips, and in CI fails."""
    if not CONTRACT.exists():
        missing_part("the published contract is not beside this checkout")
    return _read()


def converted(schema: Any) -> Any:
    """Return an OpenAPI schema as JSON Schema says it: ``nullable`` of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [converted(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: converted(value) for key, value in schema.items()}
    if made.pop("nullable", False) is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made
