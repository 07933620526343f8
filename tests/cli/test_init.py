"""``init`` by its options: what it writes, refuses, takes from others' files, and says."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout_console.cli.arguments import build_parser
from rollout_console.cli.commands import init  # here, as nobody may not read where Python is
from rollout_console.cli.commands.init_arguments import FORMATS as OFFERED
from rollout_console.cli.main import run
from rollout_console.readiness.checks.offline import check_offline
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate.file.model import FORMATS
from rollout_gate.file.parse import parse
from tests.support.unprivileged import as_nobody, folder_of_nobody

Call = Callable[..., tuple[int, str, str]]
CANARY = "sk-canary-7f3a9c55e1aa"
CHAT = ("--route", "chat", "--format", "openai_chat_completions")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder / "rollout.toml"


@pytest.fixture
def call(
    path: Path, sim: SimServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

    def call(*words: str, online: bool = True) -> tuple[int, str, str]:
        where = ["--base-url", sim.base_url] if online else ["--offline"]
        code = run(["-f", str(path), "init", *where, *words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert CANARY not in out + err
        return code, out, err

    return call


def previous(sim: SimServer, base: str = "/v1") -> tuple[str, str]:
    return "--previous-url", sim.previous_base_url + base


def test_a_file_for_two_routes_that_passes_every_check(
    call: Call, path: Path, sim: SimServer
) -> None:
    code, out, err = call(
        "--org", "acme", *CHAT, "--model", "gpt-5.4", *previous(sim), "--org", "globex.eu",
        "--route", "claude", "--format", "anthropic_messages", "--model", "claude-sonnet-4-6",
        *previous(sim, ""), "--profile", "prod", "--access-log", "logs.jsonl", "--yes",
    )  # fmt: skip
    assert (code, "none failed" in out) == (0, True), (out, err)
    file = parse(path.read_bytes())
    assert {name: list(route.orgs) for name, route in file.routes.items()} == {
        "chat": ["acme", "globex.eu"],
        "claude": ["acme"],
    }
    assert {route.most_points for route in file.routes.values()} == {0}
    assert (file.base_url, file.profile, file.access_log) == (sim.base_url, "prod", "logs.jsonl")
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["rollout.toml"]
    assert 'sdk = Anthropic(base_url="' in out
    assert f"rollout-console -f {path} probe chat" in out
    assert "rollout-console keys add prod" in out
    assert "not checked: API key and management token" in err


def test_the_file_is_the_one_that_check_takes(call: Call, path: Path) -> None:
    assert call(*CHAT, "--org", "acme", "--yes", online=False)[0] == 0
    assert all(result.ok for result in check_offline(path))
    assert run(["-f", str(path), "check", "--offline"]) == 0
    assert run(["-f", str(path), "set", "chat", "acme", "1", "--yes", "--reason", "to begin"]) == 0
    assert "acme = 1" in path.read_text()


def test_json_says_all_and_nothing_else_is_on_stdout(call: Call, path: Path) -> None:
    code, out, _ = call(*CHAT, "--org", "acme", "--yes", "--json", online=False)
    body = json.loads(out)
    assert (code, body["written"], body["path"], body["check"]["ok"]) == (
        0,
        True,
        str(path),
        True,
    )
    assert body["routes"]["chat"]["orgs"] == ["acme"]
    assert any("client(Gate(" in line for line in body["routes"]["chat"]["sdk"])
    assert body["next"][0] == "rollout-console keys add default"


def test_a_dry_run_prints_the_file_and_writes_nothing(call: Call, path: Path) -> None:
    code, out, _ = call(*CHAT, "--org", "acme", "--dry-run", "--read-only", online=False)
    assert (code, path.exists()) == (0, False)
    assert list(parse(out.encode()).routes["chat"].orgs) == ["acme"]
    code, out, _ = call(*CHAT, "--dry-run", "--json", online=False)
    assert (code, json.loads(out)["written"]) == (0, False)
    assert parse(json.loads(out)["text"].encode()).routes["chat"].orgs == {}


def test_read_only_writes_nothing(call: Call, path: Path) -> None:
    code, _, err = call(*CHAT, "--yes", "--read-only", online=False)
    assert (code, "read-only" in err, path.exists()) == (1, True, False)


def test_an_existing_file_is_left_as_it_is(call: Call, path: Path) -> None:
    path.write_text("mine")
    for link in (path, path.with_name("link.toml")):
        if link != path:
            link.symlink_to(path)
        code = run(["-f", str(link), "init", *CHAT, "--yes", "--offline"])
        assert (code, path.read_text()) == (4, "mine")
    code, _, err = call(*CHAT, "--yes")
    assert (code, "exists, and is left as it is" in err) == (4, True)


def test_a_file_that_appears_meanwhile_is_not_replaced(
    call: Call, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_refused", lambda _: 0)
    path.write_text("theirs")
    code, _, err = call(*CHAT, "--yes", online=False)
    assert (code, path.read_text()) == (4, "theirs")
    assert "nothing was written" in err


def test_a_dangling_link_gets_its_target(call: Call, path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "real.toml")
    assert call(*CHAT, "--yes", online=False)[0] == 0
    assert path.is_symlink()
    assert (tmp_path / "real.toml").is_file()


def test_places_where_no_file_can_be(call: Call, path: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    for where in (tmp_path, tmp_path / "no" / "rollout.toml", loop):
        assert run(["-f", str(where), "init", *CHAT, "--yes", "--offline"]) == 2
    assert not (tmp_path / "no").exists()


def test_a_folder_that_may_not_be_written_to() -> None:
    with folder_of_nobody() as folder:
        closed = folder / "closed"
        closed.mkdir()
        closed.chmod(0o555)

        def work() -> None:
            os.environ["ROLLOUT_STATE_DIR"] = str(folder / "state")
            words = ["-f", str(closed / "rollout.toml"), "init", *CHAT, "--yes", "--offline"]
            assert run(words) == 2

        as_nobody(work)
        assert list(closed.iterdir()) == []


REFUSED = {
    "nothing": ((), "name a route with --route"),
    "no format": (("--route", "chat"), "needs --format"),
    "before a route": (("--model", "m", *CHAT), "give it after --route"),
    "twice": ((*CHAT, *CHAT), "given twice"),
    "format twice": ((*CHAT, "--format", "image"), "has --format twice"),
    "an unknown model": ((*CHAT, "--model", "gpt-5.44"), "did you mean gpt-5.4"),
    "of another format": ((*CHAT, "--model", "claude-sonnet-4-6-none"), "is no model"),
    "of another kind": (("--route", "i", "--format", "image", "--model", "gpt-5.4",
                         "--previous-url", "https://a.example/v1"), "is a chat model"),
    "media without a model": (("--route", "i", "--format", "image",
                               "--previous-url", "https://a.example/v1"), "names no model"),
    "media without a previous side": (("--route", "i", "--format", "image", "--model",
                                       "openai-image-1"), "needs --previous-url"),
    "url": ((*CHAT, "--previous-url", "https://a.example"), "does not end in /v1"),
    "a credential in the url": ((*CHAT, "--previous-url", f"https://u:{CANARY}@a.example/v1"),
                                "holds a credential"),
    "org": ((*CHAT, "--org", "a\x1b[1m"), "control character"),
    "star": ((*CHAT, "--org", "*"), "default_percent"),
    "an empty org": ((*CHAT, "--org", ""), "is empty"),
    "route": (("--route", " chat", "--format", "image"), "begins or ends with a space"),
    "profile": ((*CHAT, "--profile", "a b"), "a profile's name has"),
    "no log": ((*CHAT, "--access-log", ""), "is no path"),
    "the file as log": ((*CHAT, "--access-log", "x/../rollout.toml"), "the rollout file itself"),
    "an empty url": ((*CHAT, "--previous-url", ""), "needs --previous-url"),
    "orgs": ((*CHAT, "--orgs-from", "/nowhere"), "cannot be read"),
    "litellm": (("--from-litellm", "/nowhere"), "cannot be read"),
    "log": (("--from-openai-log", "/nowhere"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_one_sentence_and_writes_nothing(
    name: str, call: Call, path: Path
) -> None:
    words, said = REFUSED[name]
    code, out, err = call(*words, "--yes")
    assert (code, out, path.exists()) == (2, "", False), err
    assert said in err
    assert "\x1b" not in err
    (sentence,) = (line for line in err.splitlines() if line.startswith("rollout-console: "))
    assert said in sentence


def test_a_credential_is_no_org(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(["-f", str(path), "init", *CHAT, "--org", CANARY, "--yes", "--format", "nope"])
    assert run(["-f", str(path), "init", *CHAT, "--org", CANARY, "--yes", "--offline"]) == 2
    out, err = capsys.readouterr()
    assert CANARY not in out + err
    assert "looks like a credential" in err


def test_base_url(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["-f", str(path), "init", *CHAT, "--base-url", "api.tokenlab.sh", "--yes"])
    assert (code, "--base-url: api.tokenlab.sh is not" in capsys.readouterr().err) == (2, True)


def test_no_terminal_to_ask_on(call: Call, path: Path) -> None:
    code, _, err = call(*CHAT, online=False)
    assert (code, "add --yes to write it" in err, path.exists()) == (1, True, False)


def test_a_catalogue_that_cannot_be_read_stops_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--base-url", "http://127.0.0.1:9", *CHAT, "--model", "typed", "--yes"]
    assert run(["-f", str(path), "init", *words]) == 1
    out, err = capsys.readouterr()
    assert "models are not checked" in err
    assert "catalogue.answers" in out
    assert parse(path.read_bytes()).routes["chat"].model == "typed"


def test_orgs_of_files_are_for_all_routes_or_for_one(call: Call, path: Path) -> None:
    everybody, some = path.with_name("all.txt"), path.with_name("some.csv")
    everybody.write_text("acme\nb\n")
    some.write_bytes(b'\xef\xbb\xbfid;Kunde\r\n1;c\r\n2;"d;e"\r\n3;\x07\r\n')
    code, _, err = call(
        "--orgs-from", str(everybody), *CHAT, "--orgs-from", str(some), "--org-field", "kunde",
        "--route", "r", "--format", "openai_responses", "--yes", online=False,
    )  # fmt: skip
    assert code == 2, "all.txt has no field of that name"
    assert "all.txt" in err
    code, _, err = call(
        "--org", "acme", *CHAT, "--orgs-from", str(some), "--org-field", "kunde",
        "--route", "r", "--format", "openai_responses", "--yes", online=False,
    )  # fmt: skip
    assert code == 0
    routes = parse(path.read_bytes()).routes
    assert {name: list(route.orgs) for name, route in routes.items()} == {
        "chat": ["acme", "c", "d;e"],
        "r": ["acme"],
    }
    assert "line 4: the org has a control character" in err


LITELLM = f"""\
model_list:
  - model_name: fast
    litellm_params: {{model: openai/gpt-5.4-mini, api_key: {CANARY}}}
  - model_name: dated
    litellm_params: {{model: openai/gpt-5.4-2026-03-05, api_key: {CANARY}}}
  - model_name: unknown
    litellm_params: {{model: openai/gpt-0-none, api_key: {CANARY}}}
  - model_name: {CANARY}
    litellm_params: {{model: openai/gpt-5.4}}
  - model_name: cloud
    litellm_params: {{model: bedrock/x}}
