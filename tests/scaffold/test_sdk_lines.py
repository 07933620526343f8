"""The lines for the SDK are Python that makes a client on the gate, for any name."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.scaffold.draft import USUAL_PREVIOUS, Draft, RouteDraft, name_problem
from rollout_console.scaffold.sdk_lines import sdk_lines
from rollout_console.scaffold.template import rollout_text
from rollout_gate.context import Subject, subject_of
from rollout_gate.file.model import FORMATS


@pytest.mark.parametrize("kind", FORMATS)
def test_they_make_a_client_on_the_gate(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "PREVIOUS_API_KEY"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("TOKENLAB_API_KEY", "sk-canary-0123456789")
    route = RouteDraft('a "b" é\u200d😀', kind, "m", "https://before.example/v1", ("acme",))
    path = tmp_path / "rollout.toml"
    path.write_text(rollout_text(Draft((route,))))
    lines = sdk_lines(route, str(path))
    (call,) = (line for line in lines if line.endswith("(...)"))
    orgs: list[str | None] = []
    scope: dict[str, Any] = {"note": lambda: orgs.append(subject_of({}, Subject()).org)}
    exec("\n".join(lines).replace(call, "    note()"), scope)
    made = scope.get("sdk") or scope["http"]
    try:
        assert orgs == ["acme"]
        assert str(getattr(made, "base_url", "")) in ("", "https://before.example/v1/")
    finally:
        made.close()
        if "options" in scope:
            scope["options"].httpx_client.close()


def test_the_makers_own_address_is_not_repeated() -> None:
    for kind, url in USUAL_PREVIOUS.items():
        assert "base_url" not in "\n".join(sdk_lines(RouteDraft("r", kind, "", url), "r.toml"))


@given(name=st.text(max_size=40), org=st.text(max_size=40), file=st.text(max_size=40))
def test_any_name_is_a_literal(name: str, org: str, file: str) -> None:
    if name_problem(name) or name_problem(org) or not file.isprintable():
        return
    route = RouteDraft(name, "openai_responses", orgs=(org,))
    lines = sdk_lines(route, file)
    literals = [c for c in compile("\n".join(lines), "lines", "exec").co_consts if c is not None]
    assert {name, org, file} <= {one for one in literals if isinstance(one, str)}
