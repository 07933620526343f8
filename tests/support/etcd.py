"""A real etcd cluster on loopback, whose members can be killed, paused and started again."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree

import httpx

from tests.support.parts import need
from tests.support.waiting import until


class Member:
    """One member; ``url`` is where clients reach it."""

    def __init__(
        self, name: str, folder: Path, extra: tuple[str, ...], scheme: str, trust: Path | None
    ) -> None:
        self.name = name
        self.url = f"{scheme}://127.0.0.1:{_free_port()}"
        self._trust = trust
        self.peer = f"http://127.0.0.1:{_free_port()}"
        self._folder = folder / name
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, members: list["Member"]) -> None:
        cluster = ",".join(f"{one.name}={one.peer}" for one in members)
        self._process = subprocess.Popen(
            [
                "etcd", "--name", self.name, "--data-dir", str(self._folder),
                "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer,
                "--initial-cluster", cluster, "--initial-cluster-token", self._folder.parent.name,
                "--heartbeat-interval", "50", "--election-timeout", "500", "--unsafe-no-fsync",
                "--log-level", "error", *self._extra,
            ],
            env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Kill it and delete its data: each log of etcd takes 64 MB in advance, twice."""
        self.kill()
        rmtree(self._folder, ignore_errors=True)

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/health", timeout=2, trust_env=False, verify=self._tls())
        except httpx.HTTPError:
            return False
        return bool(answer.json().get("health") == "true")

    def save(self, path: Path) -> None:
        """Make a backup."""
        self._etcdctl("snapshot", "save", str(path), "--endpoints", self.url)

    def restore(self, path: Path, members: list["Member"]) -> None:
        """Be what a backup has, as after a disaster: under the same name, so of the same id."""
        self.kill()
        rmtree(self._folder)
        self._etcdctl(
            "snapshot", "restore", str(path), "--name", self.name, "--data-dir", str(self._folder),
            "--initial-cluster", ",".join(f"{one.name}={one.peer}" for one in members),
            "--initial-cluster-token", self._folder.parent.name,
            "--initial-advertise-peer-urls", self.peer,
        )  # fmt: skip
        self.start(members)

    def _etcdctl(self, *words: str) -> None:
        subprocess.run(["etcdctl", *words], check=True, capture_output=True,
                       env={**os.environ, "ETCDCTL_API": "3"})  # fmt: skip

    def _tls(self) -> ssl.SSLContext | bool:
        if self._trust is None:
            return False
        context = ssl.create_default_context(cafile=str(self._trust))
        context.load_cert_chain(self._trust)
        return context


class Cluster:
    """Its members, and the address of a rollout file in it."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    def address(self, key: str = "/rollout/prod") -> str:
        scheme = "etcds" if self.members[0].url.startswith("https") else "etcd"
        hosts = ",".join(one.url.partition("://")[2] for one in self.members)
        return f"{scheme}://{hosts}{key}"

    def wait(self) -> None:
        until(lambda: all(one.is_healthy for one in self.members))


@contextmanager
def cluster(
    folder: Path, size: int = 1, *extra: str, scheme: str = "http", trust: Path | None = None
) -> Iterator[Cluster]:
    """Run a cluster; ``trust`` is the certificate of https, which clients present as well."""
    need("etcd", "etcdctl")
    found = [Member(f"m{number}", folder, extra, scheme, trust) for number in range(size)]
    with ExitStack() as stack:
        for one in found:
            stack.callback(one.remove)
            one.start(found)
        made = Cluster(found)
        made.wait()
        yield made


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
