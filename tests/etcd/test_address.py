"""Addresses of rollout files in etcd."""

from pathlib import Path

import pytest

from rollout_console.etcd.address import EtcdAddress, address_of, is_etcd, login_of, tls_of
from rollout_console.etcd.errors import BadAddress


def test_members_and_key() -> None:
    found = address_of("etcd://gw-01:2379,gw-02,[::1]:2381/rollout/prod")
    members = ("http://gw-01:2379", "http://gw-02:2379", "http://[::1]:2381")
    assert found == EtcdAddress(members, "/rollout/prod")
    assert str(found) == "etcd://gw-01:2379,gw-02:2379,[::1]:2381/rollout/prod"
    assert address_of("etcds://gw-01/a").members == ("https://gw-01:2379",)
    assert str(address_of("etcds://gw-01/a")) == "etcds://gw-01:2379/a"


def test_what_is_an_address() -> None:
    assert is_etcd("etcd://a/b")
    assert is_etcd("etcds://a/b")
    assert not is_etcd("/etc/rollout.toml")
    assert not is_etcd(None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("etcd:///rollout", "is no member"),
        ("etcd://a,,b/rollout", "is no member"),
        ("etcd://a:99999/rollout", "is no member"),
        ("etcd://a b/rollout", "is no member"),
        ("etcd://root:secret-word@a/rollout", "ETCDCTL_USER"),
        ("etcd://a", "is no key"),
        ("etcd://a/", "is no key"),
        ("etcd://a/b/", "is no key"),
        ("etcd://a/b//c", "is no key"),
        ("etcd://a/b c", "is no key"),
        ("etcd://a/b?tls=1", "is no key"),
    ],
)
def test_what_is_none(text: str, says: str) -> None:
    with pytest.raises(BadAddress) as raised:
        address_of(text)
    assert says in str(raised.value)
    assert "secret-word" not in str(raised.value)


def test_the_login_is_of_the_environment() -> None:
    assert login_of({}) is None
    found = login_of({"ETCDCTL_USER": "rollout:pass:word"})
    assert found is not None
    assert (found.name, found.password) == ("rollout", "pass:word")
    assert "pass" not in repr(found)
    other = login_of({"ETCDCTL_USER": "rollout", "ETCDCTL_PASSWORD": "p"})
    assert other is not None
    assert other.password == "p"


def test_tls_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no PEM")
    for given in (tmp_path / "ca.pem", tmp_path / "gone.pem"):
        with pytest.raises(BadAddress, match="ETCDCTL_CACERT cannot be used"):
            tls_of({"ETCDCTL_CACERT": str(given)})
