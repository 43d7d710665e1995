"""Locust users that call ``Moderate``: steady, spike, soak and mixed-lane loads, headless or in locust's web UI.

    .venv/bin/locust -f bench/locustfile.py --host 127.0.0.1:50051                              # web UI, port 8089
    .venv/bin/locust -f bench/locustfile.py --host 127.0.0.1:50051 --headless --scenario spike

A scenario is a load shape and a mix of lanes. It ends by itself; ``--load-s`` sets its length, ``--peak-users`` its
height. Each user sends a photo or a text, waits for the answer and then a short while: a closed loop, which people know
how to read and drive. For figures under overload use ``python -m bench.load``, which does not slow down with the
server.
A gRPC status other than OK is a failure under its name; a degraded decision is one too, under ``DEGRADED``.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import LoadTestShape, User, between, events, task
from locust.argument_parser import LocustArgumentParser

from bench.load.traffic import MODERATE, moderate_payloads
from bench.report import ROOT
from floodgate.v1 import moderation_pb2 as pb

# gRPC waits in C, which would stop every other user of the process.
grpc.experimental.gevent.init_gevent()

PHOTOS = ("astronaut.jpg", "cat.jpg", "coffee.webp", "rocket.jpg")


@dataclass(frozen=True)
class Scenario:
    """``mix``: relative numbers of requests by lane. ``load_s``: length where none is asked for."""

    about: str
    mix: dict[str, float]
    load_s: float


SCENARIOS = {
    "steady": Scenario("the same users throughout", {"STANDARD": 1}, 60),
    "spike": Scenario("a tenth of the users, all of them in the middle fifth, a tenth again", {"STANDARD": 1}, 60),
    "soak": Scenario("half of the users for an hour", {"STANDARD": 1}, 3600),
    "mixed": Scenario("the same users, LIVE, STANDARD and BULK", {"STANDARD": 6, "LIVE": 1, "BULK": 3}, 60),
}


class Failed(Exception):
    """A request that got no whole decision; its text is the gRPC status's name, so that locust counts by it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)


def add_arguments(parser: LocustArgumentParser) -> None:
    """Our options, which the web UI shows too."""
    about = "; ".join(f"{name}: {scenario.about}" for name, scenario in SCENARIOS.items())
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="steady", help=about)
    parser.add_argument("--load-s", type=float, default=0.0, help="length of the load, s; 0: the scenario's own")
    parser.add_argument("--peak-users", type=int, default=16, help="users at the scenario's height")
    parser.add_argument("--deadline-ms", type=float, default=1000.0, help="gRPC deadline of each request, ms")
    parser.add_argument("--budget-ms", type=float, default=0.0, help="budget of each request, ms; 0: none")
    parser.add_argument("--texts", action="store_true", help="send texts instead of photos")


events.init_command_line_parser.add_listener(add_arguments)  # type: ignore[no-untyped-call]


class ScenarioShape(LoadTestShape):
    """How many users there are, by the scenario."""

    def tick(self) -> tuple[int, float] | None:
        """(users, users started a second); None ends the test."""
        if self.runner is None:
            return None
        options: Any = self.runner.environment.parsed_options
        whole_s = options.load_s or SCENARIOS[options.scenario].load_s
        at = (time.perf_counter() - self.start_time) / whole_s
        if at >= 1:
            return None
        users = max(1, round(options.peak_users * _height(options.scenario, at)))
        return users, float(max(1, options.peak_users))


def _height(scenario: str, at: float) -> float:
    """Share of the peak's users at a point of the load, [0, 1)."""
    if scenario == "spike":
        return 1.0 if 0.4 <= at < 0.6 else 0.1
    return 0.5 if scenario == "soak" else 1.0


class ModerateUser(User):
    """One caller: a request, its answer, a short pause."""

    wait_time = between(0.0, 0.02)

    def on_start(self) -> None:
        """Connects; requests are serialised once."""
        options: Any = self.environment.parsed_options
        photos = [] if options.texts else [(ROOT / "examples" / name).read_bytes() for name in PHOTOS]
        lines = (ROOT / "examples" / "texts.txt").read_text(encoding="utf-8").splitlines()
        texts = [line for line in lines if line.strip()] if options.texts else []
        self._mix = SCENARIOS[options.scenario].mix
        self._payloads = {lane: moderate_payloads(photos, texts, lane, options.budget_ms or None) for lane in self._mix}
        self._timeout_s = options.deadline_ms / 1e3
        target = (self.host or "127.0.0.1:50051").removeprefix("http://").rstrip("/")
        self._channel = grpc.insecure_channel(target)
        self._call = self._channel.unary_unary(MODERATE, None, pb.ModerateResponse.FromString)

    def on_stop(self) -> None:
        """Hangs up."""
        self._channel.close()

    @task
    def moderate(self) -> None:
        """Sends one item of some lane and reports what became of it."""
        (lane,) = random.choices(list(self._mix), weights=list(self._mix.values()))
        failure: Failed | None = None
        length_bytes = 0
        begun_s = time.perf_counter()
        try:
            response = self._call(random.choice(self._payloads[lane]), timeout=self._timeout_s)
        except grpc.RpcError as error:
            failure = Failed(error.code().name)
        else:
            length_bytes = response.ByteSize()
            if response.decision.degraded:
                failure = Failed("DEGRADED")
        self.environment.events.request.fire(
            request_type="Moderate",
            name=lane,
            response_time=(time.perf_counter() - begun_s) * 1e3,
            response_length=length_bytes,
            exception=failure,
            context={},
        )
