"""Two thousand calls, three in ten of them given up by their clients, while Triton is killed and stopped at random."""

from __future__ import annotations

import pytest

from bench.soak import CANCEL_SHARE, soak

pytestmark = pytest.mark.triton

REQUESTS = 2000


def test_faults_and_leaving_clients_lose_double_and_falsify_nothing() -> None:
    outcome = soak(REQUESTS)
    assert outcome.problems() == []
    ledger = outcome.ledger
    assert len(ledger.answers) == REQUESTS
    assert outcome.cancelled_share >= CANCEL_SHARE - 0.01
    assert outcome.dead_rows_share < 0.01
    assert ledger.faults
    # Faults cost errors, but most of those who waited got what they came for.
    assert ledger.decisions > REQUESTS // 4
