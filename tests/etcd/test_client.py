"""The client, on a real etcd: values, transactions, leases, watches, users, TLS."""

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from rollout_console.etcd.address import Login, address_of
from rollout_console.etcd.answers import Value
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdRefused, EtcdUncertain
from tests.support.etcd import Cluster, cluster
from tests.support.loopback import Origin
from tests.support.waiting import PATIENCE_S

DATA = "schema = 1\n# ü\x00\xff".encode("latin-1")


def client(etcd: Cluster, key: str, **more: object) -> EtcdClient:
    return EtcdClient(address_of(etcd.address(key)), **more)  # type: ignore[arg-type]


def test_values(etcd: Cluster) -> None:
    with client(etcd, "/values") as one:
        assert one.get("/values").values == ()
        one.put("/values", DATA)
        (found,) = one.get("/values").values
        assert (found.key, found.data) == ("/values", DATA)
        one.put("/values/b", b"2")
        one.put("/values/a", b"1")
        one.put("/valuesz", b"3")
        assert [each.key for each in one.get("/values", prefix=True).values] == [
            "/values/a", "/values/b"
        ]  # fmt: skip
        one.delete("/values/a")
        assert [each.data for each in one.get("/values", prefix=True).values] == [b"2"]
        assert one.get("/values").revision > found.mod_revision


def test_a_change_is_made_on_the_version_that_was_read(etcd: Cluster) -> None:
    with client(etcd, "/swap") as one:
        first = one.put_if_unchanged({"/swap": 0}, {"/swap": b"1", "/swap/history/1": b"row"})
        assert first > 0
        assert one.put_if_unchanged({"/swap": 0}, {"/swap": b"2"}) == 0
        assert one.put_if_unchanged({"/swap": first - 1}, {"/swap": b"2"}) == 0
        assert one.put_if_unchanged({"/swap": first}, {"/swap": b"2"}) > first
        assert one.get("/swap").values[0].data == b"2"
        assert one.get("/swap/history", prefix=True).values == (
            Value("/swap/history/1", b"row", first),
        )


def test_of_many_writers_at_once_each_change_is_made_once(etcd: Cluster) -> None:
    made: list[int] = []

    def add() -> None:
        with client(etcd, "/count") as one:
            while True:
                (found,) = one.get("/count").values
                number = int(found.data) + 1
                if one.put_if_unchanged({"/count": found.mod_revision}, {"/count": b"%d" % number}):
                    made.append(number)
                    return

    with client(etcd, "/count") as one:
        one.put("/count", b"0")
        threads = [threading.Thread(target=add) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.get("/count").values[0].data == b"12"
    assert sorted(made) == list(range(1, 13))


def test_leases(etcd: Cluster) -> None:
    with client(etcd, "/lease") as one:
        lease = one.lease(60)
        one.put("/lease", b"1", lease=lease)
        assert one.keep_alive(lease)
        one.revoke(lease)
        assert not one.keep_alive(lease)
        assert one.get("/lease").values == ()


def test_a_watch_tells_that_it_is_there_and_each_change(etcd: Cluster) -> None:
    seen = threading.Semaphore(0)

    def look() -> None:
        with client(etcd, "/watch") as other, suppress(EtcdAway):
            for _ in other.watch("/watch"):
                seen.release()

    threading.Thread(target=look, daemon=True).start()
    assert seen.acquire(timeout=PATIENCE_S)
    with client(etcd, "/watch") as one:
        for number in range(3):
            one.put("/watch", b"%d" % number)
            assert seen.acquire(timeout=PATIENCE_S)
        one.put("/other", b"")
        one.delete("/watch")
        assert seen.acquire(timeout=PATIENCE_S)
        assert not seen.acquire(timeout=0.2)


def test_a_user_and_a_token_that_has_expired(tmp_path: Path) -> None:
    with cluster(tmp_path) as found:
        url = found.members[0].url

        def etcdctl(*words: str) -> None:
            subprocess.run(
                ["etcdctl", "--endpoints", url, *words], check=True, capture_output=True,
                env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip

        etcdctl("user", "add", "root:pw-of-root")
        etcdctl("user", "add", "rollout:pw-of-rollout")
        etcdctl("role", "add", "rollout")
        etcdctl("role", "grant-permission", "rollout", "--prefix=true", "readwrite", "/rollout")
        etcdctl("user", "grant-role", "rollout", "rollout")
        etcdctl("user", "grant-role", "root", "root")
        etcdctl("auth", "enable")
        with client(found, "/rollout/prod", login=Login("rollout", "pw-of-rollout")) as one:
            one.put("/rollout/prod", b"1")
            one._token = "expired.1"  # which etcd does not know any more
            assert one.get("/rollout/prod").values[0].data == b"1"
            assert one._token not in ("", "expired.1")
            with pytest.raises(EtcdRefused, match="permission denied"):
                one.put("/elsewhere", b"1")
        for login in (None, Login("rollout", "wrong-word")):
            with client(found, "/rollout/prod", login=login) as other:
                with pytest.raises(EtcdRefused) as raised:
                    other.get("/rollout/prod")
                assert "wrong-word" not in str(raised.value)


def test_tls_with_client_certificates(tmp_path: Path, certificate: Path) -> None:
    chain = str(certificate)
    authority = tmp_path / "ca.pem"  # etcd takes a CA file with nothing but certificates
    authority.write_text(certificate.read_text().partition("-----BEGIN PRIVATE KEY")[0])
    tls = ("--cert-file", chain, "--key-file", chain, "--client-cert-auth",
           "--trusted-ca-file", str(authority))  # fmt: skip
    with cluster(tmp_path, 1, *tls, scheme="https", trust=certificate) as found:
        context = ssl.create_default_context(cafile=chain)
        with (
            client(found, "/a", tls=context) as one,
            pytest.raises(EtcdAway),
        ):
            one.get("/a")
        context.load_cert_chain(chain)
        with client(found, "/a", tls=context) as two:
            two.put("/a", b"1")
            assert two.get("/a").values[0].data == b"1"


def test_the_next_member_is_asked(etcd: Cluster) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{dead.getsockname()[1]}"
    well = etcd.members[0].url.removeprefix("http://")
    with EtcdClient(address_of(f"etcd://{gone},{well}/next")) as one:
        one.put("/next", b"1")
        assert one.get("/next").values[0].data == b"1"
    with (
        EtcdClient(address_of(f"etcd://{gone}/next")) as none,
        pytest.raises(EtcdAway, match="cannot be reached"),
    ):
        none.put("/next", b"1")


def test_a_write_whose_answer_is_lost_is_uncertain() -> None:
    """It is not sent to the next member: it may have been made."""
    with socket.create_server(("127.0.0.1", 0)) as silent, Origin() as other:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},{other.url.removeprefix('http://')}"
        with EtcdClient(address_of(f"etcd://{hosts}/a"), timeout_s=0.2) as one:
            with pytest.raises(EtcdUncertain, match="whether the change was made is not known"):
                one.put("/a", b"1")
            assert other.received == []