"""


def test_from_litellm_with_models_of_the_catalogue(call: Call, path: Path) -> None:
    config = path.with_name("config.yaml")
    config.write_text(LITELLM)
    code, out, err = call("--from-litellm", str(config), "--org", "acme", "--yes")
    assert code == 1, "the real previous provider is not reached from a test"
    file = parse(path.read_bytes())
    assert {name: route.model for name, route in file.routes.items()} == {
        "fast": "gpt-5.4-mini",
        "dated": "gpt-5.4",
        "unknown": "",
    }
    assert all(list(route.orgs) == ["acme"] for route in file.routes.values())
    assert "gpt-0-none is no model at TokenLab" in path.read_text()
    assert "line 10: cloud is of bedrock" in err
    assert CANARY not in path.read_text()
    assert "rollout-console models" in out


def test_from_a_log_and_a_flag_together(call: Call, path: Path) -> None:
    log = path.with_name("log.csv")
    log.write_text("path,model,team\n" + "/v1/chat/completions,gpt-5.4,acme\n" * 3 + "/v1/x,m,a\n")
    code, out, err = call(
        "--from-openai-log", str(log), "--route", "claude", "--format", "anthropic_messages",
        "--org", "b", "--dry-run", "--json",
    )  # fmt: skip
    body = json.loads(out)
    assert (code, list(body["routes"])) == (0, ["chat", "claude"])
    assert (body["routes"]["chat"]["requests"], body["routes"]["chat"]["orgs"]) == (3, ["acme"])
    assert body["notes"] == [
        {"file": str(log), "line": 5, "count": 1,
         "reason": "there is no route format for POST /v1/x"},
    ]  # fmt: skip
    code, _, err = call("--from-openai-log", str(log), *CHAT, "--dry-run")
    assert (code, "'chat' is given twice" in err) == (2, True)


def test_a_credential_on_standard_input_is_kept(
    call: Call, path: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    quick: None,
) -> None:  # fmt: skip
    secret = tmp_path / "passphrase"
    secret.write_text("canary passphrase 7f3a9c\n")
    secret.chmod(0o600)
    monkeypatch.setenv("ROLLOUT_VAULT_PASSPHRASE_FILE", str(secret))
    read, write = os.pipe()
    os.write(write, DEMO_KEY.encode() + b"\n")
    os.close(write)
    with open(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code, out, err = call(
            *CHAT, "--model", "gpt-5.4", *previous(sim), "--profile", "prod", "--token-stdin",
            "--to", "encrypted", "--yes",
        )  # fmt: skip
    assert (code, "kept for profile prod in the encrypted store" in err) == (0, True), (out, err)
    assert "not checked: management token" in err
    assert "keys add" not in out
    assert DEMO_KEY not in out + err + path.read_text()


def test_a_bad_credential_leaves_the_file_and_fails(
    call: Call, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.write(write, b"nonsense\n")
    os.close(write)
    with open(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        code, _, err = call(*CHAT, "--token-stdin", "--yes", online=False)
    assert (code, path.exists()) == (1, True)
    assert "is not kept" in err


def test_without_a_file_the_sentence_names_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["show"], ["set", "chat", "acme", "1"], ["guard", "--once"]):
        assert run(words) == 2
        assert "write a first one with rollout-console init" in capsys.readouterr().err
    assert run(["check", "--offline"]) == 1
    assert "do: write a first one with rollout-console init" in capsys.readouterr().out


def test_help_offers_the_formats_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert OFFERED == FORMATS
    with pytest.raises(SystemExit, match="0"):
        build_parser().parse_args(["init", "--help"])
    assert "anthropic_messages" in capsys.readouterr().out


def test_answers_of_one_run_are_not_those_of_the_next() -> None:
    parser = build_parser()
    first = parser.parse_args(["init", "--route", "a", "--org", "x"])
    second = parser.parse_args(["init", "--route", "b"])
    assert first.answers == [("route", "a"), ("org", "x")]
    assert second.answers == [("route", "b")]
