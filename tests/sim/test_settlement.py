"""Settlement in the simulator: late, lost, paid back, and without ids, as the contract has it."""

from decimal import Decimal
from typing import Any

import httpx
import pytest

from rollout_console.sim.server import SimServer
from tests.sim.test_contract import CHAT, KEY, TOKEN, USAGE, contract, validate

__all__ = ["contract"]


def settle(api: httpx.Client, **how: Any) -> None:
    api.post("/_sim/settlement", json=how).raise_for_status()


def listed(api: httpx.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get(f"{USAGE}?limit=100", headers=TOKEN).json()["items"]
    return items


def asked(api: httpx.Client) -> dict[str, Any]:
    answer = api.post("/v1/chat/completions", json=CHAT, headers=KEY)
    return {
        "request": answer.headers["x-request-id"],
        "billing": answer.headers["x-billing-transaction-id"],
    }


@pytest.fixture(autouse=True)
def _no_usage(sim: SimServer) -> None:
    sim.state.usage.clear()


def test_at_once_and_with_the_ids_of_the_answer(api: httpx.Client) -> None:
    ids = asked(api)
    (item,) = listed(api)
    assert (item["request_id"], item["billing_transaction_id"]) == (ids["request"], ids["billing"])


@pytest.mark.parametrize(
    ("how", "name"),
    [("no_billing_id_share", "billing_transaction_id"), ("no_request_id_share", "request_id")],
)
def test_a_null_id_is_in_the_list_alone(
    contract: dict[str, Any], api: httpx.Client, how: str, name: str
) -> None:
    settle(api, **{how: 1})
    assert all(asked(api).values())
    (item,) = listed(api)
    assert item[name] is None
    answer = api.get(USAGE, headers=TOKEN)
    validate(contract, answer, "/v1/management/api-keys/{keyId}/usage")


def test_a_refund_is_a_second_negative_record(
    contract: dict[str, Any], api: httpx.Client, sim: SimServer
) -> None:
    settle(api, refund_share=1)
    before = sim.state.balance
    ids = asked(api)
    back, charge = listed(api)
    assert Decimal(back["cost_decimal"]) == -Decimal(charge["cost_decimal"]) < 0
    assert back["billing_transaction_id"] == charge["billing_transaction_id"] == ids["billing"]
    assert sim.state.balance == before
    answer = api.get(USAGE, headers=TOKEN)
    validate(contract, answer, "/v1/management/api-keys/{keyId}/usage")
    assert Decimal(answer.json()["summary"]["total_cost_decimal"]) == 0


def test_a_failed_settlement_charges_nothing(api: httpx.Client, sim: SimServer) -> None:
    settle(api, lost_share=1)
    before = sim.state.balance
    assert asked(api)["billing"]
    assert listed(api) == []
    assert sim.state.balance == before


def test_a_late_record_has_the_time_of_its_request(
    api: httpx.Client, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(api, late_share=1, late_s=3600)
    asked(api)
    assert listed(api) == []
    now = sim.state.clock()
    monkeypatch.setattr(sim.state, "clock", lambda: now + 3601)
    assert len(listed(api)) == 1


def test_what_is_set_is_shown_and_ended(api: httpx.Client) -> None:
    settle(api, late_share=0.5)
    assert api.get("/_sim/settlement").json()["late_share"] == 0.5
    api.delete("/_sim/settlement")
    assert api.get("/_sim/settlement").json()["late_share"] == 0
    for wrong in ({"late_share": 2}, {"late_share": True}, {"other": 1}, [1], {"late_s": -1}):
        assert api.post("/_sim/settlement", json=wrong).status_code == 400
