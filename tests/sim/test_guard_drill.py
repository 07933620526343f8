"""The guard against every incident of the simulator, and against traffic that has none."""

import pytest

from rollout_console.sim.incidents import INCIDENTS
from tests.benchmarks.guard_drill import drill, guarded_demo, healthy

WORDS = dict(zip(INCIDENTS, ("5xx", "slow", "429", "401/403", "5xx"), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("incident", INCIDENTS)
def test_an_incident_is_rolled_back_and_drains(incident: str) -> None:
    with guarded_demo() as (demo, switch):
        done = drill(demo, switch, incident)
    # The gate knows of the switch within a second, and nothing begins on TokenLab after that.
    assert done.drained_s <= done.verdict_s + 1.5, done
    assert done.requests < 400, done
    assert WORDS[incident] in done.reason, done


@pytest.mark.slow
def test_healthy_traffic_is_never_rolled_back() -> None:
    done = healthy(minutes=6, rate=200, seed=11)
    assert (done["rollbacks"], done["alerts"]) == (0, [])
    assert done["requests"] == 72_000
    assert done["raises"] > 0
