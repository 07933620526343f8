"""Which Host and Origin headers are served."""

import pytest

from rollout_console.web.origins import Origins

LOCAL = "127.0.0.1"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8765", "localhost:8765", "LOCALHOST", "localhost.:1", "[::1]:8765", "127.0.0.1:9"],
)
def test_loopback_is_served_by_its_names_on_any_port(host: str) -> None:
    assert Origins(["127.0.0.1"]).serves_host(host, LOCAL)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example",
        "192.0.2.7:8765", "evil@localhost", "localhost@evil.example", "localhost:x", "localhost/x",
        "[::1", "localhost:8765:1", "localhost\\.evil", "localhost?", "localhost#x", " localhost",
    ],
)  # fmt: skip
def test_a_name_that_another_may_have_made_is_not(host: str) -> None:
    assert not Origins(["127.0.0.1"]).serves_host(host, LOCAL)


def test_a_host_that_was_asked_for_is_served_by_name_and_by_address() -> None:
    origins = Origins(["GW-01", "gw-01.example.org"])
    for host in ("gw-01:8765", "gw-01.example.org", "192.0.2.7:8765"):
        assert origins.serves_host(host, "192.0.2.7"), host
    assert origins.serves_host("[fe80::7]:8765", "fe80::7%eth0")
    assert not origins.serves_host("192.0.2.8:8765", "192.0.2.7")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8765", "127.0.0.1:8765"),
        ("http://localhost:9000", "localhost:9000"),
        ("http://localhost", "localhost:80"),
        ("https://localhost", "localhost"),
        ("http://[::1]:8765", "[::1]:8765"),
    ],
)
def test_a_page_of_this_server_is_its_own(origin: str, host: str) -> None:
    assert Origins(["127.0.0.1"]).serves_origin(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        "", "null", "http://evil.example", "http://localhost:3000", "http://127.0.0.1:8765.evil",
        "http://127.0.0.1", "http://127.0.0.1:87655", "file://", "http://x@127.0.0.1:8765",
        "chrome-extension://127.0.0.1:8765", "http://[::1:8765", "127.0.0.1:8765",
    ],
)  # fmt: skip
def test_a_page_of_another_site_is_not(origin: str) -> None:
    assert not Origins(["127.0.0.1"]).serves_origin(origin, "127.0.0.1:8765")


def test_a_reverse_proxy_is_known_by_its_public_url() -> None:
    origins = Origins(["127.0.0.1"], "https://Rollout.example.org/view")
    assert origins.serves_host("rollout.example.org", LOCAL)
    for host in ("rollout.example.org", "127.0.0.1:8765"):  # as the proxy passes it on, or not
        assert origins.serves_origin("https://rollout.example.org", host)
        assert origins.serves_origin("https://rollout.example.org:443", host)
        assert not origins.serves_origin("https://evil.example.org", host)
    assert not origins.serves_origin("http://rollout.example.org", "127.0.0.1:8765")
    assert not origins.serves_host("evil.example.org", LOCAL)
