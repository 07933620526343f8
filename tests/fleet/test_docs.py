"""docs/fleet.md from the first line to the last, on three hosts; then a cable is pulled."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import need
from tests.support.servers import Host, servers
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(), re.DOTALL)
FILE = "/etc/rollout/rollout.toml"


@pytest.fixture(scope="module")
def three() -> Iterator[list[Host]]:
    need("etcd", "etcdctl")
    with servers("gw-01", "gw-02", "gw-03") as found:
        yield found


def share(host: Host, org: str = "acme") -> tuple[float, bool]:
    """The share of an org on a host, and whether it is rolled back, as its applications see it."""
    shown = json.loads(host.run(f"rollout-console -f {FILE} show --json"))
    of_org = shown["routes"]["chat"]["orgs"][org]
    return of_org["percent"], of_org["rolled_back"]


def ask(host: Host, words: str, code: int = 0) -> Any:
    script = f"{address()}; rollout-console {words} --json 2>/dev/null"
    return json.loads(host.run(script, code=code))


def address() -> str:
    return str(BLOCKS[3].splitlines()[0])


@pytest.mark.slow
def test_three_servers_from_nothing_and_a_cable_that_is_pulled(three: list[Host]) -> None:
    began = time.monotonic()
    start_etcd, put_file, start_mirror, first_traffic, start_guard = BLOCKS
    one, two, three_ = three
    for host in three:
        host.run(start_etcd)
    endpoints = "--endpoints gw-01:2379,gw-02:2379,gw-03:2379"
    healthy = f"etcdctl {endpoints} endpoint health"
    until(lambda: "unhealthy" not in one.run(healthy, code=None, ETCDCTL_API="3"))
    assert "wrote etcd://gw-01:2379" in one.run(put_file)
    for host in three:
        host.run(f"cd {ROOT}/sample_configs; {start_mirror}")
    until(lambda: all("acme" in host.run(f"cat {FILE}", code=None) for host in three))
    said = two.run(first_traffic)
    assert "done: chat / acme 0% to 5% in etcd:/rollout/prod" in said
    assert "servers: 3 of 3 servers after" in said
    assert [share(host) for host in three] == [(5, False)] * 3
    for host in (one, two):
        host.run(f"cd {ROOT}/sample_configs; {start_guard}")
    leads = "this guard is the leader"
    logs = "cat /var/lib/rollout-fleet-guard.log"
    until(lambda: leads in one.run(logs) + two.run(logs))
    assert time.monotonic() - began < 600  # "in ten minutes", all that is typed aside

    three_.unplug()
    body = ask(one, "rollback chat acme --yes")
    assert (body["servers"]["applied"], body["servers"]["of"]) == (2, 3)
    assert [share(host) for host in (one, two)] == [(5, True)] * 2
    assert share(three_) == (5, False)  # its last good version stands
    assert "etcd cannot be used" in three_.run(f"{address()}; rollout-console show", code=3)
    three_.run(f"rollout-console -f {FILE} rollback chat globex.eu --yes")
    assert share(three_, "globex.eu") == (0, True)  # and it can be rolled back by itself
    until(lambda: ask(one, f"mirror --list {address().partition('=')[2]}", code=1))
    three_.plug()
    until(lambda: share(three_) == (5, True))
    assert share(three_, "globex.eu") == (0, True)  # until it is resumed there
    assert share(one, "globex.eu") == (0, False)

    # Who leads is cut off: the other goes on.
    first = one if leads in one.run(logs) else two
    other = two if first is one else one
    first.unplug()
    until(lambda: leads in other.run(logs))
    first.plug()
    until(lambda: "another guard is the leader" in first.run(logs))
    listed = f"{address()}; rollout-console mirror --list $ROLLOUT_FILE"
    until(lambda: "3 mirrors of 3" in one.run(listed, code=None))
    assert "rolled back there alone: chat/globex.eu" in one.run(listed)
