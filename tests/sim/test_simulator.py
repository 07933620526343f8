"""The simulator: money, roles, catalogue, streams, faults."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from rollout_console.sim.catalogue import CATEGORIES
from tests.sim.test_contract import CHAT, CLAUDE, GEMINI, KEY, TOKEN


def balance(api: httpx.Client) -> Decimal:
    answer = api.get("/v1/management/balance", headers=TOKEN).json()
    found = Decimal(answer["balance_decimal"])
    assert found == Decimal(answer["total_recharge_decimal"]) - Decimal(
        answer["total_used_decimal"]
    )
    return found


def test_money_moves_with_what_was_served(api: httpx.Client) -> None:
    before = balance(api)
    answer = api.post("/v1/chat/completions", json=CHAT, headers=KEY)
    paid = before - balance(api)
    usage = api.get("/v1/management/api-keys/key_demo/usage?limit=1", headers=TOKEN).json()
    item = usage["items"][0]
    assert Decimal(item["cost_decimal"]) == paid > 0
    assert item["request_id"] == answer.headers["X-Request-ID"]
    assert (
        item["billing_transaction_id"]
        == answer.headers["X-Billing-Transaction-ID"]
        == answer.json()["billing_transaction_id"]
    )
    api.post("/_sim/faults", json={"status": 503, "path": "/v1/chat"})
    unpaid = balance(api)
    api.post("/v1/chat/completions", json=CHAT, headers=KEY)
    assert balance(api) == unpaid


def test_the_catalogue_is_large_and_ranked(api: httpx.Client) -> None:
    models = api.get("/v1/models").json()["data"]
    assert len(models) >= 150
    assert {m["tokenlab"]["category"] for m in models} == set(CATEGORIES)
    stages = {m["tokenlab"]["lifecycle"]["stage"] for m in models}
    assert {"active", "preview", "deprecated"} <= stages
    videos = api.get("/v1/models?recommended_for=video&view=compact").json()["data"]
    evidence = [m["recommendation"] for m in videos]
    ready = [e["preferred_rank"] for e in evidence if e["status"] == "ready"]
    assert ready == sorted(ready)
    assert [e["status"] for e in evidence[len(ready) :]] == (
        ["insufficient_samples"] * (len(evidence) - len(ready))
    )
    assert 0 < len(ready) < len(evidence)


STREAMS = [
    ("/v1/chat/completions", {**CHAT, "stream": True}, b"data: [DONE]\n\n"),
    ("/v1/responses", {"model": "gpt-5.4", "input": "x", "stream": True}, b"response.completed"),
    ("/v1/messages", {**CLAUDE, "stream": True}, b"event: message_stop"),
    ("/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse", GEMINI, b'"STOP"'),
]  # fmt: skip


@pytest.mark.parametrize(("url", "body", "end"), STREAMS)
@pytest.mark.parametrize("prefix", ["", "/_previous"])
def test_streams_are_framed_to_their_end(
    api: httpx.Client, url: str, body: dict[str, Any], end: bytes, prefix: str
) -> None:
    theirs = {"Authorization": "Bearer theirs", "anthropic-version": "2023-06-01"}
    answer = api.post(prefix + url, json=body, headers=theirs if prefix else KEY)
    assert answer.status_code == 200
    assert end in answer.content
    assert "X-Billing-Transaction-ID" not in answer.headers


def test_a_tokenlab_secret_at_the_other_side_is_noticed(api: httpx.Client) -> None:
    before = api.get("/_sim/requests").json()["credential_leaks"]
    answer = api.post("/_previous/v1/chat/completions", json=CHAT, headers=KEY)
    assert answer.status_code == 401
    assert api.get("/_sim/requests").json()["credential_leaks"] == before + 1
    api.delete("/_sim/requests")
    assert api.get("/_sim/requests").json()["credential_leaks"] == 0


def test_faults_hit_what_they_name(api: httpx.Client) -> None:
    api.post("/_sim/faults", json={"status": 500, "org": "acme", "route": "chat"})

    def status(**marks: str) -> int:
        headers = {**KEY, **{f"X-Sim-{k}": v for k, v in marks.items()}}
        return api.post("/v1/chat/completions", json=CHAT, headers=headers).status_code

    assert status(Org="acme", Route="chat") == 500
    assert status(Org="acme", Route="claude") == 200
    assert status(Org="hooli", Route="chat") == 200
    assert api.delete("/_sim/faults").json() == {"cleared": 1}
    assert status(Org="acme", Route="chat") == 200


@pytest.mark.parametrize("kind", ["truncate", "drop"])
def test_a_broken_answer_breaks(api: httpx.Client, kind: str) -> None:
    api.post("/_sim/faults", json={"kind": kind})
    with pytest.raises(httpx.RemoteProtocolError):
        api.post("/v1/chat/completions", json=CHAT, headers=KEY)


def test_garbage_and_drips(api: httpx.Client) -> None:
    api.post("/_sim/faults", json={"kind": "garbage"})
    with pytest.raises(ValueError, match="Expecting value"):
        api.post("/v1/chat/completions", json=CHAT, headers=KEY).json()
    api.delete("/_sim/faults")
    api.post("/_sim/faults", json={"kind": "drip"})
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v1/chat/completions", json=CHAT, headers=KEY, timeout=0.04)


@pytest.mark.parametrize(
    "bad", [{"kind": "x"}, {"status": 200}, {"share": 2}, {"colour": 1}, {"status": "500"}, []]
)
def test_a_wrong_fault_is_one_sentence(api: httpx.Client, bad: object) -> None:
    answer = api.post("/_sim/faults", json=bad)
    assert answer.status_code == 400
    assert len(answer.json()["error"]["message"].splitlines()) == 1
