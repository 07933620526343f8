"""``set`` of several orgs: its grammar, what the guard holds, exit codes; a rollback's figures."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def answering(text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal on which ``text`` was typed."""
    ours, theirs = os.openpty()
    os.write(ours, text.encode())
    with os.fdopen(theirs) as stdin, monkeypatch.context() as patched:
        patched.setattr("sys.stdin", stdin)
        yield
    os.close(ours)


def orgs(file: Path) -> dict[str, int]:
    route = parse(file.read_bytes()).routes["chat"]
    return {org: route.org_points(org) for org in route.orgs}


def at_zero(file: Path) -> None:
    text = file.read_text()
    file.write_text(text.replace("acme = 25", 'acme = 0\n"we\\"ird.org" = 0', 1))


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (("acme", "globex.eu", "5"), {"acme": 500, "globex.eu": 500}),
        (("acme=5", "globex.eu=2.5"), {"acme": 500, "globex.eu": 250}),
        (("--all", "3"), {"acme": 300, "globex.eu": 300, "initech": 300}),
        (("acme=5",), {"acme": 500}),
        (("acme", "5"), {"acme": 500}),
        (("acme", "acme", "5"), {"acme": 500}),
    ],
)
def test_the_ways_to_name_shares(
    cli: Any, file: Path, words: tuple[str, ...], changed: dict[str, int]
) -> None:
    before, text = orgs(file), file.read_bytes()
    code, out, _ = cli("set", "chat", *words, "--yes", "--reason", "calm")
    assert code == 0
    assert out.startswith("done: ")
    assert orgs(file) == before | changed
    rows = json.loads(cli("history", "--json")[1])
    assert {(row["action"], row["reason"]) for row in rows} == {("set", "calm")}
    assert {row["org"] for row in rows} == set(changed)
    again = ("--yes", "--override-guard", "--reason", "drill")
    assert cli("undo", *again)[0] == 0
    assert file.read_bytes() == text


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("acme=5", "globex.eu"), 2, "is not a percent"),
        (("acme", "globex.eu=5"), 2, "'acme' is no ORG=PERCENT"),
        (("acme=5", "acme=6"), 2, "named twice"),
        (("acme=", "globex.eu=5"), 2, "'' is not a percent"),
        (("=5",), 2, "is no ORG=PERCENT"),
        (("acme=5", "--alias", "x"), 2, "give one of an org, --alias and --flag"),
        (("--all", "acme", "5"), 2, "--all is every org"),
        (("--all", "5", "--flag", "beta-testers"), 2, "--all is every org"),
        (("5",), 2, "--all"),
        (("acme", "globex.eux", "5"), 2, "globex.eux"),
        (("acme", "globex.eu", "101"), 2, "101"),
        (("acme", "globex.eu"), 2, "is not a percent"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(
    cli: Any, file: Path, words: tuple[str, ...], code: int, why: str
) -> None:
    before = file.read_bytes()
    found, _, err = cli("set", "chat", *words, "--yes")
    assert (found, why in err) == (code, True), err
    assert file.read_bytes() == before


def test_what_the_guard_holds_is_left_out_and_named(cli: Any, file: Path) -> None:
    at_zero(file)
    words = ("set", "chat", "acme=1", 'we"ird.org=1', "globex.eu=25", "initech=20")
    before = file.read_bytes()
    code, out, _ = cli(*words, "--dry-run", "--json")
    body = json.loads(out)
    assert code == 1, "as with --yes"
    assert body["targets"] == [["chat", "acme"], ["chat", 'we"ird.org']]
    assert [(one["org"], one["reason"]) for one in body["left_out"]] == [
        ("globex.eu", "held: no data"), ("initech", "rolled back, to be resumed first"),
    ]  # fmt: skip
    assert file.read_bytes() == before
    code, out, err = cli(*words, "--yes")
    assert code == 1, "not all that was asked for was done"
    assert "left out: chat / globex.eu: held: no data" in err
    assert orgs(file) == {"acme": 100, 'we"ird.org': 100, "globex.eu": 1250, "initech": 1000}
    code, _, err = cli("set", "chat", "acme", "globex.eu", "50", "--yes")
    assert code == 1
    assert "the guard holds this raise: 2 of 2: chat / acme, globex.eu: no data" in err
    assert orgs(file)["acme"] == 100
    code, _, err = cli("set", "chat", "acme", "globex.eu", "50", "--yes", "--override-guard")
    assert code == 1
    assert "override it with a reason" in err
    all_of_it = ("--yes", "--override-guard", "--reason", "the drill")
    assert cli("set", "chat", "acme", "globex.eu", "50", *all_of_it)[0] == 0
    assert (orgs(file)["acme"], orgs(file)["globex.eu"]) == (5000, 5000)


def test_lowering_several_asks_for_no_name(
    cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering("yes\n", monkeypatch):
        code, _, err = cli("set", "chat", "acme", "globex.eu", "1")
    assert code == 0
    assert "  chat / acme 25% to 1%\n  chat / globex.eu 12.5% to 1%\n" in err


def test_raising_several_asks_for_the_routes_name(
    cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_zero(file)
    before = file.read_bytes()
    with answering("yes\n", monkeypatch):
        code, _, err = cli("set", "chat", "acme", 'we"ird.org', "1")
    assert (code, file.read_bytes()) == (1, before)
    assert "type chat to do it" in err
    with answering("chat\n", monkeypatch):
        assert cli("set", "chat", "acme", 'we"ird.org', "1")[0] == 0


def test_read_only_and_new_names(cli: Any, file: Path) -> None:
    before = file.read_bytes()
    assert cli("set", "chat", "acme", "globex.eu", "1", "--yes", "--read-only")[0] == 1
    assert file.read_bytes() == before
    code, out, _ = cli("set", "chat", "new-1", "a=b", "1", "--new", "--yes")
    assert code == 0
    assert "(2 new lines)" in out
    assert orgs(file)["a=b"] == 100


def test_a_rollback_shows_the_figures_of_both_sides_before_it_asks(
    cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog(file.parent / "access.jsonl")
    for side, status in (("tokenlab", 503), ("previous", 200)):
        for number in range(40):
            log.append(
                AccessLine(
                    ts=timestamp(), route="chat", org="acme", side=side, model="m",
                    status=status if number % 2 else 200, latency_ms=120.0,
                )
            )  # fmt: skip
    log.close()
    tokenlab, previous = "now on TokenLab: ", "previous side: "
    code, out, _ = cli("rollback", "chat", "acme", "--dry-run")
    assert (code, tokenlab in out, previous in out) == (0, True, True)
    assert "5xx 50% (20 of 40 in 5 m)" in out
    figures = json.loads(cli("rollback", "chat", "acme", "--dry-run", "--json")[1])["figures"]
    assert [line.split(":")[0] for line in figures] == ["now on TokenLab", "previous side"]
    with answering("no\n", monkeypatch):
        code, _, err = cli("rollback", "chat", "acme", "globex.eu")
    assert code == 1
    assert "now on TokenLab, worst of 2: chat / acme: " in err
    assert "previous side, worst of 2: chat / acme: " in err
    assert not parse(file.read_bytes()).routes["chat"].org_rolled_back("acme")


def test_a_raise_is_judged_again_when_the_question_was_answered(
    cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_zero(file)
    before = file.read_bytes()

    def answered_late(*_ignored: object) -> bool:
        log = AccessLog(file.parent / "access.jsonl")
        for number in range(200):
            log.append(
                AccessLine(
                    ts=timestamp(), route="chat", org="acme", side="tokenlab", model="m",
                    request_id=f"req-{number}", status=503, latency_ms=100.0,
                )
            )  # fmt: skip
        log.close()
        return True

    monkeypatch.setattr("rollout_console.cli.commands.changes._agreed", answered_late)
    code, _, err = cli("set", "chat", "acme", "1")
    assert code == 1
    assert "the guard holds this raise by now: " in err
    assert "5xx 100%" in err
    assert file.read_bytes() == before
    assert (
        cli("set", "chat", "acme", "1", "--override-guard", "--reason", "agreed with ops")[0] == 0
    )


def test_a_model_that_is_gone_holds_a_raise_as_on_the_screen(
    cli: Any, file: Path, sim: SimServer
) -> None:
    at_zero(file)
    text = file.read_text().replace(DEFAULT_BASE_URL, sim.base_url)
    file.write_text(text.replace('model = "gpt-5.4"', 'model = "gpt-gone"'))
    assert cli("set", "chat", "acme", "1", "--dry-run")[0] == 0
    assert cli("models", "--json")[0] == 0, "the catalogue is kept"
    code, _, err = cli("set", "chat", "acme", "1", "--yes")
    assert (code, "TokenLab has no model gpt-gone any more" in err) == (1, True)
    assert orgs(file)["acme"] == 0
    code, _, err = cli("set", "chat", "acme", 'we"ird.org', "1", "--yes")
    assert (code, "TokenLab has no model gpt-gone any more" in err) == (1, True)
    assert cli("set", "chat", "globex.eu", "1", "--yes")[0] == 0, "a lower share is never held"
