"""Which requests a fault of answers hits, what it charges and delays, and what it is told wrong."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from rollout_console.sim.server import SimServer
from rollout_console.sim.streams import keep_alive
from tests.sim.asking import KINDS, SIDES, ask, asked, set_fault, words
from tests.support.waiting import until

ALL = pytest.mark.parametrize(("kind", "side"), list(itertools.product(KINDS, SIDES)))
CHAT, RESPONSES, CLAUDE, GEMINI = KINDS


@pytest.mark.slow
@ALL
def test_a_stall_is_before_the_first_content_alone(api: httpx.Client, kind: str, side: str) -> None:
    set_fault(api, kind="stall", latency_ms=2500)
    begun = time.monotonic()
    arrived: list[tuple[float, bytes]] = []
    with api.stream(**asked(kind, side, stream=True)) as answer:
        headers = time.monotonic() - begun
        for chunk in answer.iter_raw():
            arrived.append((time.monotonic() - begun, chunk))
    body = b"".join(chunk for _, chunk in arrived)
    assert words(kind, body) == 14
    first = next(at for at, chunk in arrived if words(kind, chunk))
    ping = keep_alive(kind)
    assert headers < 2.4
    assert first >= 2.5
    if ping:
        assert next(at for at, chunk in arrived if ping in chunk) < 2.4
    begun = time.monotonic()
    ask(api, kind, side, stream=False)
    assert time.monotonic() - begun < 2.4


@pytest.mark.parametrize("kind", KINDS)
def test_a_trickle_is_between_the_content(api: httpx.Client, kind: str) -> None:
    set_fault(api, kind="trickle", latency_ms=30)
    begun = time.monotonic()
    assert words(kind, ask(api, kind, "tokenlab", stream=True).content) == 14
    assert time.monotonic() - begun >= 13 * 0.03


@pytest.mark.parametrize("kind", ["slow", "drip"])
def test_who_waits_for_a_fault_goes_on_when_it_is_deleted(
    api: httpx.Client, sim: SimServer, kind: str
) -> None:
    set_fault(api, kind=kind, latency_ms=600_000)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, api, CHAT, "tokenlab", stream=False)
        until(lambda: sim.state.in_flight == 1)
        assert not waiting.done()
        api.delete("/_sim/faults").raise_for_status()
        assert waiting.result(timeout=30).json()["choices"]
    until(lambda: sim.state.in_flight == 0)


def test_faults_of_answers_hit_what_they_name(api: httpx.Client, sim: SimServer) -> None:
    set_fault(api, kind="failure", side="tokenlab", org="acme", route="chat", path="/v1/chat")

    def failed(side: str = "tokenlab", kind: str = CHAT, **marks: str) -> bool:
        sent = asked(kind, side, stream=False)
        marked = {f"X-Sim-{name}": value for name, value in marks.items()}
        body = api.request(**sent | {"headers": sent["headers"] | marked}).json()
        assert sim.state.requests[-1].fault == ("failure" if body.get("error") else "")
        return bool(body.get("error"))

    assert failed(org="acme", route="chat")
    assert not failed(org="hooli", route="chat")
    assert not failed(org="acme", route="claude")
    assert not failed("previous", org="acme", route="chat")
    assert not failed("tokenlab", RESPONSES, org="acme", route="chat")
    set_fault(api, kind="failure", share=0.5)
    assert 8 < sum(failed() for _ in range(60)) < 52


def test_a_failure_is_charged_to_nobody(api: httpx.Client, sim: SimServer) -> None:
    used = sim.state.used
    set_fault(api, kind="failure")
    for stream in (False, True):
        answer = ask(api, CHAT, "tokenlab", stream=stream)
        assert "x-billing-transaction-id" not in answer.headers
    assert sim.state.used == used
    set_fault(api, kind="cut")
    assert "x-billing-transaction-id" in ask(api, CHAT, "tokenlab", stream=False).headers
    assert sim.state.used > used


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "failure", "code": "fire"}, "code must be one of gateway, overloaded"),
        ({"kind": "cut", "code": "auth"}, "code is of failure; cut has none"),
        ({"code": "auth"}, "code is of failure; error has none"),
        ({"kind": "failure", "after": -1}, "after must be a whole number from 0 to 1000"),
        ({"kind": "cut", "after": 1.5}, "after must be a whole number from 0 to 1000"),
        ({"kind": "cut", "after": True}, "after must be a number"),
        ({"kind": "empty", "after": 1}, "after is of failure, cut, filter, length; empty has none"),
        ({"kind": "empty", "variant": "inside"}, "variant of empty must be one of bare, blank"),
        ({"kind": "length", "variant": "x"}, "length has no variants"),
        ({"kind": "stall", "latency_ms": -1}, "latency_ms must be from 0 to 600000"),
        ({"kind": "cut", "variant": 1}, "variant must be a text"),
    ],
)
def test_a_wrong_fault_of_answers_is_one_sentence(
    api: httpx.Client, fault: dict[str, Any], said: str
) -> None:
    answer = api.post("/_sim/faults", json=fault)
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith(said)
    assert len(message.splitlines()) == 1
