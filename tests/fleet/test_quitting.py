"""Quitting the console while a change is under way: it says so, and then what became of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from rollout_console.etcd.client import EtcdClient
from rollout_gate.file.parse import parse
from tests.support.etcd import Cluster
from tests.support.lossy import Link, lossy
from tests.support.terminal import Terminal, terminal


@contextmanager
def rolling_back(address: str, link: Link, folder: Path) -> Iterator[Terminal]:
    """A console whose rollback of the first org is sent, and not answered."""
    assert run(["-f", address, "undo", "--yes"]) == 1  # it begins the history
    through = (
        f"etcd://{link.url.partition('://')[2]}/{address.partition('://')[2].partition('/')[2]}"
    )
    command = f"{sys.executable} -m rollout_console -f {through}"
    env = {"ROLLOUT_STATE_DIR": str(folder / "state"), "TERM": "xterm-256color"}
    link.lose = ["held"] * 9
    with terminal(command, (120, 40), env, folder) as found:
        found.until(lambda shown: "acme" in shown and "rollback" not in shown)
        found.press("j", "r")
        found.until(lambda shown: "ROLL BACK" in shown)
        while "UNDER WAY" not in found.screen():
            found.press("y")  # the dialog drops keys of its first moment
            found.until(lambda _: True)
        yield found


@pytest.fixture
def link(etcd: Cluster) -> Iterator[Link]:
    with lossy(etcd.members[0].url) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("key", ["q", "C-q"])
def test_what_became_of_it_is_said_in_the_terminal(
    key: str, address: str, client: EtcdClient, link: Link, tmp_path: Path
) -> None:
    with rolling_back(address, link, tmp_path) as found:
        found.press(key)
        found.until(lambda shown: "is under way: etcd has not answered for" in shown)
        link.released.set()
        shown = found.until(lambda shown: "[ended " in shown)
    assert "rollout-console: done: chat / " in shown
    assert "[ended 0]" in shown
    file = parse(client.get(client.address.key).values[0].data)
    assert any(one.rolled_back for one in file.routes["chat"].orgs.values())


def test_a_rollback_that_was_to_be_next_is_said_not_to_be_made(
    address: str, client: EtcdClient, link: Link, tmp_path: Path
) -> None:
    with rolling_back(address, link, tmp_path) as found:
        found.press("R")
        found.until(lambda shown: "ROLL BACK" in shown)
        while "next: rolling back route chat;" not in found.screen():
            found.press("y")
            found.until(lambda _: True)
        found.press("q")
        found.until(lambda shown: "is under way: etcd has not answered for" in shown)
        link.released.set()
        shown = found.until(lambda shown: "[ended " in shown)
    assert "rollout-console: done: chat / " in shown
    assert "NOT ROLLED BACK: route chat: it was to be next, and was not begun" in shown
    assert "[ended 1]" in shown
    assert not parse(client.get(client.address.key).values[0].data).is_latched("chat")


@pytest.mark.slow
def test_one_that_is_not_known_ends_with_exit_code_3_and_where_to_look(
    address: str, link: Link, tmp_path: Path
) -> None:
    with rolling_back(address, link, tmp_path) as found:
        found.press("q")
        shown = "".join(found.until(lambda shown: "[ended " in shown).splitlines())
    assert "whether the change was made is not known" in shown
    assert "; look with rollout-console -f etcd://" in shown
    assert "[ended 3]" in shown
