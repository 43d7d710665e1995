"""What is sent: flows of requests, each with its own rate, deadline and payloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.load.arrivals import Arrivals
from floodgate.client import build_request, media_part

MODERATE = "/floodgate.v1.Moderation/Moderate"


@dataclass(frozen=True)
class Flow:
    """Requests of one kind. ``payloads`` are serialised messages, sent in turn to the unary gRPC ``method``. A request
    is due ``deadline_ms`` after its intended send; counted from the send, that is its gRPC deadline too. A budget is
    within the payload."""

    name: str
    rate_per_s: float
    deadline_ms: float
    payloads: tuple[bytes, ...]
    method: str = MODERATE


@dataclass(frozen=True)
class Traffic:
    """``warm_up_s`` at the beginning are sent and not counted; ``seconds`` are. ``connect_s``: how long
    the server may take to accept a connection."""

    target: str
    flows: tuple[Flow, ...]
    seconds: float
    warm_up_s: float = 1.0
    arrivals: Arrivals = Arrivals.POISSON
    seed: int = 1
    connect_s: float = 20.0
    channel_options: tuple[tuple[str, int], ...] = field(
        default=(("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    )

    @property
    def rate_per_s(self) -> float:
        return sum(flow.rate_per_s for flow in self.flows)


def moderate_payloads(
    photos: Sequence[bytes],
    texts: Sequence[str],
    lane: str = "STANDARD",
    budget_ms: float | None = None,
    *,
    trace: bool = False,
) -> tuple[bytes, ...]:
    """One serialised ``ModerateRequest`` for each photo (or video) and each text. Raises InvalidRequest for an unknown
    lane, ValueError when there is nothing to send."""
    made = [
        build_request(
            parts=[media_part(photo)], content_id=f"load-photo-{number}", lane=lane, budget_ms=budget_ms, trace=trace
        )
        for number, photo in enumerate(photos)
    ]
    made += [
        build_request(text=text, content_id=f"load-text-{number}", lane=lane, budget_ms=budget_ms, trace=trace)
        for number, text in enumerate(texts)
    ]
    if not made:
        raise ValueError("a load needs photos or texts")
    return tuple(request.SerializeToString() for request in made)
