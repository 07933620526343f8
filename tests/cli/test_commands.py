"""The commands: output, JSON shapes and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rollout_console.cli.main import run
from rollout_console.sim.server import SimServer
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.model import DEFAULT_BASE_URL
from rollout_gate.file.parse import parse


@pytest.fixture
def cli(file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "-f", str(file)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def test_show_and_decide(cli: Any, file: Path) -> None:
    code, out, _ = cli("show", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["routes"]["chat"]["orgs"]["globex.eu"] == {"percent": 12.5, "rolled_back": False}
    code, out, _ = cli("decide", "chat", "--org", "acme", "--json")
    assert json.loads(out) == {
        "side": "previous", "percent": 25.0, "bucket": 8750, "rule": "orgs.acme",
        "revision": shown["revision"], "route": "chat", "model": "gpt-5.4",
        "format": "openai_chat_completions",
    }  # fmt: skip
    assert cli("decide", "chat", "--org", "x", "--flag", "beta-testers")[1].startswith("tokenlab")
    assert "acme" in cli("show")[1]
    assert "  (default)                         0%\n" in cli("show")[1]


def test_rollback_history_resume_undo_restore(cli: Any, file: Path) -> None:
    before = file.read_bytes()
    assert cli("rollback", "chat", "acme", "--yes", "--reason", "5xx 4.2%")[0] == 0
    assert b": 5xx 4.2%" in file.read_bytes()
    code, out, _ = cli("history", "--json")
    (row,) = json.loads(out)
    assert (row["action"], row["org"], row["reason"]) == ("rollback", "acme", "5xx 4.2%")
    code, _, err = cli("resume", "chat", "acme", "--yes")
    assert code == 1
    assert "guard holds" in err
    again = ("--yes", "--override-guard", "--reason", "fixed upstream")
    assert cli("resume", "chat", "acme", *again)[0] == 0
    assert file.read_bytes() == before
    assert cli("undo", "--yes")[0] == 0
    assert parse(file.read_bytes()).routes["chat"].org_rolled_back("acme")
    code, out, _ = cli("history")
    first = out.splitlines()[-1].split()[0]
    assert cli("restore", first, "--yes")[0] == 1, "it says so already"
    assert cli("rollback", "--yes", "--json")[0] == 0
    assert parse(file.read_bytes()).rolled_back


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("set", "chat", "acme", "101"), 2, "0 to 100"),
        (("set", "chat", "acme", "1.234"), 2, "two decimals"),
        (("set", "chat", "acme", "many"), 2, "not a percent"),
        (("set", "nope", "acme", "1"), 2, "no route 'nope'"),
        (("rollback", "chat", "acme"), 1, "add --yes"),
        (("undo", "--yes"), 1, "no change"),
        (("restore", "abc", "--yes"), 2, "no revision"),
        (("restore", "0123456789", "--yes"), 2, "no revision"),
        (("decide", "nope", "--org", "x"), 2, "no route"),
        (("phase", "nope"), 2, "no route 'nope'"),
        (("guard", "--put-back", "chat", "nope"), 2, "no org 'nope'"),
        (("guard", "--put-back", "chat", "acme"), 1, "chat / acme has not been taken out of"),
        (("--read-only", "rollback", "--yes"), 1, "read-only"),
    ],
)
def test_every_fault_is_one_sentence_and_a_code(
    cli: Any,
    file: Path,
    arguments: tuple[str, ...],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = file.read_bytes()
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        found, _, err = cli(*arguments)
    assert (found, len(err.strip().splitlines())) == (code, 1)
    assert says in err
    assert file.read_bytes() == before


def test_a_dry_run_changes_nothing(cli: Any, file: Path) -> None:
    before = file.read_bytes()
    code, out, _ = cli("set", "chat", "acme", "5", "--dry-run")
    assert (code, out.splitlines()[1:]) == (0, ["-acme = 25", "+acme = 5"])
    assert file.read_bytes() == before


def test_check_offline(cli: Any, file: Path) -> None:
    code, out, _ = cli("check", "--offline", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    file.write_text(file.read_text().replace("acme = 25", "acme = 101"))
    code, out, _ = cli("check", "--offline", "--json")
    bad = [r for r in json.loads(out)["results"] if not r["ok"]]
    assert (code, set(bad[0])) == (1, {"rule", "ok", "where", "reason", "fix"})


def test_hostile_names_do_not_reach_the_terminal(cli: Any, file: Path) -> None:
    file.write_text(file.read_text().replace("acme = 25", '"a\\u001b[31m\\u202e" = 25', 1))
    out = cli("show")[1]
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_the_simulator_prints_its_base_url_first() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "sim"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("http://127.0.0.1:")
        child.terminate()
        child.wait(timeout=10)


def test_without_a_terminal_the_console_says_so(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rollout_console", "-f", str(file)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no terminal" in done.stderr


def test_a_raise_asks_for_the_balance(
    cli: Any, file: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_step = ("set", "chat", "newcomer", "1", "--yes", "--new")
    text = file.read_text().replace(DEFAULT_BASE_URL, sim.base_url)
    file.write_text(text.replace("min_balance_usd = 50.0", "min_balance_usd = 1000000"))
    monkeypatch.setenv("TOKENLAB_MANAGEMENT_TOKEN", "mt-sim-demo")
    code, _, err = cli(*first_step)
    assert (code, "is under $1,000,000.00" in err) == (1, True)
    monkeypatch.setenv("TOKENLAB_MANAGEMENT_TOKEN", "mt-sim-demo")
    sim.state.faults.add({"status": 503, "path": "/v1/management/balance"})
    code, _, err = cli(*first_step)
    assert (code, "balance not known: " in err) == (1, True)
    assert cli("rollback", "chat", "--yes")[0] == 0, "the way down asks nobody"
    assert "newcomer" not in file.read_text()


def test_without_a_token_a_raise_goes_by_the_log(cli: Any, file: Path) -> None:
    assert cli("set", "chat", "newcomer", "1", "--yes", "--new")[0] == 0
    code, out, _ = cli("history")
    assert (code, "guard: hold: no data" in out) == (0, True)


@pytest.mark.parametrize("command", [("show",), ("rollback", "chat", "acme", "--yes")])
def test_an_output_that_cannot_be_written_is_one_sentence(
    file: Path, command: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rollout_console", "-f", str(file), *command],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == (1 if len(command) == 1 else 0), "what was done is done"
    assert done.stderr.startswith("rollout-console: the output could not be written: ")
    assert "Traceback" not in done.stderr
    assert parse(file.read_bytes()).routes["chat"].org_rolled_back("acme") == (len(command) > 1)


def test_a_terminal_without_the_sign_gets_its_number(file: Path) -> None:
    file.write_text(file.read_text().replace("acme = 25", '"漢" = 25', 1))
    done = subprocess.run(
        [sys.executable, "-m", "rollout_console", "-f", str(file),
         "rollback", "chat", "漢", "--yes"],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u6f22" in done.stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("rollback", "chat", "acme,initech"), "no org 'acme,initech', in the file or in the log"),
        (("rollback", "chat", "acm"), "did you mean 'acme'? --new makes a line for it"),
        (("set", "chat", "acmee", "5"), "did you mean 'acme'? --new makes a line for it"),
        (("resume", "chat", "acmee"), "did you mean 'acme'?"),
        (("resume", "chat", "nope"), "in the file or in the log; see show"),
        (("set", "chat", "acme=10", "initech", "20"), "give ORG=PERCENT for each org"),
        (("rollback", "chta"), "the file has no route 'chta'; did you mean 'chat'? it has: "),
        (("set", "chat", "5", "--flag", "beta-tester"), "did you mean 'beta-testers'?"),
        (("set", "chat", "5", "--alias", "prod"), "no alias 'prod'"),
        (("set", "chat", "5"), 'give an org ("*" for those without a line)'),
        (("set", "chat", "acme", "5", "--flag", "beta-testers"), "give one of an org"),
    ],
)
def test_nobody_moves_a_typing_mistake(
    cli: Any, file: Path, command: tuple[str, ...], said: str
) -> None:
    before = file.read_bytes()
    code, _, err = cli(*command, "--yes")
    assert code in (1, 2)
    assert said in err
    assert file.read_bytes() == before


def test_an_org_that_the_log_has_is_rolled_back_before_it_has_a_line(cli: Any, file: Path) -> None:
    log = AccessLog(file.parent / "access.jsonl")
    log.append(
        AccessLine(
            ts=timestamp(), route="chat", org="stark", side="tokenlab", model="m", status=200,
            latency_ms=1.0,
        )
    )  # fmt: skip
    assert cli("rollback", "chat", "stark", "--yes")[0] == 0
    assert parse(file.read_bytes()).routes["chat"].org_rolled_back("stark")


@pytest.mark.parametrize("kind", ["alias", "flag"])
def test_shares_by_alias_and_flag_are_set_shown_and_undone(cli: Any, file: Path, kind: str) -> None:
    before = file.read_bytes()
    over = ("--override-guard", "--reason", "agreed", "--yes")
    code, out, _ = cli("set", "chat", "12.5", f"--{kind}", "new one", "--new", *over)
    assert (code, f"chat / {kind} new one no line to 12.5%" in out) == (0, True)
    table = {"alias": "keys", "flag": "flags"}[kind]
    assert json.loads(cli("show", "--json")[1])["routes"]["chat"][table]["new one"] == 12.5
    assert f"{kind} new one" in cli("show")[1]
    row = json.loads(cli("history", "--json")[1])[0]
    assert (row["action"], row["org"], row["after"]) == (f"set_{kind}", "new one", "12.5")
    assert cli("set", "chat", "5", f"--{kind}", "new one", *over)[0] == 0
    assert cli("undo", *over)[0] == 0
    assert cli("undo", *over)[0] == 0
    assert file.read_bytes() == before


def storm(file: Path, *sick: str) -> None:
    """Log an incident: half of what the sick orgs ask fails, and nothing of the others."""
    log = AccessLog(file.parent / "access.jsonl")
    for number in range(150):
        for org in ("acme", "globex.eu", "hooli"):
            status = 503 if org in sick and number % 2 else 200
            log.append(
                AccessLine(ts=timestamp(), route="chat", org=org, side="tokenlab", model="m",
                           status=status, latency_ms=50.0)
            )  # fmt: skip
    log.close()


def test_several_orgs_are_rolled_back_in_one_change(cli: Any, file: Path) -> None:
    before = file.read_bytes()
    code, out, _ = cli("rollback", "chat", "acme", "globex.eu", "--dry-run")
    assert code == 0
    assert "2 lines to 0% in rollout.toml" in out
    assert "  chat / acme: by the operator\n" in out
    assert file.read_bytes() == before
    code, _, err = cli("rollback", "chat", "acme", "globex.eux", "--yes")
    assert code == 2
    assert "did you mean 'globex.eu'?" in err
    assert file.read_bytes() == before
    code, out, _ = cli("rollback", "chat", "--yes", "acme", "globex.eu", "--reason", "x", "--json")
    assert json.loads(out)["targets"] == [["chat", "acme"], ["chat", "globex.eu"]]
    rows = json.loads(cli("history", "--json")[1])
    assert [(row["action"], row["org"], row["reason"]) for row in rows] == [
        ("rollback", "globex.eu", "x"), ("rollback", "acme", "x"),
    ]  # fmt: skip
    assert rows[0]["previous_revision"] == rows[1]["revision"]
    again = ("--yes", "--override-guard", "--reason", "drill over")
    code, out, _ = cli("undo", *again)
    assert "undo of rollback of 2 lines" in out
    assert file.read_bytes() == before


def test_what_is_sick_is_rolled_back(cli: Any, file: Path) -> None:
    before = file.read_bytes()
    storm(file, "globex.eu")
    code, out, _ = cli("rollback", "--sick", "--dry-run")
    assert code == 0
    assert out.startswith("chat / globex.eu 12.5% to 0%")
    assert file.read_bytes() == before
    code, out, _ = cli("rollback", "claude", "--sick", "--yes")
    assert code == 0
    assert out.startswith("nothing on claude asks for a rollback now; the log is ")
    assert file.read_bytes() == before
    assert cli("rollback", "chat", "--sick", "--yes")[0] == 0
    route = parse(file.read_bytes()).routes["chat"]
    assert (route.rolled_back, route.org_rolled_back("acme")) == (False, False)
    assert route.org_rolled_back("globex.eu")
    assert b"5xx" in next(one for one in file.read_bytes().split(b"\n") if b"globex.eu" in one)
    latched = file.read_bytes()
    code, out, _ = cli("rollback", "--sick", "--yes")
    assert (code, file.read_bytes()) == (0, latched)
    assert "nothing asks for a rollback now; the log is " in out


def test_a_sick_route_takes_its_orgs_along(cli: Any, file: Path) -> None:
    storm(file, "acme", "globex.eu", "hooli")
    code, out, _ = cli("rollback", "--sick", "--yes", "--json")
    assert (code, json.loads(out)["targets"]) == (0, [["chat", None]])
    assert parse(file.read_bytes()).routes["chat"].rolled_back


def test_nothing_sick_is_no_error(cli: Any, file: Path) -> None:
    before = file.read_bytes()
    code, out, _ = cli("rollback", "--sick", "--yes")
    assert (code, out) == (0, "nothing asks for a rollback now; there is no data in the log\n")
    body = json.loads(cli("rollback", "--sick", "--json", "--yes")[1])
    assert (body["action"], body["targets"]) == ("rollback", [])
    storm(file)
    assert cli("rollback", "--sick", "--yes")[0] == 0
    assert file.read_bytes() == before
    code, _, err = cli("rollback", "chat", "acme", "--sick", "--yes")
    assert code == 2
    assert "--sick finds the orgs itself" in err
