"""The guard against every incident of the simulator, and against traffic that has none."""

import pytest

from rollout_console.sim.incidents import INCIDENTS
from tests.benchmarks.guard_drill import drills, healthy


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_incident_is_rolled_back_and_drains() -> None:
    done = list(drills())
    assert [one.incident for one in done] == list(INCIDENTS)
    for one in done:
        # The gate knows of the switch within a second, and nothing begins on TokenLab after that.
        assert one.drained_s <= one.verdict_s + 1.5, one
        assert one.requests < 400, one
    words = dict(zip(INCIDENTS, ("5xx", "slow", "429", "401/403", "5xx"), strict=True))
    assert all(words[one.incident] in one.reason for one in done)


@pytest.mark.slow
def test_healthy_traffic_is_never_rolled_back() -> None:
    done = healthy(minutes=6, rate=200, seed=11)
    assert (done["rollbacks"], done["alerts"]) == (0, [])
    assert done["requests"] == 72_000
    assert done["raises"] > 0
