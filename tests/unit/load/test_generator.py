"""The load generator against a server that answers as it is told."""

from __future__ import annotations

import threading
from argparse import ArgumentTypeError
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from bench.load import Arrivals, Flow, Generator, Outcomes, Traffic, generate
from bench.load.__main__ import LaneMix, parse_lane
from bench.load.traffic import moderate_payloads
from floodgate.v1 import moderation_pb2 as pb


class Told(grpc.GenericRpcHandler):
    """Answers with the request, refuses ``full``, holds ``held`` back until the caller has given up."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.let_go = threading.Event()

    def service(self, _: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.received.append(request)
        if request == b"full":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "told so")
        if request == b"held":
            self.let_go.wait(30)
        return request


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def target(told: Told) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=(told,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    told.let_go.set()
    server.stop(None).wait()


def flow(name: str, *payloads: bytes, rate_per_s: float = 40.0, deadline_ms: float = 10_000.0) -> Flow:
    return Flow(name, rate_per_s, deadline_ms, payloads, "/test/Echo")


def statuses(run: Outcomes, name: str = "") -> set[str]:
    return set(run.summary(name).statuses)


def test_every_request_comes_back_with_its_own_answer(told: Told, target: str) -> None:
    traffic = Traffic(target, (flow("a", b"one", b"two"), flow("b", b"full")), 0.5, warm_up_s=0.0)
    with Generator(2) as generator:
        run = generator.run(traffic)
    assert statuses(run, "a") == {"OK"}
    assert statuses(run, "b") == {"RESOURCE_EXHAUSTED"}
    assert run.summary().requests == len(run.answers) == len(told.received) > 10
    for at, answer in enumerate(run.answers):
        assert answer == ((b"one", b"two")[run.payload[at]] if run.flow[at] == 0 else b"")
    assert (run.sent_ns >= run.intended_ns).all()
    assert (run.answered_ns >= run.sent_ns).all()


def test_requests_leave_though_none_is_answered(target: str) -> None:
    """An open loop: four are served at a time, and none comes back before its deadline."""
    one = flow("held", b"held", rate_per_s=60.0, deadline_ms=500.0)
    run = generate(Traffic(target, (one,), 0.5, warm_up_s=0.0, arrivals=Arrivals.STEADY))
    assert run.summary().requests == 30
    assert statuses(run) == {"DEADLINE_EXCEEDED"}
    assert run.summary().goodput_per_s == 0


def test_decision_that_rests_on_less_is_told_apart(target: str) -> None:
    degraded, whole = pb.ModerateResponse(), pb.ModerateResponse(request_id="whole")
    degraded.decision.degraded.add()
    payloads = (degraded.SerializeToString(), whole.SerializeToString())
    run = generate(Traffic(target, (Flow("STANDARD", 40.0, 10_000.0, payloads),), 0.5, warm_up_s=0.0))
    assert run.degraded.tolist() == [which == 0 for which in run.payload]
    assert statuses(run) == {"OK", "OK (degraded)"}


def test_nobody_at_the_target_is_an_error() -> None:
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
        generate(Traffic("127.0.0.1:1", (flow("a", b"x"),), 0.1, connect_s=0.1))


def test_payloads_are_requests_of_their_lane() -> None:
    photo, text = (
        pb.ModerateRequest.FromString(each) for each in moderate_payloads([b"\xff\xd8"], ["hello"], "LIVE", 250.0)
    )
    assert photo.lane == text.lane == pb.LANE_LIVE
    assert photo.budget.ToMilliseconds() == 250
    assert photo.parts[0].image.data == b"\xff\xd8"
    assert text.parts[0].text.text == "hello"
    with pytest.raises(ValueError, match="photos or texts"):
        moderate_payloads([], [])


def test_lane_of_the_mix_is_read_from_a_word() -> None:
    assert parse_lane("BULK") == LaneMix("BULK")
    assert parse_lane("LIVE:share=0.2,deadline_ms=300") == LaneMix("LIVE", share=0.2, deadline_ms=300)
    for wrong in ("FAST", "LIVE:share=0", "LIVE:speed=3", "LIVE:share"):
        with pytest.raises(ArgumentTypeError):
            parse_lane(wrong)
