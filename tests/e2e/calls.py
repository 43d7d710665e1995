"""Calls by message bytes, so that what no client library would send can be sent too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2

from floodgate.client import build_request
from floodgate.v1 import moderation_pb2 as pb

MODERATE = "/floodgate.v1.Moderation/Moderate"
MODERATE_STREAM = "/floodgate.v1.Moderation/ModerateStream"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Refusal:
    """What a caller is told. ``field`` is BadRequest's; ``retry`` whether there is RetryInfo."""

    code: str
    message: str
    field: str
    retry: bool


def explained(status: status_pb2.Status) -> Refusal:
    """A google.rpc.Status, read."""
    field, retry = "", False
    for detail in status.details:
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad):
            field = bad.field_violations[0].field
        retry = retry or (detail.Unpack(info) and info.retry_delay.ToMilliseconds() > 0)
    code = next(code.name for code in grpc.StatusCode if code.value[0] == status.code)
    return Refusal(code, status.message, field, retry)


def refusal(error: grpc.RpcError) -> Refusal:
    """What a failed call says; without details where gRPC itself refused."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            assert (status.code, status.message) == (error.code().value[0], error.details())
            return explained(status)
    return Refusal(error.code().name, error.details() or "", "", False)


def unary(channel: grpc.Channel, raw: bytes) -> pb.ModerateResponse | Refusal:
    """One Moderate call over message bytes."""
    try:
        return pb.ModerateResponse.FromString(channel.unary_unary(MODERATE)(raw, timeout=60))
    except grpc.RpcError as error:
        return refusal(error)


def stream(channel: grpc.Channel, raws: Iterable[bytes]) -> Iterator[pb.ModerateResponse]:
    """One ModerateStream call over message bytes."""
    for raw in channel.stream_stream(MODERATE_STREAM)(iter(raws), timeout=120):
        yield pb.ModerateResponse.FromString(raw)


def message(change: Callable[[pb.ModerateRequest], object] | None = None, *, request_id: str = "r-1") -> bytes:
    """A sound request about a short text, then changed."""
    request = build_request(text="hello there", content_id="c-1", request_id=request_id)
    if change is not None:
        change(request)
    return request.SerializeToString()
