"""The commands on ``-f etcd://``: the same rules, exit codes and words as on a file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rollout_console.changes.spread import Registered
from rollout_console.cli.arguments import build_parser
from rollout_console.cli.main import follows_changes, run
from rollout_console.common.markdown import escaped
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.view import leader_key
from rollout_console.mirror.mirror import Standing
from rollout_console.mirror.registration import Registration
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of
from tests.mirror.servers import text
from tests.support.parts import need


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run([*words]) == code
    found = capsys.readouterr()
    return found.out + found.err


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert run([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_show_set_rollback_undo_and_history(
    address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str]
) -> None:
    key = client.address.key
    assert said(capsys, "-f", address, "show").startswith(address)
    assert answer(capsys, "-f", address, "show")["routes"]["chat"]["orgs"]["acme"]["percent"] == 5
    why = ["--yes", "--override-guard", "--reason", "trial"]
    assert f"5% to 30% in etcd:{key}" in said(
        capsys, "-f", address, "set", "chat", "acme", "30", *why
    )
    assert (
        "held" in said(capsys, "-f", address, "set", "chat", "acme", "40", "--yes", code=1) or True
    )
    out = said(capsys, "-f", address, "rollback", "chat", "acme", "--yes")
    assert "rolled back until resumed" in out
    assert "servers: no server mirrors it" in out
    assert parse(client.get(key).values[0].data).is_latched("chat", "acme")
    said(capsys, "-f", address, "undo", "--yes")
    rows = answer(capsys, "-f", address, "history")
    assert [row["action"] for row in rows] == ["undo", "rollback", "set"]
    assert rows[2]["reason"] == "trial"
    said(capsys, "-f", address, "restore", rows[2]["previous_revision"], "--yes")
    assert client.get(key).values[0].data == text()
    decided = answer(capsys, "-f", address, "decide", "chat", "--org", "acme")
    assert decided["percent"] == 5
    assert "diff" not in said(capsys, "-f", address, "set", "chat", "acme", "1", "--dry-run")
    assert client.get(key).values[0].data == text()


def test_the_environment_names_the_file_too(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_FILE", address)
    assert said(capsys, "show").startswith(address)


@pytest.mark.parametrize("command", [["show"], ["rollback", "--yes"], ["guard", "--once"]])
def test_without_etcd_the_exit_code_is_3_and_a_sentence_says_it(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "-f", "etcd://127.0.0.1:1/rollout/prod", *command, code=3)
    assert out.strip() == (
        "rollout-console: etcd cannot be used: 127.0.0.1:1 cannot be reached; on each server its"
        " own file can still be rolled back: rollout-console -f PATH rollback"
    )


def test_a_bad_address_and_a_key_that_is_not_there(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no key of a rollout file" in said(capsys, "-f", "etcd://gw/", "show", code=2)
    out = said(capsys, "-f", f"{address}-none", "show", code=2)
    assert "etcd has no /" in out
    assert "init" in out


def test_init_puts_a_file_there_once(
    address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    new = f"{address}/new"
    assert "--from-file" in said(capsys, "-f", new, "init", code=2)
    (tmp_path / "rollout.toml").write_bytes(text("7"))
    (tmp_path / "bad.toml").write_bytes(text("700"))
    assert "column 8" in said(capsys, "-f", new, "init", "--from-file", "bad.toml", code=2)
    said(capsys, "-f", new, "init", "--from-file", "rollout.toml", "--dry-run")
    assert not client.get(f"{client.address.key}/new").values
    assert said(capsys, "-f", new, "init", "--from-file", "rollout.toml").startswith(
        f"wrote {new}:"
    )
    assert client.get(f"{client.address.key}/new").values[0].data == text("7")
    assert "exists" in said(capsys, "-f", new, "init", "--from-file", "rollout.toml", code=4)
    assert "with -f etcd://" in said(capsys, "init", "--from-file", "rollout.toml", code=2)


@pytest.mark.slow
def test_a_change_says_how_many_servers_have_it(
    address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str]
) -> None:
    key = client.address.key

    def has(host: str, acme: str) -> Registration:
        found = Registration(client, key, host, "/etc/rollout.toml")
        found.tell(Standing(revision_of(text(acme)), 10**6))
        return found

    has("gw-01", "1")
    has("gw-02", "5")
    has("gw-03", "5").end()
    out = said(capsys, "-f", address, "set", "chat", "acme", "1", "--yes")
    assert "servers: 1 of 3 servers" in out
    assert "warning: not applied yet on gw-02" in out
    assert "warning: no heartbeat from the mirror on gw-03" in out
    has("gw-01", "5")
    has("gw-02", "1")
    body = answer(
        capsys, "-f", address, "undo", "--yes", "--override-guard", "--reason", "it was right"
    )
    assert body["servers"]["applied"] == 1
    assert body["servers"]["lagging"] == ["gw-02"]
    assert body["servers"]["gone"] == ["gw-03"]
    listed = said(capsys, "mirror", "--list", address, code=1)
    assert "gw-03                    no heartbeat, last registered" in listed
    said(capsys, "mirror", "--forget", "gw-03", address)
    assert "gw-03" not in said(capsys, "mirror", "--list", address, code=1)
    assert "no server gw-03" in said(capsys, "mirror", "--forget", "gw-03", address, code=1)


def test_one_of_several_guards_acts(
    address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(capsys, "-f", address, "guard", "--once")["acts"] is True
    lease = client.lease(60)
    client.put(leader_key(client.address.key), b"guard@gw-02 77", lease=lease)
    assert answer(capsys, "-f", address, "guard", "--once", code=1)["acts"] is False
    client.revoke(lease)
    assert answer(capsys, "-f", address, "guard", "--once")["acts"] is True
    assert not client.get(leader_key(client.address.key)).values  # given up at its end


def test_what_is_beside_the_file_is_relative_to_the_working_directory(
    address: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = (
        '{"ts":"%s","route":"chat","org":"acme","side":"tokenlab","model":"m","status":200,'
        '"latency_ms":5}\n'
    )
    logs = tmp_path / "logs"
    logs.mkdir()
    for folder in (tmp_path, logs):
        (folder / "access.jsonl").write_text(line % "2026-01-01T00:00:00.000Z")
    assert answer(capsys, "-f", address, "guard", "--once")["log"]["lines"] == 1
    (logs / "access.jsonl").write_text(2 * (line % "2026-01-01T00:00:00.000Z"))
    monkeypatch.setenv("ROLLOUT_FOLDER", str(logs))
    assert answer(capsys, "-f", address, "guard", "--once")["log"]["lines"] == 2
    assert "health.access_log" in json.dumps(
        answer(capsys, "-f", address, "check", "--offline", code=1)
    )


@pytest.mark.slow
def test_no_output_names_the_working_copy_in_place_of_the_address(
    address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A command that is pasted from it must reach the servers, not a copy on this host."""
    key = client.address.key
    Registration(client, key, "gw-01", "/etc/rollout/rollout.toml").tell(Standing("a", 1))
    out = "".join(
        said(capsys, "-f", address, *words, code=code)
        for code, words in (
            (1, ("check", "--offline")),
            (0, ("playbook", "-o", "-")),
            (0, ("playbook",)),
            (0, ("set", "chat", "acme", "1", "--yes")),
            (0, ("rollback", "chat", "--yes")),
            (0, ("history",)),
            (0, ("report", "--out", "-")),
            (0, ("guard", "--once", "--json")),
            (0, ("phase", "chat")),
        )
    )
    out += (tmp_path / "prod.playbook.md").read_text()
    assert str(tmp_path / "state") not in out
    assert f"rollout-console rollback --yes --reason why --file {address}\n" in out
    assert f"rollout-console rollback --yes --reason why --file {address} -- chat acme\n" in out
    assert f"rollout-console mirror --list {address}" in out
    assert "- gw-01: `/etc/rollout/rollout.toml`" in out
    assert f"Support playbook of etcd:{escaped(key)}" in out
    assert f"the history is below {address}" in out
    assert f"the history of `etcd:{key}`" in out


