"""``-f etcds://`` with certificates, and users of etcd who may write, only read, or neither."""

import subprocess
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from rollout_console.etcd.address import Login, address_of
from rollout_console.etcd.client import EtcdClient
from rollout_gate.file.parse import parse
from tests.mirror.servers import text
from tests.support.etcd import cluster

KEY = "/rollout/prod"
WHY = ("--yes", "--override-guard", "--reason", "trial")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def test_certificates_are_those_of_etcdctl(
    tmp_path: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chain, authority = str(certificate), tmp_path / "ca.pem"
    authority.write_text(certificate.read_text().partition("-----BEGIN PRIVATE KEY")[0])
    tls = ("--cert-file", chain, "--key-file", chain, "--client-cert-auth",
           "--trusted-ca-file", str(authority))  # fmt: skip
    with cluster(tmp_path / "etcd", 1, *tls, scheme="https", trust=certificate) as found:
        address = found.address()
        (tmp_path / "rollout.toml").write_bytes(text())
        assert run(["-f", address, "show"]) == 3  # no authority of it is known
        assert "ETCDCTL_CACERT" in capsys.readouterr().err
        monkeypatch.setenv("ETCDCTL_CACERT", str(authority))
        assert run(["-f", address, "show"]) == 3  # and etcd asks for one of the client's
        assert "ETCDCTL_CERT" in capsys.readouterr().err
        monkeypatch.setenv("ETCDCTL_CERT", chain)
        assert run(["-f", address, "init", "--from-file", "rollout.toml"]) == 0
        assert run(["-f", address, "rollback", "chat", "acme", "--yes"]) == 0
        assert run(["-f", address, "history"]) == 0
        assert "rollback chat / acme" in capsys.readouterr().out


def test_users_may_write_or_read_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with cluster(tmp_path / "etcd") as found:
        address = found.address()

        def etcdctl(*words: str) -> None:
            subprocess.run(
                ["etcdctl", "--endpoints", found.members[0].url, *words], check=True,
                capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip

        with EtcdClient(address_of(address)) as client:
            client.put(KEY, text())
        for user, rights in (("root", ""), ("ops", "readwrite"), ("look", "read"), ("none", "")):
            etcdctl("user", "add", f"{user}:pw-of-{user}")
            if rights:
                etcdctl("role", "add", user)
                etcdctl("role", "grant-permission", user, "--prefix=true", rights, KEY)
                etcdctl("user", "grant-role", user, user)
        etcdctl("user", "grant-role", "root", "root")
        etcdctl("auth", "enable")

        def as_user(user: str, *words: str) -> tuple[int, str]:
            monkeypatch.setenv("ETCDCTL_USER", f"{user}:pw-of-{user}")
            monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / user))
            code = run(["-f", address, *words])
            said = capsys.readouterr()
            assert "pw-of" not in said.out + said.err
            return code, said.out + said.err

        assert as_user("ops", "set", "chat", "acme", "30", *WHY)[0] == 0
        code, said = as_user("look", "show")
        assert code == 0
        assert "30%" in said
        assert as_user("look", "--read-only", "history")[0] == 0
        code, said = as_user("look", "rollback", "chat", "--yes")
        assert (code, "permission denied" in said) == (3, True)
        code, said = as_user("none", "show")
        assert (code, "permission denied" in said) == (3, True)
        assert as_user("ops", "rollback", "chat", "--yes")[0] == 0
        login = Login("ops", "pw-of-ops")
        with EtcdClient(address_of(address), login) as client:
            assert parse(client.get(KEY).values[0].data).is_latched("chat")
        for user in ("ops", "look", "none"):
            kept = [one for one in (tmp_path / user).rglob("*") if one.is_file()]
            assert kept or user == "none"
            assert not any(b"pw-of" in one.read_bytes() for one in kept)
