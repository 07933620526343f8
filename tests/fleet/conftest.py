"""An etcd with a rollout file, and consoles of several hosts on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.address import address_of
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.opening import shared_switch
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.history.actor import Actor
from tests.mirror.servers import text
from tests.support.etcd import Cluster, cluster

Host = Callable[..., Switch]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture
def address(etcd: Cluster) -> str:
    """The address of a rollout file of this test's own."""
    found = etcd.address(f"/{uuid4().hex}/prod")
    with EtcdClient(address_of(found)) as client:
        client.put(client.address.key, text())
    return found


@pytest.fixture
def client(address: str) -> Iterator[EtcdClient]:
    with EtcdClient(address_of(address)) as found:
        yield found


@pytest.fixture
def host(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Open the file as a console of a host of that name does."""
    with ExitStack() as stack:

        def opened(name: str, at: str = address, *, read_only: bool = False) -> Switch:
            monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / name))
            shared = SharedFile(stack.enter_context(EtcdClient(address_of(at))))
            access = WriteAccess(read_only=read_only)
            switch = shared_switch(shared, Actor("jo", name), access)
            switch.open()
            return switch

        yield opened
