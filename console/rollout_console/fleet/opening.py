"""Open a rollout file in etcd, and its switch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.client import EtcdClient
from rollout_console.fleet.shared_file import SharedFile
from rollout_console.fleet.shared_store import SharedStore
from rollout_console.history.actor import Actor


@contextmanager
def open_shared(
    address: str, environ: Mapping[str, str], *, hurries: bool = False
) -> Iterator[SharedFile]:
    """Read the file at an address such as ``etcd://gw-01:2379/rollout/prod``; raises EtcdError.

    One that ``hurries`` waits for the newest changes of the history alone.

    Certificates and user are those of the environment, as for etcdctl.
    """
    with EtcdClient.of(address, environ) as client:
        shared = SharedFile(client, hurries=hurries)
        try:
            yield shared
        finally:
            shared.close()


def shared_switch(shared: SharedFile, who: Actor, access: WriteAccess) -> Switch:
    """Return the switch of a shared file."""
    store = SharedStore(shared)
    return Switch(shared.path, shared.history, who, access=access, shared=shared, store=store)
