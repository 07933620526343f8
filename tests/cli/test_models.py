"""``models`` in a shell."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from rollout_console.credentials.key_values import SORTS as KEY_SORTS
from rollout_console.models.queries import SORTS
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.models import SCENES, STAGES
from rollout_gate.file.model import DEFAULT_BASE_URL

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(file: Path, sim: SimServer, capsys: pytest.CaptureFixture[str]) -> Call:
    file.write_text(file.read_text().replace(DEFAULT_BASE_URL, sim.base_url))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["models", *arguments, "-f", str(file)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def test_recommended_models_as_json(cli: Call) -> None:
    code, out, _ = cli("--recommended-for", "video", "--json")
    found = json.loads(out)
    assert code == 0
    assert len(found) >= 10
    assert found[0]["evidence"]["video"]["rank"] is not None
    assert {model["category"] for model in found} == {"video"}
    assert isinstance(found[0]["price"]["per_request"], str)


def test_lists_filters_and_details(cli: Call) -> None:
    code, out, err = cli("--search", "gpt-5.4", "--sort", "price")
    assert (code, [row.split()[0] for row in out.splitlines()]) == (0, ["gpt-5.4-mini", "gpt-5.4"])
    assert "2 of 1" in err
    assert cli("--category", "chat", "--max-price", "0.1", "--json")[0] == 0
    assert "insufficient samples (" in cli("--recommended-for", "image")[1]
    code, out, _ = cli("gpt-5.4", "claude-sonnet-4-6")
    assert "anthropic_messages" in out
    (detail,) = json.loads(cli("openai-image-1", "--json")[1])
    assert detail["contract"]["example"]["model"] == "openai-image-1"
    code, _, err = cli("gpt-5.44")
    assert (code, err) == (1, "rollout-console: no model 'gpt-5.44'; did you mean gpt-5.4?\n")


def test_changes_are_against_the_last_look(cli: Call, sim: SimServer) -> None:
    assert json.loads(cli("--changed", "--json")[1]) == []
    taken = sim.state.catalogue.pop("gpt-5.4-mini")
    try:
        (gone,) = json.loads(cli("--changed", "--json")[1])
        assert (gone["id"], gone["change"]) == ("gpt-5.4-mini", "gone")
        assert cli("--mark-seen")[0] == 0
        assert json.loads(cli("--changed", "--json")[1]) == []
    finally:
        sim.state.catalogue["gpt-5.4-mini"] = taken


def test_read_only_leaves_the_last_look_where_it_is(cli: Call, sim: SimServer) -> None:
    assert cli()[0] == 0
    taken = sim.state.catalogue.pop("gpt-5.4-mini")
    try:
        code, _, err = cli("--mark-seen", "--read-only")
        assert (code, "read-only" in err) == (1, True)
        (gone,) = json.loads(cli("--changed", "--json", "--read-only")[1])
        assert gone["id"] == "gpt-5.4-mini"
    finally:
        sim.state.catalogue["gpt-5.4-mini"] = taken


def test_nothing_of_the_catalogue_steers_the_terminal(
    cli: Call, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.catalogue.Model._badges", lambda _: [])
    evil = "\x1b]0;evil\x07\u202e"
    known = sim.state.catalogue["gpt-5.4-mini"]
    odd = replace(
        known, id=f"odd{evil}", provider=evil, stage=evil, tags=(evil,),
        replacement=evil,
    )  # fmt: skip
    sim.state.catalogue[odd.id] = odd
    try:
        for arguments in (
            (),
            ("--changed",),
            (odd.id, known.id),
            ("--sort", "price"),
            ("odd;evl",),
        ):
            code, out, err = cli(*arguments)
            assert code == (1 if "odd;evl" in arguments else 0), (out, err)
            assert not set("\x1b\x07\u202e") & set(out + err), arguments
        assert "did you mean odd·]0;evil··?" in err
        assert "odd·]0;evil··" in cli()[1]
    finally:
        del sim.state.catalogue[odd.id]


def test_offline_says_how_old_it_is(cli: Call, sim: SimServer) -> None:
    code, _, err = cli("--offline")
    assert (code, "run models once online" in err) == (1, True)
    assert cli()[0] == 0
    code, out, err = cli("--offline", "gpt-5.4")
    assert code == 0
    assert "old" in err
    assert "gpt-5.4" in out


def test_away_and_wrong(cli: Call) -> None:
    code, out, err = cli("--base-url", "http://127.0.0.1:9")
    assert (code, out) == (3, "")
    assert "cannot be reached" in err
    with pytest.raises(SystemExit) as ended:
        cli("--max-price", "cheap")
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        cli("--recommended-for", "chat")


def test_the_help_names_what_the_contract_does() -> None:
    from rollout_console.cli.commands import keys_arguments as keys_parser
    from rollout_console.cli.commands import models_arguments as models_parser

    assert models_parser.SCENES == SCENES
    assert models_parser.STAGES == STAGES
    assert models_parser.SORTS == SORTS
    assert keys_parser.SORTS == KEY_SORTS
