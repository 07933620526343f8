"""``export flagd --follow``: flagd's file follows the switch, and a provider in use follows it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from rollout_console.cli.main import run
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.export.follower import ExportFollower
from rollout_console.export.outputs import FileOutput
from rollout_gate.file.model import RolloutFile
from tests.support.etcd import cluster
from tests.support.waiting import PATIENCE_S, until

FILE = """\
schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
[routes.chat.orgs]
acme = {share}
"""


@contextmanager
def following(path: Path, out: Path) -> Iterator["subprocess.Popen[str]"]:
    words = ["-m", "rollout_console", "-f", str(path), "export", "flagd", "--follow"]
    with subprocess.Popen(
        [sys.executable, *words, "--out", str(out)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until(out.exists)
            yield process
        finally:
            process.kill()


def put(path: Path, text: str) -> None:
    """Replace the file, as a rename of one that was written a moment ago."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(new.stat().st_mtime_ns - 10_000_000,) * 2)
    new.replace(path)


def side(out: Path) -> Any:
    return json.loads(out.read_text())["flags"]["chat"]["targeting"]["if"][1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.toml"
    put(path, FILE.format(share=100))
    return path


def test_it_follows_until_it_is_asked_to_stop(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "flags.json"
    with following(path, out) as process:
        assert side(out) == "tokenlab"
        put(path, FILE.format(share=25))
        until(lambda: side(out) == {"fractional": [["tokenlab", 2500], ["previous", 7500]]})
        put(path, FILE.format(share="{ percent = 25, rolled_back = true }"))
        until(lambda: side(out) == "previous")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
    assert "generation 3" in said[0]
    assert said[2] == f"{out}: 1 flag"
    assert [f"{out}: 1 flag, revision " in line for line in said[3:]] == [True, True], said
    assert said[3] != said[4]


def test_a_bad_file_leaves_the_export_as_it_is(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "flags.json"
    with following(path, out) as process:
        before = out.read_bytes()
        put(path, "[routes")
        assert process.stderr is not None
        said = next(line for line in process.stderr if "line 1" in line)
        assert "Traceback" not in said
        assert out.read_bytes() == before
        put(path, FILE.format(share=0))
        until(lambda: out.read_bytes() != before)


def test_what_others_do_to_the_export_is_put_right(path: Path, tmp_path: Path) -> None:
    """It is removed, or an older version is written over it."""
    out = tmp_path / "flags.json"
    with following(path, out):
        good = out.read_bytes()
        out.unlink()
        until(lambda: out.exists() and out.read_bytes() == good)
        out.write_bytes(good.replace(b'"tokenlab"', b'"previous"'))
        until(lambda: out.read_bytes() == good)


@pytest.mark.slow
def test_a_failed_write_is_told_once_and_tried_again(path: Path, tmp_path: Path) -> None:
    """Somebody else's file in its place is not replaced; once it is gone the export is back."""
    out = tmp_path / "flags.json"
    with following(path, out) as process:
        mine = tmp_path / "mine"
        mine.write_text("mine")
        mine.replace(out)  # in one step: in a missing or empty file's place the export may come
        assert process.stderr is not None
        said = next(line for line in process.stderr if "is not" in line)
        assert "flags.json" in said
        assert out.read_text() == "mine"
        out.unlink()
        until(lambda: out.exists() and side(out) == "tokenlab")


def test_systemd_hears_that_it_is_current(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with following(path, tmp_path / "flags.json"):
            assert systemd.recv(1000) == b"READY=1"
            assert systemd.recv(1000) == b"STATUS=the export is current\nWATCHDOG=1"


def test_it_needs_a_file_to_keep(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-f", str(path), "export", "flagd", "--follow"]) == 2
    assert "say which with --out" in capsys.readouterr().err
    assert run(["-f", str(path), "export", "schema", "--follow", "--out", "x"]) == 2


def test_a_running_provider_follows_the_switch(path: Path, tmp_path: Path) -> None:
    """flagd's own in-process provider for Python, on the exported file."""
    # Imported here: each worker collects this module, and one needs these.
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    out = tmp_path / "flags.json"
    with following(path, out):
        provider = FlagdProvider(
            resolver_type=ResolverType.FILE, offline_flag_source_path=str(out),
        )  # fmt: skip
        api.set_provider_and_wait(provider)
        try:
            client = api.get_client()
            context = EvaluationContext(targeting_key="acme", attributes={"org": "acme"})

            def found() -> str:
                return client.get_string_value("chat", "?", context)

            until(lambda: found() == "tokenlab")
            began = time.monotonic()
            put(path, FILE.format(share="{ percent = 100, rolled_back = true }"))
            until(lambda: found() == "previous")
            assert time.monotonic() - began < PATIENCE_S
        finally:
            api.shutdown()


@pytest.mark.slow
def test_a_key_of_etcd_follows_too(path: Path, tmp_path: Path) -> None:
    """Also after its member was away, and after somebody else has written the key."""
    with cluster(tmp_path / "etcd") as one:
        address = one.address("/flags/prod")
        with EtcdClient(address_of(address)) as etcd:

            def found() -> Any:
                values = etcd.get("/flags/prod").values
                return json.loads(values[0].data)["flags"]["chat"]["targeting"]["if"][1]

            words = ["-m", "rollout_console", "-f", str(path), "export", "flagd", "--follow"]
            with subprocess.Popen(
                [sys.executable, *words, "--out", address], stderr=subprocess.PIPE, text=True
            ) as process:
                try:
                    until(lambda: etcd.get("/flags/prod").values)
                    assert found() == "tokenlab"
                    put(path, FILE.format(share="{ percent = 25, rolled_back = true }"))
                    until(lambda: found() == "previous")
                    etcd.delete("/flags/prod")
                    until(lambda: etcd.get("/flags/prod").values)
                    one.members[0].kill()
                    put(path, FILE.format(share=100))
                    assert process.stderr is not None
                    assert next(line for line in process.stderr if "etcd cannot be used" in line)
                    one.members[0].start(one.members)
                    one.wait()
                    until(lambda: found() == "tokenlab")
                finally:
                    process.kill()
            etcd.put("/flags/prod", b"something else")
            assert run(["-f", str(path), "export", "flagd", "--out", address]) == 1
            assert etcd.get("/flags/prod").values[0].data == b"something else"
        one.members[0].kill()
        assert run(["-f", str(path), "export", "flagd", "--out", address]) == 3


def test_an_export_that_is_replaced_right_after_it_was_written_is_written_again(
    tmp_path: Path,
) -> None:
    path, out = tmp_path / "rollout.toml", tmp_path / "flags.json"
    path.write_text(FILE.format(share=5))
    made = FileOutput(out, path, "an export", lambda head: head.startswith(b"{"))
    writes = []

    def write(file: RolloutFile) -> str:
        writes.append(file.revision)
        made.write(b'{"ours": true}')
        if len(writes) == 1:  # somebody else, before the follower looks at it again
            out.write_text('{"theirs": true}')
        return "written"

    follower = ExportFollower(path, made, write, lambda said: None)
    try:
        for _ in range(3):
            follower.turn()
    finally:
        follower.close()
    assert out.read_text() == '{"ours": true}'
    assert len(writes) == 2
