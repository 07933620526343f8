"""The guard as a service runs it: once, for ever, and through a signal."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from configparser import ConfigParser
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rollout_console.budgets.spending import Spending, keep_spending, spending_path
from rollout_console.cli.main import run
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.ramp_record import RampRecord
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse
from tests.support.parts import need
from tests.support.waiting import until

UNIT = Path(__file__).parents[2] / "sample_configs" / "rollout-guard.service"


def traffic(file: Path, count: int, status: int = 200) -> None:
    log = AccessLog(file.parent / "access.jsonl")
    for i in range(count):
        log.append(
            AccessLine(ts=timestamp(), route="chat", org=f"org-{i % 3}", side="tokenlab",
                       model="m", status=status, latency_ms=50.0)
        )  # fmt: skip
    log.close()


@pytest.fixture
def cli(file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["-f", str(file), *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_once(cli: Any, file: Path) -> None:
    code, out, _ = cli("guard", "--once", "--json")
    found = json.loads(out)
    assert (code, found["acts"], found["trouble"]) == (0, True, "")
    assert found["routes"]["claude"] == {
        "verdict": "hold", "reason": "no data", "signal": "data", "last_error": None,
        "culprits": [], "unnamed": [], "ramp": [], "jobs": {},
        "orgs": {"acme": {"verdict": "hold", "reason": "no data"}},
    }  # fmt: skip
    assert found["routing"] == {"misrouted": [], "behind": [], "far_shares": []}
    assert found["routes"]["chat"]["ramp"][0] == {
        "org": "acme", "percent": 25.0, "next": 50.0, "waits_for": "no data", "out": "",
    }  # fmt: skip
    traffic(file, 30, 503)
    code, out, _ = cli("guard", "--once")
    assert code == 1
    assert re.search(r"chat  rollback: 5xx 100% in \d+ s, 30 of 30", out)
    _, out, _ = cli("guard", "--once", "--json")
    chat = json.loads(out)["routes"]["chat"]
    assert (chat["signal"], chat["orgs"]["acme"]["verdict"]) == ("gateway", "rollback")
    assert datetime.fromisoformat(chat["last_error"]).timestamp() == pytest.approx(
        time.time(), abs=20
    )
    assert not parse(file.read_bytes()).routes["chat"].rolled_back, "mode hold does nothing"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_once_with_a_damaged_ledger_of_jobs(cli: Any, file: Path, options: list[str]) -> None:
    """What cannot be judged is a problem, and said."""
    (file.parent / "rollout-jobs.sqlite3").write_bytes(b"garbage " * 1_000)
    code, out, _ = cli("guard", "--once", *options)
    assert code == 1
    assert "rollout-jobs.sqlite3" in out


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("kept", [None, b"\xff{", b"stale", b"fresh"])
def test_once_with_budgets_that_nothing_counts_for(
    cli: Any, file: Path, options: list[str], kept: bytes | None
) -> None:
    """One look has no later one that would tell it: a budget without a count holds no raise."""
    traffic(file, 30)
    assert cli("guard", "--once")[0] == 0
    with file.open("a") as text:
        text.write('[budgets.all]\nlimit_usd = 10\nper = "month"\n')
    path = spending_path(state_folder(), file, parse(file.read_bytes()).profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = time.time()
    spent = {b"stale": Spending(now - 86_400.0), b"fresh": Spending(now)}
    if kept in spent:
        keep_spending(spent[kept], path)
    elif kept is not None:
        path.write_bytes(kept)
    code, out, _ = cli("guard", "--once", *options)
    assert code == (0 if kept == b"fresh" else 1)
    assert ("budgets were never counted: run rollout-console budgets" in out) == (
        kept in (None, b"\xff{")
    )
    assert ("budgets are stale" in out) == (kept == b"stale")


def test_once_names_the_sick_org_and_not_its_route(cli: Any, file: Path) -> None:
    traffic(file, 150)
    log = AccessLog(file.parent / "access.jsonl")
    for _ in range(30):
        log.append(
            AccessLine(ts=timestamp(), route="chat", org="globex.eu", side="tokenlab",
                       model="m", status=503, latency_ms=50.0)
        )  # fmt: skip
    log.close()
    code, out, _ = cli("guard", "--once", "--json")
    chat = json.loads(out)["routes"]["chat"]
    assert (code, chat["verdict"]) == (1, "hold"), "of an age that nobody knows"
    assert chat["orgs"]["globex.eu"]["verdict"] == "rollback"
    words = r"5xx 100% in \d s, 30 of 30, limit 2%; 100% of 5xx are globex.eu"
    assert re.fullmatch(words, chat["orgs"]["globex.eu"]["reason"])
    assert chat["orgs"]["acme"]["verdict"] == "hold"
    code, out, _ = cli("guard", "--once")
    assert code == 1
    assert re.search(r"chat / globex.eu rollback: 5xx 100% in \d s, 30 of 30", out)


def test_a_credential_for_a_name_is_not_printed(cli: Any, file: Path) -> None:
    name = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    file.write_text(
        file.read_text().replace("[routes.chat.orgs]", f"[routes.chat.orgs]\n{name} = 1")
    )
    for more in ([], ["--json"]):
        code, out, _ = cli("guard", "--once", *more)
        assert (code, name in out, "sk-" in out) == (0, False, True)


UNUSABLE = '{"ts":1764076800000,"route":"chat","org":"acme","side":"tokenlab","status":503}\n'
WHY = "ts is no RFC 3339 time with a zone, such as 2026-11-25T10:00:00.000Z"


def test_lines_that_cannot_be_used_are_not_no_data(cli: Any, file: Path) -> None:
    log = file.parent / "access.jsonl"
    log.write_text(UNUSABLE * 200)
    code, out, _ = cli("guard", "--once", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["log"] == {"lines": 0, "unusable": 200, "why": WHY}
    assert found["routes"]["chat"]["reason"] == "no data: 200 lines cannot be used"
    assert found["alerts"] == [f"200 lines of the access log cannot be used; the first: {WHY}"]
    code, out, _ = cli("guard", "--once")
    assert code == 1
    assert f"log: 200 lines of the access log cannot be used; the first: {WHY}" in out


@pytest.mark.parametrize(("mode", "log"), [("enforce", "none"), ("hold", "folder")])
def test_a_guard_that_sees_no_request_says_so(cli: Any, file: Path, mode: str, log: str) -> None:
    file.write_text(file.read_text().replace('mode = "hold"', f'mode = "{mode}"', 1))
    if log == "folder":
        (file.parent / "access.jsonl").mkdir()
    code, out, _ = cli("guard", "--once", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["log"]["why"].startswith("no request is seen: ")
    assert found["alerts"] == [found["log"]["why"]]


def test_before_the_first_request_a_missing_log_is_no_problem(cli: Any) -> None:
    code, out, _ = cli("guard", "--once", "--json")
    found = json.loads(out)
    assert (code, found["alerts"], found["log"]["why"]) == (0, [], "")


def test_a_line_that_was_torn_off_is_said_and_no_problem(cli: Any, file: Path) -> None:
    traffic(file, 300)
    with (file.parent / "access.jsonl").open("a") as log:
        log.write('{"ts":"2026-11-2\n')
    code, out, _ = cli("guard", "--once", "--json")
    found = json.loads(out)
    assert (code, found["alerts"]) == (0, [])
    assert found["log"] == {"lines": 300, "unusable": 1, "why": "Input data was truncated"}
    assert "1 line of the access log cannot be used" in cli("guard", "--once")[1]


def test_put_back(cli: Any, file: Path) -> None:
    cli("guard", "--once")
    assert cli("guard", "--put-back", "chat", "initech")[1].startswith("back in the ramp of chat")
    (row,) = json.loads(cli("history", "--json")[1])
    assert (row["action"], row["route"], row["org"]) == ("put_back", "chat", "initech")
    assert row["reason"] == "it was rolled back"
    assert row["revision"] == row["previous_revision"]
    code, _, err = cli("undo", "--yes")
    assert (code, "no change" in err) == (1, True), "it is no change of the file"
    assert cli("guard", "--put-back", "chat")[0] == 1
    assert cli("guard", "--put-back", "nope")[0] == 2
    assert cli("guard", "--put-back", "chat", "a", "b")[0] == 2


def test_read_only_writes_nothing(cli: Any, file: Path) -> None:
    before = sorted(path.name for path in file.parent.iterdir())
    code, out, _ = cli("--read-only", "guard", "--once", "--json")
    assert (code, json.loads(out)["acts"]) == (0, False)
    assert sorted(path.name for path in file.parent.iterdir()) == before


def test_a_bad_webhook_is_one_sentence(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_WEBHOOK_URL", "http://example.com/canary")
    code, _, err = cli("guard", "--once")
    assert (code, "not https" in err, "canary" in err) == (2, True, False)


@pytest.mark.slow
def test_as_a_service_it_rolls_back_tells_and_ends(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace('mode = "hold"', 'mode = "enforce"'))
    traffic(file, 20)
    told = tmp_path / "told"
    script = (
        f"import os, sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10));"
        f" open({str(tmp_path / 'environ')!r}, 'w').write(str(dict(os.environ)))"
    )
    secrets = {
        "TOKENLAB_API_KEY": "sk-canary-key", "TOKENLAB_MANAGEMENT_TOKEN": "mt-canary-token",
        "OPENAI_API_KEY": "canary-openai", "ROLLOUT_PREVIOUS_KEY_CHAT": "canary-chat",
        "ROLLOUT_WEBHOOK_URL": "http://127.0.0.1:9/canary",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "-f", str(file), "guard", "--every", "1",
         "--json", "--notify-command", f"{sys.executable} -c \"{script}\""],
        stdout=subprocess.PIPE, text=True, env={**os.environ, **secrets},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["text"] == "this guard is the leader"
        traffic(file, 30, 503)
        for line in child.stdout:
            if json.loads(line)["kind"] == "rollback":
                break
        assert parse(file.read_bytes()).routes["chat"].rolled_back
        end = time.monotonic() + 10
        while not (told.exists() and '"rollback"' in told.read_text()):
            assert time.monotonic() < end, "the command was not told"
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        assert child.wait(15) == 0
    environment = (tmp_path / "environ").read_text()
    assert "PATH" in environment
    assert "canary" not in environment
    event = next(json.loads(line) for line in told.read_text().splitlines() if "5xx" in line)
    assert event["command"].endswith("resume chat")
    out = RampRecord(file, WriteAccess()).read()["chat"].out
    assert set(out) == {
        "acme",
        "globex.eu",
        "initech",
    }


def unit(program: str = "", file: str = "") -> str:
    """Return the unit that we ship, with another program and another file where they are given."""
    text = UNIT.read_text()
    if program:
        text = text.replace("/usr/local/bin/rollout-console", program)
    return text.replace("/etc/rollout/rollout.toml", file) if file else text


def command_line(text: str) -> list[str]:
    """Return the words of a unit's ExecStart."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser["Service"]["ExecStart"].split()


