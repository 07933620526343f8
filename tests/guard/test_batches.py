"""Counts in batches, as Prometheus has them, have the verdicts that single requests have."""

import statistics

import pytest

from tests.benchmarks.guard_batches import RATES_PER_S, WIDTHS_S, delays, false_alarms

STREAMS = 20


@pytest.mark.slow
@pytest.mark.parametrize("width_s", WIDTHS_S)
def test_no_healthy_stream_is_condemned(width_s: int) -> None:
    assert sum(false_alarms(per_s, width_s, STREAMS) for per_s in (1, 10)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("per_s", RATES_PER_S)
def test_a_batch_costs_no_more_than_to_wait_for_it(per_s: int, rate: float) -> None:
    fine = delays(per_s, rate, 1, STREAMS)
    assert (fine.early, fine.missed) == (0, 0)
    for width_s in WIDTHS_S[1:]:
        coarse = delays(per_s, rate, width_s, STREAMS)
        assert (coarse.early, coarse.missed) == (0, 0)
        # Half of a batch passes until it is complete; a change within it is diluted by the rest.
        assert statistics.median(coarse.found) <= statistics.median(fine.found) + width_s
        assert max(coarse.found) <= max(fine.found) + 2 * width_s
