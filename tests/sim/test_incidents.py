"""The incidents of answers with status 200, and of one org: on TokenLab's side, and only there."""

import re
import time
from pathlib import Path

import httpx
import pytest

from rollout_console.sim.incidents import INCIDENTS, SICK_ORG, clear_incidents, start_incident
from rollout_console.sim.server import SimServer
from rollout_console.sim.traffic import ORGS
from tests.sim.asking import ask
from tests.sim.test_traffic import play, write

SPOILED = {"error inside 200": "failure", "cut streams": "cut", "empty answers": "empty"}


def mostly_on_tokenlab(file: Path) -> Path:
    """Raise all percents to 80: a share of a few dozen requests is anything, by chance."""
    head, routes, orgs = file.read_text().partition("[routes.chat]")
    file.write_text(head + routes + re.sub(r'(?m)^("?[\w.]+"? = )[\d.]+', r"\g<1>80", orgs))
    return file


def test_each_has_a_name_and_a_line_for_the_command_palette() -> None:
    assert list(INCIDENTS) == [
        "5xx storm", "slow", "rate limit", "wrong key", "garbage", "error inside 200",
        "cut streams", "empty answers", "slow first token", "one sick org", "failed jobs",
    ]  # fmt: skip
    for incident in INCIDENTS.values():
        assert 0 < len(incident.about) <= 70
        assert len(incident.about.splitlines()) == 1


@pytest.mark.parametrize("name", SPOILED)
async def test_a_third_of_the_answers_is_none(sim: SimServer, tmp_path: Path, name: str) -> None:
    sim.state.requests.clear()
    start_incident(sim.base_url, name)
    lines = await play(mostly_on_tokenlab(write(sim, tmp_path)), least=400)
    clear_incidents(sim.base_url)
    assert {line["status"] for line in lines} == {200}
    served = list(sim.state.requests)
    spoiled = [one for one in served if one.fault]
    assert {one.fault for one in spoiled} == {SPOILED[name]}
    assert {one.side for one in spoiled} == {"tokenlab"}
    assert {one.stream for one in spoiled} == {True, False}
    ours = [one for one in served if one.side == "tokenlab"]
    assert len(ours) > 250
    assert 0.2 < len(spoiled) / len(ours) < 0.5


async def test_one_org_is_sick_and_the_others_are_well(sim: SimServer, tmp_path: Path) -> None:
    assert SICK_ORG in ORGS
    start_incident(sim.base_url, "one sick org")
    lines = await play(mostly_on_tokenlab(write(sim, tmp_path)), least=600)
    failed = [line for line in lines if line["status"] != 200]
    assert {(line["org"], line["side"], line["status"]) for line in failed} == {
        (SICK_ORG, "tokenlab", 503)
    }
    own = [line for line in lines if (line["org"], line["side"]) == (SICK_ORG, "tokenlab")]
    assert len(own) > 50
    assert 0.5 < len(failed) / len(own) < 1


@pytest.mark.slow
def test_a_first_token_is_late_and_nothing_else(sim: SimServer, api: httpx.Client) -> None:
    start_incident(sim.base_url, "slow first token")

    def seconds(side: str, *, stream: bool) -> float:
        begun = time.monotonic()
        ask(api, "openai_chat_completions", side, stream=stream)
        return time.monotonic() - begun

    assert seconds("tokenlab", stream=False) < 5
    assert seconds("previous", stream=True) < 5
    # Four of five are late: that six in a row are not is one chance in 16,000.
    assert any(seconds("tokenlab", stream=True) >= 6 for _ in range(6))
