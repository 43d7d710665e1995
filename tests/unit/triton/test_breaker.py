"""The breaker's transitions, with a clock that is a number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from floodgate.triton.breaker import (
    FIRST_OPEN_S,
    MAX_OPEN_S,
    Breaker,
    BreakerState,
    admit,
    backoff_s,
    failed,
    released,
    succeeded,
)


def test_closed_breaker_admits_everything() -> None:
    assert admit(Breaker(), 0.0) == (Breaker(), True)


def test_one_failure_opens_for_the_first_time_span() -> None:
    opened = failed(Breaker(), 10.0, "broke")
    assert (opened.state, opened.until_s, opened.reason) == (BreakerState.OPEN, 10.0 + FIRST_OPEN_S, "broke")
    assert admit(opened, 10.0 + FIRST_OPEN_S - 0.01) == (opened, False)


def test_when_time_has_come_exactly_one_probe_is_admitted() -> None:
    half, first = admit(failed(Breaker(), 0.0, ""), FIRST_OPEN_S)
    _, second = admit(half, FIRST_OPEN_S + 100.0)
    assert (half.state, first, second) == (BreakerState.HALF_OPEN, True, False)


def test_good_probe_closes_and_forgets() -> None:
    half, _ = admit(failed(Breaker(), 0.0, ""), FIRST_OPEN_S)
    assert succeeded(half) == Breaker()


def test_failed_probe_opens_twice_as_long() -> None:
    half, _ = admit(failed(Breaker(), 0.0, ""), FIRST_OPEN_S)
    assert failed(half, 5.0, "").until_s == 5.0 + 2 * FIRST_OPEN_S


def test_late_success_does_not_close_an_open_breaker() -> None:
    opened = failed(Breaker(), 0.0, "")
    assert succeeded(opened) == opened


def test_failures_of_one_outage_count_once() -> None:
    opened = failed(Breaker(), 0.0, "")
    assert failed(opened, 0.5, "") == opened


def test_lost_probe_may_be_repeated_at_once() -> None:
    half, _ = admit(failed(Breaker(), 0.0, ""), FIRST_OPEN_S)
    assert admit(released(half, 3.0), 3.0)[1]


@given(st.integers(min_value=1, max_value=10_000))
def test_backoff_never_passes_its_limit_nor_shrinks(attempt: int) -> None:
    now, after = (backoff_s(n, FIRST_OPEN_S, MAX_OPEN_S) for n in (attempt, attempt + 1))
    assert FIRST_OPEN_S <= now <= after <= MAX_OPEN_S
