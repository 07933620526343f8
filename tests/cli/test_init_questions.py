"""The questions of ``init`` on a real terminal: a whole run, wrong answers, and every way out."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_console.readiness.checks.offline import check_offline
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate.file.parse import parse
from tests.support.commands import Commands
from tests.support.dialogue import CTRL_C, CTRL_D, Dialogue, dialogue

CANARY = "sk-canary-7f3a9c55e1aa"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS", "TOKENLAB"))}
    return {
        **kept,
        "ROLLOUT_STATE_DIR": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }


@pytest.fixture
def asked(commands: Commands, env: dict[str, str], tmp_path: Path) -> Iterator[Dialogue]:
    """``init`` without options, in a folder of its own."""
    with dialogue(commands, ["init"], env, tmp_path) as found:
        yield found


def steps(sim: SimServer) -> list[tuple[str, str]]:
    """Every question of a run for one route, and a good answer to it."""
    return [
        ("TokenLab's base URL", sim.base_url),
        ("by number or name", ""),
        ("a name for the route", ""),
        ("the model at TokenLab", "gpt-5.4"),
        ("where these requests go today", sim.previous_base_url + "/v1"),
        ("orgs, separated by commas", "acme, globex.eu"),
        ("another route?", ""),
        ("where the gate logs", ""),
        ("a name for the credentials", "prod"),
        ("type yes to write it", "yes"),
        ("API key of TokenLab", ""),
        ("management token of TokenLab", ""),
    ]


def test_a_run_with_the_defaults(asked: Dialogue, sim: SimServer, tmp_path: Path) -> None:
    for question, answer in steps(sim):
        asked.answer(question, answer)
    assert asked.end() == 0, asked.said
    path = tmp_path / "rollout.toml"
    file = parse(path.read_bytes())
    assert list(file.routes["chat"].orgs) == ["acme", "globex.eu"]
    assert (file.profile, file.routes["chat"].model) == ("prod", "gpt-5.4")
    assert all(result.ok for result in check_offline(path))
    assert "wrote rollout.toml: 1 route, 2 orgs, everything at 0%" in asked.said
    assert 'sdk = OpenAI(base_url="' in asked.said
    assert "rollout-console keys add prod" in asked.said
    assert "·" not in asked.said


def test_each_wrong_answer_is_one_sentence_and_asked_again(
    asked: Dialogue, sim: SimServer, tmp_path: Path
) -> None:
    listed = tmp_path / "orgs.txt"
    listed.write_text("acme\na\x07b\nb\n")
    wrong = {
        "TokenLab's base URL": ("api.tokenlab.sh", "is not an http(s) URL"),
        "by number or name": ("12", "is none of them"),
        "a name for the route": (CANARY, "looks like a credential"),
        "the model at TokenLab": ("gpt-5.44", "did you mean gpt-5.4"),
        "where these requests go today": ("https://a.example", "does not end in /v1"),
        "orgs, separated by commas": ("@nowhere", "cannot be read"),
        "where the gate logs": ("rollout.toml", "is the rollout file itself"),
        "another route?": ("perhaps", "is neither yes nor no"),
        "a name for the credentials": ("a b", "a profile's name has"),
    }
    for question, answer in steps(sim):
        if question in wrong:
            bad, said = wrong[question]
            asked.answer(question, bad)
            asked.answer(said)
        if question == "the model at TokenLab":
            asked.answer(question, b"\xff\n")
            asked.answer("not UTF-8")
            asked.answer(question, "?gpt-5.4-m")
            asked.answer("gpt-5.4-mini ")
        if question.startswith("orgs"):
            asked.answer(question, "@~no-such-user/orgs.txt")
            asked.answer("home directory")
            answer = f"@{listed}"
        asked.answer(question, answer)
    assert asked.end() == 0, asked.said
    assert list(parse((tmp_path / "rollout.toml").read_bytes()).routes["chat"].orgs) == [
        "acme",
        "b",
    ]
    assert "line 2: the org has a control character" in asked.said
    assert "a name for the route [chat]: sk-" in asked.said, "the terminal's own echo"
    assert f"  {CANARY}" not in asked.said, "the program repeats no credential"


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["ctrl+c", "ctrl+d"])
@pytest.mark.parametrize("stop", range(10))
def test_leaving_at_any_question_writes_nothing(
    stop: int, key: bytes, asked: Dialogue, sim: SimServer, tmp_path: Path
) -> None:
    for question, answer in steps(sim)[:stop]:
        asked.answer(question, answer)
    asked.answer(steps(sim)[stop][0], key)
    assert asked.end() == (130 if key == CTRL_C else 1), asked.said
    assert "nothing was written" in asked.said
    assert "Traceback" not in asked.said
    assert not (tmp_path / "rollout.toml").exists()


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["ctrl+c", "ctrl+d"])
def test_leaving_after_the_file_is_written_says_so(
    key: bytes, asked: Dialogue, sim: SimServer, tmp_path: Path
) -> None:
    for question, answer in steps(sim)[:10]:
        asked.answer(question, answer)
    asked.answer("API key of TokenLab", key)
    if key == CTRL_D:
        asked.answer("management token of TokenLab", key)
    assert asked.end() == (130 if key == CTRL_C else 0), asked.said
    assert "nothing was written" not in asked.said
    assert "Traceback" not in asked.said
    assert (tmp_path / "rollout.toml").is_file()


@pytest.mark.slow
def test_a_pasted_key_is_hidden_and_kept_where_a_yes_says(
    asked: Dialogue, sim: SimServer, tmp_path: Path
) -> None:
    for question, answer in steps(sim)[:10]:
        asked.answer(question, answer)
    asked.answer("API key of TokenLab", DEMO_KEY)
    asked.answer("keep it in the encrypted store instead?", "yes")
    asked.answer("a new passphrase", "canary passphrase")
    asked.answer("the same again", "canary passphrase")
    asked.answer("management token of TokenLab", "nonsense")
    assert asked.end() == 0, asked.said
    assert "kept in the encrypted store" in asked.said
    assert "not kept: that is no credential" in asked.said
    assert DEMO_KEY not in asked.said
    assert "canary passphrase" not in asked.said
    assert (tmp_path / "state" / "vault.age").is_file()
    assert "keys add" not in asked.said


def test_what_another_tools_file_lacks_is_asked(
    commands: Commands, env: dict[str, str], tmp_path: Path, sim: SimServer
) -> None:
    (tmp_path / "config.yaml").write_text(
        f"model_list:\n- model_name: fast\n  litellm_params:\n    model: openai/none-here\n"
        f"    api_base: os.environ/BASE\n    api_key: {CANARY}\n"
    )
    words = ["init", "--from-litellm", "config.yaml", "--org", "acme", "--base-url", sim.base_url]
    with dialogue(commands, words, env, tmp_path) as asked:
        asked.answer("the model at TokenLab", "gpt-5.4")
        asked.answer("where these requests go today", sim.previous_base_url + "/v1")
        asked.answer("type yes to write it", "yes")
        asked.answer("API key of TokenLab", "")
        asked.answer("management token of TokenLab", "")
        assert asked.end() == 0, asked.said
    route = parse((tmp_path / "rollout.toml").read_bytes()).routes["fast"]
    assert (route.model, list(route.orgs)) == ("gpt-5.4", ["acme"])
    assert "takes it from the environment" in asked.said
    assert CANARY not in asked.said


def test_a_closed_terminal_writes_nothing(
    commands: Commands, env: dict[str, str], tmp_path: Path
) -> None:
    with dialogue(commands, ["init", "--offline"], env, tmp_path) as asked:
        asked.answer("TokenLab's base URL", "")
    assert not (tmp_path / "rollout.toml").exists()


def test_leaving_where_a_key_is_to_be_kept_leaves_the_file(
    asked: Dialogue, sim: SimServer, tmp_path: Path
) -> None:
    for question, answer in steps(sim)[:10]:
        asked.answer(question, answer)
    asked.answer("API key of TokenLab", DEMO_KEY)
    asked.answer("keep it in the encrypted store instead?", CTRL_D)
    assert asked.end() == 0, asked.said
    assert "rollout-console keys add prod" in asked.said
    assert DEMO_KEY not in asked.said
    assert (tmp_path / "rollout.toml").is_file()
