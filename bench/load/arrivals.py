"""When requests are meant to leave: schedules drawn before the run, from a seed."""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
"""Nanoseconds after the start of a run, ascending."""

BURST_PERIOD_S = 1.0
BURST_SHARE = 0.2
BURST_FACTOR = 4.0


class Arrivals(Enum):
    """How requests are spread over time.

    ``POISSON``: independent of each other, exponential gaps. ``BURSTY``: Poisson at ``BURST_FACTOR`` times the mean
    rate in the first ``BURST_SHARE`` of each second and at what is left in the rest, so the mean is the same.
    ``STEADY``: equal gaps, which no crowd of callers ever makes; for finding a server's ceiling.
    """

    POISSON = "poisson"
    BURSTY = "bursty"
    STEADY = "steady"


def schedule(arrivals: Arrivals, rate_per_s: float, seconds: float, seed: int) -> Times:
    """Arrival times in [0, ``seconds``) at a mean of ``rate_per_s``; the same seed gives the same times. Raises
    ValueError for a rate or a length that is not positive."""
    if rate_per_s <= 0 or seconds <= 0:
        raise ValueError(f"a load needs a positive rate and length, not {rate_per_s:g}/s for {seconds:g} s")
    if arrivals is Arrivals.STEADY:
        return _in_ns(np.arange(0.0, seconds, 1.0 / rate_per_s))
    # A Poisson process of unit rate, in operational time, which is then mapped to the clock by the inverse of the
    # rate's integral (Cinlar's method).
    source = np.random.default_rng(seed)
    total = rate_per_s * seconds
    gaps = source.exponential(size=int(total + 10 * np.sqrt(total) + 20))
    moments = np.cumsum(gaps)
    mean_s = moments / rate_per_s
    clock = mean_s if arrivals is Arrivals.POISSON else _through_bursts(mean_s)
    return _in_ns(clock[clock < seconds])


def _through_bursts(mean_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Times of a process of constant rate to those of the bursty one with the same mean."""
    period, within = np.divmod(mean_s, BURST_PERIOD_S)
    burst_s = BURST_PERIOD_S * BURST_SHARE
    # So much of the period's arrivals, counted in seconds at the mean rate, come in its burst.
    in_burst_s = burst_s * BURST_FACTOR
    quiet_pace = (BURST_PERIOD_S - burst_s) / (BURST_PERIOD_S - in_burst_s)
    at = np.where(within < in_burst_s, within / BURST_FACTOR, burst_s + (within - in_burst_s) * quiet_pace)
    return np.asarray(period * BURST_PERIOD_S + at)


def _in_ns(times_s: npt.NDArray[np.float64]) -> Times:
    return (times_s * 1e9).astype(np.int64)
