"""Both sides of a route next to each other, by the prices in the rollout file."""

from decimal import Decimal
from typing import Any

import pytest

from rollout_console.cost.side_by_side import cost_of
from rollout_console.cost.tables import as_json
from rollout_console.cost.text import as_text
from rollout_console.reconcile.log_lines import PreviousLines
from rollout_gate.file.model import PreviousPrice
from tests.cost.traffic import Traffic, costs_of
from tests.reconcile.world import NOON, World, line

PRICES = """
[routes.chat.previous_price]
input_per_1m = "5"
output_per_1m = 20
"""


def previous(at: float, tokens: tuple[int | None, int | None] = (1000, 200), **more: Any) -> Any:
    said = {"input_tokens": tokens[0], "output_tokens": tokens[1], **more}
    return line(at, side="previous", **said)


@pytest.fixture
def priced(world: World) -> World:
    world.path.write_text(world.path.read_text() + PRICES)
    return world


def test_both_sides_per_thousand_requests_and_per_million_tokens(priced: World) -> None:
    traffic = Traffic(priced)
    billed = traffic.send(NOON, tokens=(1000, 200)) + traffic.send(NOON + 1, tokens=(3000, 100))
    priced.write(
        previous(NOON), previous(NOON + 1, (3000, 100)), previous(NOON + 2, (None, None)),
        previous(NOON + 3, status=500), previous(NOON + 3, outcome="error"),
        previous(NOON + 3, operation="task"), previous(NOON + 3, cached=True),
        previous(NOON - 10), previous(NOON + 3600), previous(NOON + 3, route="clips"),
    )  # fmt: skip
    found = costs_of(priced)
    (one,) = found.sides
    assert one.route == "chat"
    assert one.tokenlab.cost == billed
    assert (one.previous.requests, one.priced) == (3, 2)
    assert one.cost == Decimal("0.026")  # 4,000 in at $5, 300 out at $20 a million
    assert one.per_thousand == 13
    assert one.per_million == Decimal("0.026") * 1_000_000 / 4300
    ours = one.tokenlab.per_thousand
    assert ours is not None
    assert one.change == (ours - 13) * 100 / 13
    said = as_json(found)["side_by_side"][0]
    assert said["previous"]["cost_usd"] == "0.026000"
    assert said["previous"]["without_tokens"] == 1
    text = "\n".join(as_text(found, None))
    assert "side by side" in text
    assert "$13.00" in text
    assert "1 request without tokens left out" in text


def test_one_org_is_next_to_its_own_other_side(priced: World) -> None:
    traffic = Traffic(priced)
    traffic.send(NOON)
    traffic.send(NOON, org="globex", tokens=(1, 1))
    priced.write(previous(NOON), previous(NOON, (9, 9), org="globex"))
    (one,) = costs_of(priced, org="globex").sides
    assert (one.tokenlab.tokens, one.previous.tokens_in) == (2, 9)
    assert costs_of(priced, route="clips").sides == []
    assert costs_of(priced, key="demo").sides == (), "the log has no API key"


def test_without_prices_there_is_nothing_to_compare(world: World) -> None:
    Traffic(world).send(NOON)
    world.write(previous(NOON))
    found = costs_of(world)
    assert found.sides == ()
    assert "side by side" not in "\n".join(as_text(found, None))


def test_a_price_of_requests_needs_no_tokens() -> None:
    lines = PreviousLines(requests=3, with_tokens=1, tokens_in=10, tokens_out=20)
    assert cost_of(lines, PreviousPrice(per_request=Decimal("0.1"))) == (3, Decimal("0.3"))
    both = PreviousPrice(Decimal(1), Decimal("0.000000000000000003"), Decimal("0.1"))
    assert cost_of(lines, both) == (1, Decimal("0.10001000000000000000006"))
