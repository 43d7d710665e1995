"""The parts of the door that need no server: the effective deadline and the first gate."""

from __future__ import annotations

import grpc
import pytest

from floodgate.client import build_request
from floodgate.config import Caller, Limits
from floodgate.errors import Overloaded, Unavailable
from floodgate.types import Decision, Item
from floodgate.wire.admission import InFlight
from floodgate.wire.envelope import Envelope
from floodgate.wire.malformed import salvage_ids
from floodgate.wire.metrics import Metrics
from floodgate.wire.rpc import CallOver
from floodgate.wire.service import ModerationService, ServiceOptions, effective_deadline_ns

MS = 1_000_000


@pytest.mark.parametrize(
    ("budget_ms", "remaining_s", "expected_ms"),
    [(None, None, 30_000), (50, None, 50), (None, 1.0, 990), (50, 1.0, 50), (5000, 1.0, 990)],
)
def test_the_effective_deadline_is_the_soonest(
    budget_ms: int | None, remaining_s: float | None, expected_ms: int
) -> None:
    budget_ns = None if budget_ms is None else budget_ms * MS
    assert effective_deadline_ns(7, budget_ns, remaining_s, 10 * MS, 30_000 * MS) == 7 + expected_ms * MS


async def test_the_gate_counts_items_and_bytes_and_lets_go_of_both() -> None:
    gate = InFlight(max_items=2, max_bytes=100)
    with gate.admit(60):
        with pytest.raises(Overloaded, match="60 bytes are being handled; 41 more would exceed 100"), gate.admit(41):
            raise AssertionError
        with gate.admit(40):
            assert (gate.items, gate.bytes) == (2, 100)
            with pytest.raises(Overloaded, match="2 items"), gate.admit(0):
                raise AssertionError
    assert (gate.items, gate.bytes, gate.refused) == (0, 0, 2)


async def test_a_closed_gate_refuses_and_reports_when_it_is_idle() -> None:
    gate = InFlight(max_items=2, max_bytes=100)
    with gate.admit(1):
        gate.close()
        with pytest.raises(Unavailable, match="draining"), gate.admit(1):
            raise AssertionError
    await gate.idle()


def test_ids_of_a_message_that_does_not_parse_are_salvaged() -> None:
    raw = build_request(text="abc", request_id="r-9", content_id="c-9").SerializeToString()
    assert salvage_ids(raw.replace(b"abc", b"a\xffc")) == ("r-9", "c-9")
    assert salvage_ids(b"\xff\xff") == ("", "")
    assert salvage_ids(raw[:4]) == ("", ""), "half an id is nobody's"


def test_no_budget_reaches_beyond_a_day() -> None:
    day_ns = 86_400 * 1_000 * MS
    assert effective_deadline_ns(7, (1 << 63) * 1_000_000_000, None, 0, MS) == 7 + day_ns
    assert effective_deadline_ns(7, None, 1e15, 0, MS) == 7 + day_ns


class _Leaver:
    """The call of a stream whose caller sends three requests and is gone when the first answer is written."""

    def __init__(self) -> None:
        self.tried = 0
        self._raws = [build_request(text="abc", request_id=f"r-{n}").SerializeToString() for n in range(3)]

    def add_done_callback(self, _: object) -> None: ...

    def time_remaining(self) -> None: ...

    async def read(self) -> object:
        return Envelope(self._raws.pop()) if self._raws else grpc.aio.EOF

    async def write(self, _: bytes) -> None:
        self.tried += 1
        raise CallOver("the client left")


async def test_a_stream_whose_caller_leaves_ends_quietly() -> None:
    async def judge(item: Item, arrival_ns: int, deadline_ns: int) -> Decision:
        raise Unavailable("nobody judges here")

    in_flight = InFlight(max_items=8, max_bytes=1 << 20)
    options = ServiceOptions(Limits(), Caller(), answer_margin_ns=0, default_budget_ns=1000 * MS)
    leaver = _Leaver()
    await ModerationService(judge, in_flight, Metrics(), options).moderate_stream(None, leaver)
    assert leaver.tried == 3
    assert in_flight.items == 0
