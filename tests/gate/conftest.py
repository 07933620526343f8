"""What tests of the gate's clients and of its proxy need."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.loopback import TwoSides
from tests.support.parts import need


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[TwoSides]:
    """Both sides and a third party on loopback, and a gate on a file that names them."""
    with ExitStack() as stack:
        yield TwoSides(tmp_path, stack)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key in the same file."""
    need("openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path.with_suffix(".crt"))),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.with_suffix(".crt").read_bytes() + path.with_suffix(".key").read_bytes())
    return path
