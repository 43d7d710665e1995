"""Schedules of the load generator."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load.arrivals import BURST_FACTOR, BURST_PERIOD_S, BURST_SHARE, Arrivals, schedule


@pytest.mark.parametrize("arrivals", Arrivals)
def test_schedule_has_the_mean_rate_asked_for_and_ascends(arrivals: Arrivals) -> None:
    times = schedule(arrivals, 500.0, 40.0, seed=3)
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 40e9


def test_gaps_of_poisson_arrivals_vary_as_much_as_they_last() -> None:
    gaps = np.diff(schedule(Arrivals.POISSON, 1000.0, 40.0, seed=5))
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)


def test_bursts_hold_their_factor_times_the_mean_rate() -> None:
    times_s = schedule(Arrivals.BURSTY, 1000.0, 40.0, seed=5) / 1e9
    in_bursts = (times_s % BURST_PERIOD_S) < BURST_SHARE * BURST_PERIOD_S
    assert in_bursts.mean() == pytest.approx(BURST_SHARE * BURST_FACTOR, abs=0.02)


def test_same_seed_gives_the_same_schedule_and_another_one_does_not() -> None:
    first, again, other = (schedule(Arrivals.POISSON, 50.0, 2.0, seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize(("rate", "seconds"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_load_without_rate_or_length_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        schedule(Arrivals.POISSON, rate, seconds, seed=1)
