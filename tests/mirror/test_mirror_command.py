"""``mirror`` as a service, against three members that are killed, paused and compacted."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollout_console.cli.arguments import build_parser
from rollout_console.cli.main import run
from rollout_console.etcd.address import address_of
from rollout_console.etcd.answers import nothing_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdUncertain
from rollout_console.mirror.mirror import Standing
from rollout_console.mirror.registration import Registration, forget, servers_key
from tests.mirror.servers import text
from tests.support.etcd import Cluster, cluster
from tests.support.parts import need
from tests.support.waiting import PATIENCE_S, until

KEY = "/rollout/prod"
UNIT = Path(__file__).parents[2] / "sample_configs" / "rollout-mirror.service"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "etcd", 3) as found:
        yield found


@pytest.fixture
def etcd(three: Cluster) -> Iterator[EtcdClient]:
    with EtcdClient(address_of(three.address())) as found:
        found.put(KEY, text())
        yield found


@contextmanager
def mirroring(three: Cluster, path: Path, **more: str) -> Iterator["subprocess.Popen[str]"]:
    path.parent.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "mirror", three.address(), str(path)],
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "ROLLOUT_STATE_DIR": str(path.parent / "state"), **more},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def has(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def listed(three: Cluster, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run(["mirror", "--list", three.address(), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_change_arrives_and_a_stop_is_clean(
    three: Cluster, etcd: EtcdClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "srv" / "rollout.toml"
    with mirroring(three, path) as process:
        until(lambda: has(path, text()))
        for acme in ("10", "25", "{ percent = 25, rolled_back = true }"):
            etcd.put(KEY, text(acme))
            until(lambda acme=acme: has(path, text(acme)))  # type: ignore[misc]
        until(lambda: listed(three, capsys)[0] == 0)
        _, found = listed(three, capsys)
        (one,) = found["mirrors"]
        assert (one["current"], one["path"], one["trouble"]) == (True, str(path), "")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    code, found = listed(three, capsys)  # it says so itself, and its server is missed
    assert code == 1
    assert [one["gone"] for one in found["mirrors"]] == [True]


def test_a_server_that_is_forgotten_while_it_mirrors_is_known_again(
    three: Cluster, etcd: EtcdClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its next heartbeat; so it is missed once its mirror has died."""
    monkeypatch.setattr("rollout_console.mirror.registration.RENEW_S", 0.0)
    registration = Registration(etcd, KEY, "gw-01", str(tmp_path / "rollout.toml"))
    for _ in range(2):
        registration.tell(Standing())
        (known,) = etcd.get(servers_key(KEY), prefix=True).values
        assert forget(etcd, KEY, "gw-01") == 1
        assert not etcd.get(known.key).values


def test_two_mirrors_of_a_host_are_both_listed(
    three: Cluster, etcd: EtcdClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / name / "rollout.toml" for name in ("a", "b")]
    with mirroring(three, paths[0]), mirroring(three, paths[1]):
        until(lambda: len(listed(three, capsys)[1]["mirrors"]) == 2)
        found = listed(three, capsys)[1]["mirrors"]
        assert [one["path"] for one in found] == [str(path) for path in paths]


@pytest.mark.slow
def test_members_are_killed_and_paused(three: Cluster, etcd: EtcdClient, tmp_path: Path) -> None:
    """No acknowledged change is lost, none comes back, the last good version stays without any."""
    path = tmp_path / "srv" / "rollout.toml"
    with mirroring(three, path):
        until(lambda: has(path, text()))
        for number, member in enumerate(three.members, 10):
            member.kill()
            put(etcd, text(str(number)))
            until(lambda number=number: has(path, text(str(number))))  # type: ignore[misc]
            member.start(three.members)
            three.wait()
        for number, member in enumerate(three.members, 20):
            member.pause()
            put(etcd, text(str(number)))
            until(lambda number=number: has(path, text(str(number))))  # type: ignore[misc]
            member.go_on()
            three.wait()
        for member in three.members[:2]:
            member.kill()
        with pytest.raises((EtcdAway, EtcdUncertain)):
            etcd.put(KEY, text("99"))
        assert has(path, text("22"))
        for member in three.members[:2]:
            member.start(three.members)
        three.wait()
        put(etcd, text("30"))
        until(lambda: has(path, text("30")))


def put(etcd: EtcdClient, data: bytes) -> None:
    """Put until it is acknowledged: an election may be under way."""

    def done() -> bool:
        try:
            etcd.put(KEY, data)
        except (EtcdAway, EtcdUncertain):
            return False
        return True

    until(done)


def test_a_compaction_and_an_outage_of_the_mirror(
    three: Cluster, etcd: EtcdClient, tmp_path: Path
) -> None:
    """A mirror that was away while versions were made and compacted has the last one."""
    path = tmp_path / "srv" / "rollout.toml"
    with mirroring(three, path):
        until(lambda: has(path, text()))
    for number in range(5):
        etcd.put(KEY, text(str(number)))
    revision = etcd.get(KEY).revision
    body = {"revision": str(revision), "physical": True}
    etcd._call("kv/compaction", body, nothing_of)
    with mirroring(three, path):
        until(lambda: has(path, text("4")))
        etcd.put(KEY, text("50"))
        until(lambda: has(path, text("50")))


