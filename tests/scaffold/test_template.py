"""The text of a first rollout file is valid, says what was meant, and moves no traffic."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.readiness.checks.offline import check_offline
from rollout_console.scaffold.draft import (
    USUAL_PREVIOUS,
    Draft,
    RouteDraft,
    name_problem,
    org_problem,
    previous_url_problem,
    suited_url,
    tokenlab_url_problem,
    unique_name,
)
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.template import rollout_text
from rollout_gate.access_log import MOST_NAME
from rollout_gate.file.formats import base_url_problem
from rollout_gate.file.model import FORMATS, MEDIA_FORMATS, GuardSettings, RampSettings
from rollout_gate.file.parse import parse

CHAT = RouteDraft(
    "chat", "openai_chat_completions", "gpt-5.4", "https://api.openai.com/v1", ("acme", "globex.eu")
)


def test_a_file_of_every_format_passes_the_offline_checks(tmp_path: Path) -> None:
    routes = tuple(
        RouteDraft(kind, kind, "m", USUAL_PREVIOUS.get(kind, "https://media.example/v1"), ("acme",))
        for kind in FORMATS
    )
    path = tmp_path / "rollout.toml"
    path.write_text(rollout_text(Draft(routes)))
    failed = [result for result in check_offline(path) if not result.ok]
    assert failed == []
    assert len(parse(path.read_bytes()).routes) == len(FORMATS)


def test_the_settings_written_are_the_defaults_and_nothing_takes_traffic() -> None:
    file = parse(rollout_text(Draft((CHAT,))).encode())
    assert (file.guard, file.ramp) == (GuardSettings(), RampSettings())
    route = file.routes["chat"]
    assert (route.most_points, route.phase, list(route.orgs)) == (
        0,
        "inventory",
        ["acme", "globex.eu"],
    )


def test_every_line_with_a_value_is_explained() -> None:
    """Only the lines of orgs, and three whose key says it all, are without a comment."""
    bare = [
        line.split(" = ")[0]
        for line in rollout_text(Draft((CHAT,))).splitlines()
        if line and "#" not in line
    ]
    assert bare == [
        "[tokenlab]", "base_url", "[health]", "format", "acme", '"globex.eu"',
    ]  # fmt: skip


def test_what_is_missing_is_a_comment_that_says_why() -> None:
    bare = RouteDraft("m", "image", why_no_model="not at TokenLab\nx = 1", why_no_previous="ask jo")
    text = rollout_text(Draft((bare,)))
    assert '# model = "..."' in text
    assert "# not at TokenLab x = 1" in text
    assert "# ask jo" in text
    assert "# acme = 0" in text


def test_a_file_without_a_route_is_not_written() -> None:
    with pytest.raises(ScaffoldError, match="no route"):
        rollout_text(Draft(()))


@given(name=st.text(max_size=300), org=st.text(max_size=300))
def test_any_name_is_read_back_the_same_or_refused(name: str, org: str) -> None:
    route = RouteDraft(name, "openai_responses", orgs=(org,))
    if name_problem(name) or org_problem(org):
        return
    text = rollout_text(Draft((route,)))
    assert tomllib.loads(text)["routes"] == {
        name: {
            "format": "openai_responses", "phase": "inventory", "default_percent": 0,
            "orgs": {org: 0},
        }
    }  # fmt: skip


@given(
    name=st.text(max_size=40), org=st.text(max_size=40), model=st.text(max_size=40),
    url=st.text(max_size=40), log=st.text(max_size=40), profile=st.text(max_size=40),
    why=st.text(max_size=300),
)  # fmt: skip
def test_whatever_is_given_the_text_says_it_or_there_is_none(
    name: str, org: str, model: str, url: str, log: str, profile: str, why: str
) -> None:
    """Even without the validation of answers no text can smuggle in a share or a key."""
    route = RouteDraft(name, "video", model, url, (org,), why_no_model=why, why_no_previous=why)
    try:
        text = rollout_text(Draft((route,), access_log=log, profile=profile))
    except ScaffoldError:
        return
    file = parse(text.encode())
    assert list(file.routes) == [name]
    assert list(file.routes[name].orgs) == [org]
    assert file.routes[name].most_points == 0
    assert (file.access_log, file.profile) == (log, profile)


@pytest.mark.parametrize(
    "text",
    ["", " acme", "acme ", "a\nb", "a\x1b[1m", "a\x00", "a\u2028b", "\ud800", "x" * (MOST_NAME + 1),
     "sk-proj-0123456789abcdef0123", "mt-0123456789abcdef0123"],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    assert name_problem(text)
    assert org_problem(text)


@pytest.mark.parametrize("text", ["acme", "globex.eu", 'a "b"', "käse & co", "日本", "a\\b", "-x"])
def test_what_is_a_name_is_accepted(text: str) -> None:
    assert not name_problem(text)
    assert rollout_text(Draft((RouteDraft(text, "music", orgs=(text,)),)))


def test_a_star_is_no_org() -> None:
    assert "default_percent" in org_problem("*")


@pytest.mark.parametrize("kind", FORMATS)
def test_previous_urls(kind: str) -> None:
    base = "" if kind in ("anthropic_messages", "gemini_generate_content") else "/v1"
    assert not previous_url_problem(kind, f"https://before.example{base}")
    assert not previous_url_problem(kind, f"http://10.0.0.7:8000{base}"), "plain http is in use"
    for bad in (
        *("", "before.example/v1", "https://u:p@b.example/v1", "https://b.example/v1?k=1"),
        *("https://b .example/v1", "https://b.example/v1\x00", "ftp://b.example/v1"),
    ):
        assert previous_url_problem(kind, bad), bad
    if kind not in MEDIA_FORMATS:
        assert not base_url_problem(kind, suited_url(kind, "https://b.example/v1/"))
        assert not base_url_problem(kind, suited_url(kind, "https://b.example"))


def test_tokenlab_urls() -> None:
    assert not tokenlab_url_problem("https://api.tokenlab.sh")
    assert tokenlab_url_problem("api.tokenlab.sh")
    assert tokenlab_url_problem("https://api.tokenlab.sh\x1b")
    assert tokenlab_url_problem("https://sk-a:b@api.tokenlab.sh")


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert unique_name("chat", ()) == "chat"
    assert unique_name("chat", ("chat", "chat-2")) == "chat-3"


def test_a_text_that_says_something_else_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.scaffold.template.key_text", lambda name: f'"{name}x"')
    with pytest.raises(ScaffoldError, match="would not say what was meant"):
        rollout_text(Draft((CHAT,)))
