"""A circuit breaker per head: pure transitions over frozen values, with the clock passed in.

closed --failure--> open(until t) --t passes, one probe is let through--> half-open
half-open --success--> closed;  half-open --failure--> open, twice as long (up to a limit)

Times are seconds on any monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

FIRST_OPEN_S = 1.0
MAX_OPEN_S = 60.0


class BreakerState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """``failures`` counts failures in a row. ``until_s`` is when an open breaker lets a probe through."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    until_s: float = 0.0
    reason: str = ""


def backoff_s(attempt: int, first_s: float, max_s: float) -> float:
    """Exponential back-off: ``first_s`` doubled per attempt, at most ``max_s``. ``attempt`` counts from 1."""
    return min(max_s, first_s * 2.0 ** min(attempt - 1, 62))


def admit(breaker: Breaker, now_s: float) -> tuple[Breaker, bool]:
    """Whether a call may go to the head now. An open breaker whose time has come becomes half-open and admits
    exactly one call; until that one is answered it admits no other."""
    if breaker.state is BreakerState.CLOSED:
        return breaker, True
    if breaker.state is BreakerState.OPEN and now_s >= breaker.until_s:
        return replace(breaker, state=BreakerState.HALF_OPEN), True
    return breaker, False


def succeeded(breaker: Breaker) -> Breaker:
    """After an admitted call gave good scores. A late success of a call admitted before the breaker opened
    does not close it: only a probe does."""
    return breaker if breaker.state is BreakerState.OPEN else Breaker()


def failed(breaker: Breaker, now_s: float, reason: str) -> Breaker:
    """After an admitted call failed. Failures that arrive while the breaker is already open are the same
    outage: they do not lengthen it."""
    if breaker.state is BreakerState.OPEN:
        return breaker
    failures = breaker.failures + 1
    until_s = now_s + backoff_s(failures, FIRST_OPEN_S, MAX_OPEN_S)
    return Breaker(BreakerState.OPEN, failures, until_s, reason)


def released(breaker: Breaker, now_s: float) -> Breaker:
    """After an admitted call ended without telling anything about the head (cancelled, server lost): a
    half-open breaker goes back to open and may probe again at once."""
    if breaker.state is not BreakerState.HALF_OPEN:
        return breaker
    return replace(breaker, state=BreakerState.OPEN, until_s=now_s)