def test_an_etcd_that_is_away_at_the_start(tmp_path: Path) -> None:
    """The file that is there stays; the mirror goes on, and says so to systemd as well."""
    path = tmp_path / "srv" / "rollout.toml"
    path.parent.mkdir()
    path.write_bytes(text("42"))
    with cluster(tmp_path / "etcd") as one:
        with EtcdClient(address_of(one.address())) as etcd:
            etcd.put(KEY, text("43"))
        one.members[0].kill()
        with mirroring(one, path) as process:
            assert process.stderr is not None
            assert "the last good version stays in force" in process.stderr.readline()
            assert has(path, text("42"))
            one.members[0].start(one.members)
            until(lambda: has(path, text("43")))


def test_once_and_its_exit_codes(
    three: Cluster, etcd: EtcdClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rollout.toml"
    assert run(["mirror", "--once", three.address(), str(path)]) == 0
    assert has(path, text())
    etcd.put(KEY, b"[routes")
    assert run(["mirror", "--once", three.address(), str(path)]) == 1
    assert has(path, text())
    for member in three.members:
        member.kill()
    assert run(["mirror", "--once", three.address(), str(path)]) == 3
    assert run(["mirror", "--once", "etcd://a", str(path)]) == 2
    assert run(["mirror", three.address()]) == 2
    assert run(["--read-only", "mirror", three.address(), str(path)]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_hundred_mirrors(
    three: Cluster,
    etcd: EtcdClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All have each version; the list names one that lags and one that is latched."""
    # They take their turns in one thread: on a busy machine that is longer than a lease.
    monkeypatch.setattr("rollout_console.mirror.registration.LEASE_S", int(PATIENCE_S))
    from rollout_console.changes.switch import Switch
    from rollout_console.history.actor import Actor
    from rollout_console.history.history import History
    from rollout_console.mirror.mirror import Mirror
    from rollout_console.mirror.registration import Registration

    address = address_of(three.address())
    with ExitStack() as stack:
        pairs = []
        for number in range(100):
            folder = tmp_path / f"gw-{number:02}"
            folder.mkdir()
            who = Actor("mirror", folder.name)
            switch = Switch(folder / "rollout.toml", History(folder / "h.sqlite3"), who)
            client = stack.enter_context(EtcdClient(address))
            mirror = Mirror(switch, KEY, lambda words: None)
            pairs.append((mirror, Registration(client, KEY, folder.name, str(switch.path)), client))
        for mirror, registration, client in pairs:
            answer = client.get(KEY)
            mirror.take(answer.values[0], answer.cluster, answer.revision)
            registration.tell(mirror.standing)
        code, found = listed(three, capsys)
        assert (code, len(found["mirrors"])) == (0, 100)
        etcd.put(KEY, text("80"))
        for mirror, registration, client in pairs[1:]:
            answer = client.get(KEY)
            mirror.take(answer.values[0], answer.cluster, answer.revision)
            registration.tell(mirror.standing)
        code, found = listed(three, capsys)
        assert code == 1
        assert [one["host"] for one in found["mirrors"] if not one["current"]] == ["gw-00"]


def test_a_mirror_of_a_user_who_may_only_read(tmp_path: Path) -> None:
    """It is current all the same, and says why it is not on the list."""
    path = tmp_path / "srv" / "rollout.toml"
    with cluster(tmp_path / "etcd") as one:
        url = one.members[0].url
        with EtcdClient(address_of(one.address())) as etcd:
            etcd.put(KEY, text())
        for words in (
            "user add root:pw-of-root", "user add reader:pw-of-reader", "role add reader",
            f"role grant-permission reader read {KEY}", "user grant-role reader reader",
            "user grant-role root root", "auth enable",
        ):  # fmt: skip
            subprocess.run(
                ["etcdctl", "--endpoints", url, *words.split()], check=True, capture_output=True,
                env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
        with mirroring(one, path, ETCDCTL_USER="reader:pw-of-reader") as process:
            until(lambda: has(path, text()))
            assert process.stderr is not None
            said = [process.stderr.readline(), process.stderr.readline()]
            assert "this mirror is not listed: etcd refuses it" in "".join(said)
            assert "pw-of-reader" not in "".join(said)


def test_the_unit(tmp_path: Path) -> None:
    """systemd accepts the sample unit, and its command is one that this version has."""
    need("systemd-analyze")
    unit = UNIT.read_text()
    (command,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    program, *words = command.removeprefix("ExecStart=").split()
    copy = tmp_path / UNIT.name
    copy.write_text(unit.replace(program, str(Path(sys.executable).with_name("rollout-console"))))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    options = build_parser().parse_args(words)
    assert (options.command, address_of(options.address).key) == ("mirror", KEY)
