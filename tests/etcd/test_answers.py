"""What is no answer of etcd, or none that can be used: a sentence, and the next member is asked."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rollout_console.etcd import answers
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdRefused, EtcdUncertain
from tests.support.etcd import Cluster, cluster
from tests.support.loopback import Origin, Reply
from tests.support.waiting import PATIENCE_S

HEADER = {"revision": "7", "cluster_id": "5"}
READS: dict[str, Callable[[EtcdClient], object]] = {
    "get": lambda one: one.get("/a"),
    "read": lambda one: one.read(answers.Range("/a")),
    "keys": lambda one: one.keys("/a"),
    "keep_alive": lambda one: one.keep_alive(7),
    "watch": lambda one: list(one.watch("/a")),
}
WRITES: dict[str, Callable[[EtcdClient], object]] = {
    "put": lambda one: one.put("/a", b"1"),
    "put_if_unchanged": lambda one: one.put_if_unchanged({"/a": 0}, {"/a": b"1"}),
    "lease": lambda one: one.lease(5),
    "delete": lambda one: one.delete("/a"),
}
WRONG: tuple[Any, ...] = (
    b"<html>", b"", b"[]", b"7", {"header": 5, "kvs": 5, "responses": [1], "result": "x", "ID": []},
    {"header": {"revision": [], "cluster_id": {}}, "responses": {"a": 1}, "succeeded": True,
     "result": {"TTL": "soon"}, "kvs": [{"key": "AA", "mod_revision": 1}]},
)  # fmt: skip


def at(*urls: str, **more: Any) -> EtcdClient:
    hosts = ",".join(url.partition("://")[2] for url in urls)
    scheme = "etcds" if urls[0].startswith("https") else "etcd"
    return EtcdClient(address_of(f"{scheme}://{hosts}/a"), **more)


@pytest.mark.parametrize("body", WRONG, ids=repr)
@pytest.mark.parametrize("name", [*READS, *WRITES])
def test_what_is_no_answer_of_etcd(name: str, body: Any) -> None:
    with Origin(lambda _: Reply(200, body)) as other, at(other.url) as one:
        error = EtcdUncertain if name in WRITES else EtcdAway
        with pytest.raises(error, match=f"{other.url[7:]}.*(is no etcd|ended the watch)"):
            (READS | WRITES)[name](one)


@pytest.mark.parametrize("status", [302, 404])
def test_a_status_that_etcd_does_not_have(status: int) -> None:
    with Origin(lambda _: Reply(status, b"nothing here")) as other, at(other.url) as one:
        said = pytest.raises(EtcdAway, match=f"{other.url[7:]} is no etcd.* {status}")
        with said:
            one.get("/a")


def test_a_server_error_is_told() -> None:
    with (
        Origin(lambda _: Reply(500, b"Traceback")) as other,
        at(other.url) as one,
        pytest.raises(EtcdRefused, match="status 500"),
    ):
        one.get("/a")


def test_the_next_member_is_asked_where_one_is_no_etcd(etcd: Cluster) -> None:
    with (
        Origin(lambda _: Reply(200, b"<html>")) as other,
        at(other.url, etcd.members[0].url) as one,
    ):
        assert one.get("/none-yet").values == ()


def test_a_key_that_is_no_text_is_left_out(etcd: Cluster) -> None:
    """Whoever may write below the file must not be able to stop a rollback with a strange key."""
    with at(etcd.members[0].url) as one:
        one.put("/odd/a", b"1")
        subprocess.run(
            ["etcdctl", "--endpoints", etcd.members[0].url, "put", b"/odd/\xff\xfe", "x"],
            check=True, capture_output=True,
        )  # fmt: skip
        assert [value.key for value in one.get("/odd", prefix=True).values] == ["/odd/a"]
        assert [key for key, _ in one.keys("/odd")] == ["/odd/a"]


@pytest.mark.parametrize("words", ["etcdserver: request timed out", "etcdserver: leader changed"])
def test_a_write_that_times_out_within_etcd_may_be_made_yet(words: str) -> None:
    """A proposal is agreed on after its client was told so: it is not sent to another member."""
    with Origin(lambda _: Reply(503, {"message": words})) as one, Origin() as other:
        told = pytest.raises(EtcdUncertain, match=f"{words}: whether the change was made")
        with at(one.url, other.url) as client, told:
            client.put("/a", b"1")
        assert not other.received
        with at(one.url) as client, pytest.raises(EtcdAway, match=words):
            client.get("/a")


def test_without_a_leader_nothing_was_changed() -> None:
    with (
        Origin(lambda _: Reply(503, {"message": "etcdserver: no leader"})) as one,
        at(one.url) as client,
        pytest.raises(EtcdAway, match="no leader"),
    ):
        client.put("/a", b"1")


def test_a_request_that_is_too_large_says_how_much_etcd_takes(etcd: Cluster) -> None:
    with at(etcd.members[0].url, timeout_s=PATIENCE_S) as one:
        for size in (1_600_000, 5_000_000):
            with pytest.raises(EtcdRefused, match=r"1\.5 MiB unless its --max-request-bytes"):
                one.put("/large", b"x" * size)


def test_an_answer_that_comes_byte_by_byte_or_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout of each read alone would wait for ever, and take all memory."""
    monkeypatch.setattr(answers, "WHOLE_S", 0.5)
    monkeypatch.setattr(answers, "MOST_BYTES", 2**20)
    with (
        sending(b"Content-Length: 100000", b" ", 0.05) as url,
        at(url) as one,
        pytest.raises(EtcdAway, match="did not answer"),
    ):
        one.get("/a")
    with (
        sending(b"Content-Type: text/plain", b"x" * 65_536, 0.0) as url,
        at(url) as one,
        pytest.raises(EtcdAway, match="over 1 MiB"),
    ):
        one.get("/a")


def test_a_certificate_that_is_not_trusted_is_told_as_one(
    tmp_path: Path, certificate: Path
) -> None:
    """Another authority, another name, one that is over, and no TLS at all."""
    old = expired(tmp_path / "old.pem")
    for chain, trusts, says in (
        (certificate, old, "certificate that is not trusted .self"),
        (old, old, "certificate that is not trusted .certificate has expired"),
    ):
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(chain)
        with Origin(tls=served) as other:
            context = ssl.create_default_context(cafile=str(trusts))
            with at(other.url, tls=context) as one, pytest.raises(EtcdAway, match=says):
                one.get("/a")
    with Origin() as other:
        url = other.url.replace("http:", "https:")
        context = ssl.create_default_context(cafile=str(certificate))
        with at(url, tls=context) as one, pytest.raises(EtcdAway, match="by TLS: wrong version"):
            one.get("/a")


def test_a_client_certificate_that_is_missing_is_told_as_one(
    tmp_path: Path, certificate: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(certificate.read_text().partition("-----BEGIN PRIVATE KEY")[0])
    tls = ("--cert-file", str(certificate), "--key-file", str(certificate), "--client-cert-auth",
           "--trusted-ca-file", str(authority))  # fmt: skip
    with cluster(tmp_path, 1, *tls, scheme="https", trust=certificate) as found:
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            at(found.members[0].url, tls=context) as one,
            pytest.raises(EtcdAway, match=r"by TLS: .*certificate"),
        ):
            one.get("/a")


def expired(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 that ended yesterday, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@contextmanager
def sending(header: bytes, piece: bytes, every_s: float) -> Iterator[str]:
    """Run a server whose answer never ends: a piece of it at a time."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    with taken, suppress(OSError):
                        taken.recv(65_536)
                        taken.sendall(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n")
                        while not stop.wait(every_s):
                            taken.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
