"""Clients for people and programs that call Floodgate from Python.

    from floodgate import Client

    with Client("127.0.0.1:50051") as client:
        decision = client.moderate(image=open("photo.jpg", "rb").read(), text="a caption", timeout=1.0)
        print(decision.action, [finding.rule_id for finding in decision.findings])

Both clients return the ``floodgate.v1.Decision`` message and raise the errors of ``floodgate.errors``. Neither
retries: the caller knows its deadline and whether a retry is worth it (``Overloaded.retry_after_ms`` says when).
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from floodgate.errors import FloodgateError, InternalError, InvalidRequest, Unavailable
from floodgate.types import SignalValue
from floodgate.v1 import moderation_pb2 as pb
from floodgate.wire.status import from_status

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
SERVICE = "floodgate.v1.Moderation"
_MODERATE = f"/{SERVICE}/Moderate"
_MODERATE_STREAM = f"/{SERVICE}/ModerateStream"
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_QUICKTIME_BOXES = (b"moov", b"mdat", b"moof", b"styp", b"sidx", b"wide", b"free", b"skip", b"pnot")
_TS_PACKETS = ((0, 188), (4, 192))  # (first sync byte, bytes to the next)


def looks_like_video(data: bytes) -> bool:
    """Whether bytes begin as a video container does (MP4 and its kin, Matroska, MPEG-TS, AVI, FLV). Only a word for the
    request: what a part is, the server reads from its bytes."""
    box = data[4:8]
    if box == b"ftyp":
        return data[8:12] not in _STILL_BRANDS
    if box in _QUICKTIME_BOXES or data.startswith((b"\x1aE\xdf\xa3", b"FLV\x01")):
        return True
    if data.startswith(b"RIFF"):
        return data[8:12] == b"AVI "
    # A packet begins with 0x47; on Blu-ray and camcorders with four bytes of time stamp before it.
    return any(data[at : at + 1] == b"G" == data[at + step : at + step + 1] for at, step in _TS_PACKETS)


def image_part(
    data: bytes, *, role: str = "MAIN", part_id: str = "", max_frames: int = 0, min_interval_ms: int | None = None
) -> pb.Part:
    """A picture: encoded bytes in any format that the server reads. ``role`` is a Role name without its prefix;
    ``max_frames`` and ``min_interval_ms`` are ``Sampling``'s, for animated ones; left out, the policy decides."""
    image = pb.Image(data=data, sampling=_sampling(max_frames, min_interval_ms))
    return pb.Part(part_id=part_id, role=_value(pb.Role, "ROLE_", role), image=image)


def video_part(
    data: bytes, *, role: str = "MAIN", part_id: str = "", max_frames: int = 0, min_interval_ms: int | None = None
) -> pb.Part:
    """A video: encoded bytes in any container that the server reads. Keywords as in ``image_part``."""
    video = pb.Video(data=data, sampling=_sampling(max_frames, min_interval_ms))
    return pb.Part(part_id=part_id, role=_value(pb.Role, "ROLE_", role), video=video)


def media_part(
    data: bytes, *, role: str = "MAIN", part_id: str = "", max_frames: int = 0, min_interval_ms: int | None = None
) -> pb.Part:
    """A picture or a video, by its first bytes."""
    make = video_part if looks_like_video(data) else image_part
    return make(data, role=role, part_id=part_id, max_frames=max_frames, min_interval_ms=min_interval_ms)


def _sampling(max_frames: int, min_interval_ms: int | None) -> pb.Sampling | None:
    if not max_frames and min_interval_ms is None:
        return None
    return pb.Sampling(max_frames=max_frames, min_interval_ms=min_interval_ms)


def text_part(text: str, *, role: str = "MAIN", language: str = "", part_id: str = "") -> pb.Part:
    """A text. ``language`` is a BCP 47 tag; empty when not known."""
    return pb.Part(part_id=part_id, role=_value(pb.Role, "ROLE_", role), text=pb.Text(text=text, language=language))


def build_request(
    *,
    image: bytes | Sequence[bytes] | None = None,
    video: bytes | Sequence[bytes] | None = None,
    text: str | Sequence[str] | None = None,
    parts: Iterable[pb.Part] = (),
    content_id: str = "",
    content_version: str = "",
    request_id: str = "",
    surface: str = "",
    trigger: str = "UPLOAD",
    lane: str = "STANDARD",
    mode: str = "ENFORCE",
    language: str = "",
    origin_market: str = "",
    markets: Sequence[str] = (),
    viewer_audience: str = "",
    creator_id: str = "",
    signals: Mapping[str, SignalValue] | None = None,
    declared_labels: Sequence[str] = (),
    policy_revision: str = "",
    budget_ms: float | None = None,
    trace: bool = False,
) -> pb.ModerateRequest:
    """Builds a request from plain values.

    ``image``, ``video`` and ``text`` are shorthands for MAIN pictures and videos and for texts (CAPTION beside either,
    MAIN alone); use ``parts`` with ``image_part``, ``video_part`` and ``text_part`` for anything else. ``content_id``
    is made up when empty, which suits trials only: a real caller names its content. Raises InvalidRequest for a name
    that the contract does not know.
    """
    images = [image] if isinstance(image, bytes) else list(image or ())
    texts = [text] if isinstance(text, str) else list(text or ())
    videos = [video] if isinstance(video, bytes) else list(video or ())
    text_role = "CAPTION" if images or videos else "MAIN"
    all_parts = [image_part(data) for data in images]
    all_parts += [video_part(data) for data in videos]
    all_parts += [text_part(words, role=text_role, language=language) for words in texts]
    all_parts += list(parts)
    request = pb.ModerateRequest(
        request_id=request_id or str(uuid.uuid4()),
        content_id=content_id or f"adhoc-{uuid.uuid4()}",
        content_version=content_version,
        surface=surface,
        trigger=_value(pb.Trigger, "TRIGGER_", trigger),
        parts=all_parts,
        context=pb.Context(
            origin_market=origin_market,
            markets=markets,
            viewer_audience=viewer_audience,
            creator_id=creator_id,
            signals={name: _signal(value) for name, value in (signals or {}).items()},
            declared_labels=declared_labels,
        ),
        lane=_value(pb.Lane, "LANE_", lane),
        policy_revision=policy_revision,
        trace=trace,
        mode=_value(pb.Mode, "MODE_", mode),
    )
    if budget_ms is not None:
        budget = duration_pb2.Duration()
        budget.FromNanoseconds(int(budget_ms * 1e6))
        request.budget.CopyFrom(budget)
    return request


