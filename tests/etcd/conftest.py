"""A single etcd for the tests of the client."""

from collections.abc import Iterator

import pytest

from tests.support.etcd import Cluster, cluster


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("etcd")) as found:
        yield found
