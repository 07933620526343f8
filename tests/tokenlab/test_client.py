"""The client: exact money, and no credential where it must not go."""

from decimal import Decimal

import pytest

from console.gate.secret import Secret
from console.sim.server import SimServer
from console.tokenlab.client import ManagementClient
from console.tokenlab.errors import ApiError, Garbage, Refused, Unreachable, Unsafe
from console.vault.environment import from_environment

TOKEN = Secret("mt-sim-demo")


async def test_the_balance_is_exact(sim: SimServer) -> None:
    async with ManagementClient(sim.base_url + "/v1", TOKEN) as client:
        found = await client.balance()
    assert found.balance == found.total_recharge - found.total_used
    assert isinstance(found.balance, Decimal)


async def test_a_wrong_token_is_refused_without_being_shown(sim: SimServer) -> None:
    async with ManagementClient(sim.base_url, Secret("mt-canary-1234")) as client:
        with pytest.raises(Refused) as caught:
            await client.balance()
    assert caught.value.status == 401
    assert "canary" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "garbage"}, Garbage),
        ({"kind": "drop"}, Unreachable),
        ({"kind": "truncate"}, Unreachable),
        ({"kind": "drip"}, Unreachable),
        ({"kind": "slow", "latency_ms": 60_000}, Unreachable),
        ({"status": 503}, Refused),
        ({"status": 429}, Refused),
    ],
)
async def test_every_fault_is_one_sentence(
    sim: SimServer, fault: dict[str, object], error: type[ApiError]
) -> None:
    sim.state.faults.add(fault)
    async with ManagementClient(sim.base_url, TOKEN, timeout_s=0.3) as client:
        with pytest.raises(error) as caught:
            await client.balance()
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, Refused):
        assert caught.value.retry_after_s == 2.0


def test_credentials_do_not_go_where_they_must_not() -> None:
    with pytest.raises(Unsafe, match="mt-"):
        ManagementClient("https://api.tokenlab.sh", Secret("sk-canary"))
    with pytest.raises(Unsafe, match="not https"):
        ManagementClient("http://api.tokenlab.sh", TOKEN)


def test_a_secret_shows_its_prefix_alone() -> None:
    secret = Secret("mt-canary")
    assert "canary" not in f"{secret} {secret!r} {secret:>20}"


@pytest.mark.parametrize(
    ("value", "says"), [("", "set $"), ("sk-canary", "does not start with"), ("mt-a b", "space")]
)
def test_a_wrong_credential_is_not_used(value: str, says: str) -> None:
    found = from_environment("management_token", {"TOKENLAB_MANAGEMENT_TOKEN": value})
    assert found.secret is None
    assert says in found.problem
    assert "canary" not in found.problem