def test_systemd_takes_the_unit(file: Path, tmp_path: Path) -> None:
    need("systemd-analyze")
    made = tmp_path / "rollout-guard.service"
    made.write_text(unit(str(Path(sys.executable).with_name("rollout-console")), str(file)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(made)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "rollout-guard" in line]
    assert (done.returncode, said) == (0, [])


def test_the_units_command_line_is_ready_alive_and_rolls_back(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace('mode = "hold"', 'mode = "enforce"'))
    traffic(file, 20)
    words = command_line(unit(str(Path(sys.executable).with_name("rollout-console")), str(file)))
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(address)
        told.settimeout(20)
        environ = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
        with subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL) as child:
            assert told.recv(4096) == b"READY=1"
            assert told.recv(4096) == b"STATUS=this guard is the leader\nWATCHDOG=1"
            at = time.monotonic()
            for _ in range(6):
                assert b"WATCHDOG=1" in told.recv(4096)
            assert time.monotonic() - at < 6, "more often than a turn, of 2 s, as systemd wants it"
            traffic(file, 30, 503)
            until(lambda: parse(file.read_bytes()).routes["chat"].rolled_back)
            child.send_signal(signal.SIGTERM)
            while (said := told.recv(4096)) != b"STOPPING=1":
                assert b"WATCHDOG=1" in said
            assert child.wait(15) == 0