def _value(enum: Any, prefix: str, name: str) -> Any:
    try:
        return enum.Value(prefix + name)
    except ValueError:
        known = ", ".join(key.removeprefix(prefix) for key in enum.keys()[1:])
        raise InvalidRequest(f"{name!r} is not one of {known}") from None


def _signal(value: SignalValue) -> pb.Signal:
    if isinstance(value, bool):
        return pb.Signal(flag=value)
    if isinstance(value, str):
        return pb.Signal(text=value)
    return pb.Signal(number=value)


def _error(failure: grpc.RpcError, target: str) -> FloodgateError:
    """The FloodgateError behind a failed call, from its rich status where the server sent one."""
    for key, value in failure.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return from_status(status_pb2.Status.FromString(value))
    code = failure.code()
    if code is grpc.StatusCode.UNAVAILABLE:  # without details it is gRPC's own: nobody answered
        return Unavailable(f"no Floodgate server can be reached at {target} ({failure.details() or 'no answer'})")
    return from_status(status_pb2.Status(code=code.value[0], message=failure.details() or code.name))


def _decision(response: pb.ModerateResponse) -> pb.Decision:
    which = response.WhichOneof("result")
    if which == "decision":
        return response.decision
    if which == "error":
        raise from_status(response.error)
    raise InternalError("the server's answer holds neither a decision nor an error")


def health(target: str, *, service: str = SERVICE, timeout: float = 5.0) -> str:
    """What the server at HOST:PORT says of itself: SERVING, NOT_SERVING, or, where nobody answers, UNREACHABLE. A
    server that answers otherwise has its gRPC status code returned: NOT_FOUND (it does not know ``service``),
    UNIMPLEMENTED (it does not tell its health) …"""
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as failure:
            code = failure.code()
            return "UNREACHABLE" if code in _NO_ANSWER else str(code.name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


class Client:
    """A blocking client over one channel; safe to share between threads."""

    def __init__(self, target: str = "127.0.0.1:50051") -> None:
        self._target = target
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._moderate = self._channel.unary_unary(
            _MODERATE, pb.ModerateRequest.SerializeToString, pb.ModerateResponse.FromString
        )
        self._stream = self._channel.stream_stream(
            _MODERATE_STREAM, pb.ModerateRequest.SerializeToString, pb.ModerateResponse.FromString
        )

    def moderate(self, *, timeout: float | None = None, **fields: Any) -> pb.Decision:
        """Judges one item. Keywords are ``build_request``'s; ``timeout`` is the gRPC deadline in seconds."""
        return self.send(build_request(**fields), timeout=timeout)

    def send(self, request: pb.ModerateRequest, *, timeout: float | None = None) -> pb.Decision:
        """Judges one item given as a request message."""
        try:
            return _decision(self._moderate(request, timeout=timeout))
        except grpc.RpcError as failure:
            raise _error(failure, self._target) from None

    def stream(
        self, requests: Iterable[pb.ModerateRequest], *, timeout: float | None = None
    ) -> Iterable[pb.ModerateResponse]:
        """Judges many items; yields responses in completion order, errors of single items included."""
        try:
            yield from self._stream(iter(requests), timeout=timeout)
        except grpc.RpcError as failure:
            raise _error(failure, self._target) from None

    def close(self) -> None:
        """Closes the channel; calls under way fail with Cancelled."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio; belongs to the event loop it is created on."""

    def __init__(self, target: str = "127.0.0.1:50051") -> None:
        self._target = target
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._moderate = self._channel.unary_unary(
            _MODERATE, pb.ModerateRequest.SerializeToString, pb.ModerateResponse.FromString
        )
        self._stream = self._channel.stream_stream(
            _MODERATE_STREAM, pb.ModerateRequest.SerializeToString, pb.ModerateResponse.FromString
        )

    async def moderate(self, *, timeout: float | None = None, **fields: Any) -> pb.Decision:
        """As ``Client.moderate``. Cancelling the task cancels the call."""
        return await self.send(build_request(**fields), timeout=timeout)

    async def send(self, request: pb.ModerateRequest, *, timeout: float | None = None) -> pb.Decision:
        """As ``Client.send``."""
        try:
            return _decision(await self._moderate(request, timeout=timeout))
        except grpc.RpcError as failure:
            raise _error(failure, self._target) from None

    async def stream(
        self,
        requests: Iterable[pb.ModerateRequest] | AsyncIterable[pb.ModerateRequest],
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[pb.ModerateResponse]:
        """As ``Client.stream``."""
        try:
            async for response in self._stream(requests, timeout=timeout):
                yield response
        except grpc.RpcError as failure:
            raise _error(failure, self._target) from None

    async def close(self) -> None:
        """Closes the channel; calls under way fail with Cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