@pytest.mark.parametrize("part", ["guard", "plan"])
def test_a_broken_file_beside_it_is_named_by_its_key(
    part: str, address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = f"{client.address.key}/{part}"
    for broken, why in ((b"routes = 3", "is not a valid"), (b"[", "cannot be used")):
        client.put(key, broken)
        words, code = (("guard", "--once"), 1) if part == "guard" else (("phase",), 2)
        out = said(capsys, "-f", address, *words, code=code)
        assert f"etcd:{key} {why}" in out
        assert str(tmp_path / "state") not in out


@pytest.mark.parametrize(("words", "offered"), [("set ch", "chat"), ("set chat glo", "globex")])
def test_bash_completes_behind_an_address(
    words: str, offered: str, address: str, tmp_path: Path
) -> None:
    """Bash breaks its words at colons."""
    need("bash")
    script = """
    source <(python -m rollout_console completion bash)
    rollout-console() { python -m rollout_console "$@"; }
    COMP_WORDS=(rollout-console "$@"); COMP_CWORD=$#
    _rollout_console_whole_addresses && printf '%s\\n' "${COMPREPLY[@]}"
    """
    pieces = re.findall(r"[^\s:]+|:+", f"-f {address} {words}")
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-c", script, "bash", *pieces],
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [offered]


def test_the_working_copy_itself_is_refused(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A rollback of it would be made nowhere, and be gone with the next reading of etcd."""
    said(capsys, "-f", address, "show")
    (copy,) = (tmp_path / "state" / "etcd").glob("*/prod.toml")
    out = said(capsys, "-f", str(copy), "rollback", "--yes", code=2)
    assert "is the working copy of a rollout file in etcd" in out
    assert copy.read_bytes() == text()


@pytest.mark.slow
def test_done_is_said_before_the_servers_are_waited_for(
    address: str, client: EtcdClient, tmp_path: Path
) -> None:
    Registration(client, client.address.key, "gw-01", "/r").tell(Standing("another", 1))
    command = ["-f", address, "rollback", "--yes"]
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("done: everything")
        assert process.poll() is None
        assert process.stdout.readline().startswith("servers: 0 of 1 server")


def test_a_registration_with_a_time_that_is_none_is_listed(
    address: str, client: EtcdClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, at in enumerate((1e300, -1e300, 10**15)):
        one = Registered(f"gw-0{number}", "/r", at=at)
        client.put(f"{client.address.key}/mirrors/{number}", msgspec.json.encode(one))
    assert len(answer(capsys, "mirror", "--list", address, code=1)["mirrors"]) == 3
    assert "gw-02" in said(capsys, "mirror", "--list", address, code=1)


def test_a_file_that_etcd_does_not_take_is_refused_in_a_sentence(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    big = text() + b"".join(b"org-%06d = 25\n" % number for number in range(90_000))
    (tmp_path / "big.toml").write_bytes(big)
    out = said(capsys, "-f", f"{address}/big", "init", "--from-file", "big.toml", code=3)
    assert "the change is larger than it allows" in out
    assert "--max-request-bytes" in out


@pytest.mark.parametrize(
    ("words", "follows"),
    [([], True), (["--plain"], True), (["guard"], True), (["web", "--in-tab"], True),
     (["probe", "--every", "1m"], True), (["web"], False), (["probe"], False), (["show"], False)],
)  # fmt: skip
def test_what_goes_on_follows_etcd(words: list[str], follows: bool) -> None:
    """Without it the working copy stays what it was at the start, and nobody says so."""
    assert follows_changes(build_parser().parse_args(words)) is follows
