"""From a request message to an Item: every rule of the contract that needs no policy to check.

A rule that is broken raises InvalidRequest with the field's path; nothing is coerced or cut.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.message import DecodeError

from floodgate.config import Caller, Limits
from floodgate.errors import InvalidRequest, PermissionDenied
from floodgate.types import Content, Context, Item, Lane, Modality, Part, Role, Sampling, SignalValue
from floodgate.v1 import moderation_pb2 as pb
from floodgate.wire.malformed import explain

_MARKET = re.compile(r"[A-Z]{2}")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_MAX_ID = 128
_MAX_NAME = 256
_MAX_MARKETS = 250
_MAX_SIGNALS = 64
_MAX_SIGNAL_TEXT = 1024
_MAX_DECLARED_LABELS = 64
_MAX_FRAMES = 1024  # kMaxPlannedFrames in cpp/include/floodgate/sequence.h
_MAX_INTERVAL_MS = 3_600_000


_NO_CONTEXT = Context(signals=MappingProxyType({}))
_UNSAID = Sampling()


@dataclass(frozen=True, slots=True)
class Asked:
    """An item and the time its caller gave it. ``budget_ns`` is None when the request states none."""

    item: Item
    budget_ns: int | None


def parse(raw: bytes) -> pb.ModerateRequest:
    """Parses message bytes; InvalidRequest names the field that breaks the encoding."""
    try:
        return pb.ModerateRequest.FromString(raw)
    except DecodeError:
        field, message = explain(raw, pb.DESCRIPTOR.message_types_by_name["ModerateRequest"])
        raise InvalidRequest(message, field=field) from None


def to_item(request: pb.ModerateRequest, *, request_id: str, limits: Limits, caller: str, rights: Caller) -> Asked:
    """Checks a request against the contract, the limits and the caller's rights.

    Raises InvalidRequest or PermissionDenied.
    """
    _bounded("request_id", request.request_id, _MAX_ID)
    if not request.content_id:
        raise InvalidRequest("content_id is required", field="content_id")
    _bounded("content_id", request.content_id, _MAX_NAME)
    _bounded("content_version", request.content_version, _MAX_ID)
    _bounded("surface", request.surface, _MAX_ID)
    _bounded("policy_revision", request.policy_revision, _MAX_ID)
    lane = _lane(request, rights)
    trigger = _enum_name("trigger", request.trigger, _TRIGGERS)
    mode = _enum_name("mode", request.mode, _MODES)
    if mode == "EVALUATE" and not rights.evaluate:
        raise PermissionDenied(f"caller {caller!r} may not use mode EVALUATE")
    if request.trace and not rights.trace:
        raise PermissionDenied(f"caller {caller!r} may not ask for trace")
    if request.policy_revision and not rights.pin_policy:
        raise PermissionDenied(f"caller {caller!r} may not pin policy_revision")
    item = Item(
        request_id=request_id,
        content_id=request.content_id,
        content_version=request.content_version,
        surface=request.surface,
        trigger=trigger,
        parts=_parts(request, limits),
        context=_context(request.context) if request.HasField("context") else _NO_CONTEXT,
        lane=lane,
        policy_revision=request.policy_revision,
        trace=request.trace,
        mode=mode,
        caller=caller,
    )
    return Asked(item, _budget_ns(request))


def _bounded(field: str, value: str, limit: int) -> None:
    if 4 * len(value) <= limit:  # UTF-8 takes no more than four bytes a character
        return
    size = len(value.encode())
    if size > limit:
        raise InvalidRequest(f"{field} is {size} bytes long; at most {limit} are allowed", field=field)


def _names(enum: type, prefix: str, default: str) -> dict[int, str]:
    """An enum's names without their prefix by value; 0, not said, is ``default``."""
    return {number: name.removeprefix(prefix) for name, number in enum.items()} | {0: default}  # type: ignore[attr-defined]


_LANES = _names(pb.Lane, "LANE_", "STANDARD")
_TRIGGERS = _names(pb.Trigger, "TRIGGER_", "UPLOAD")
_MODES = _names(pb.Mode, "MODE_", "ENFORCE")
_ROLES = _names(pb.Role, "ROLE_", "MAIN")


def _enum_name(field: str, value: int, names: dict[int, str]) -> str:
    name = names.get(value)
    if name is None:
        known = ", ".join(each for number, each in names.items() if number)
        raise InvalidRequest(f"{field} has the unknown value {value}; known are {known}", field=field)
    return name


def _lane(request: pb.ModerateRequest, rights: Caller) -> Lane:
    name = _enum_name("lane", request.lane, _LANES)
    if name not in rights.lanes:
        raise PermissionDenied(f"this caller may not use lane {name}; allowed are {', '.join(rights.lanes)}")
    return Lane[name]


def _budget_ns(request: pb.ModerateRequest) -> int | None:
    if not request.HasField("budget"):
        return None
    nanos = int(request.budget.seconds) * 1_000_000_000 + int(request.budget.nanos)
    if nanos <= 0:
        raise InvalidRequest("budget must be more than zero", field="budget")
    return nanos


def _parts(request: pb.ModerateRequest, limits: Limits) -> tuple[Part, ...]:
    count = len(request.parts)
    if count == 0:
        raise InvalidRequest("parts is empty; an item has at least one part", field="parts")
    if count > limits.parts:
        raise InvalidRequest(f"parts has {count} entries; at most {limits.parts} are allowed", field="parts")
    parts: list[Part] = []
    ids: set[str] = set()
    for index, message in enumerate(request.parts):
        path = f"parts[{index}]"
        _bounded(f"{path}.part_id", message.part_id, _MAX_ID)
        part_id = message.part_id or str(index)
        if part_id in ids:
            raise InvalidRequest(f"{path}.part_id {part_id!r} is used by another part", field=f"{path}.part_id")
        ids.add(part_id)
        role = Role[_enum_name(f"{path}.role", message.role, _ROLES)]
        parts.append(_part(message, path, part_id, role))
    if all(part.role is Role.CONTEXT for part in parts):
        raise InvalidRequest("every part has role CONTEXT; there is nothing to judge", field="parts")
    return tuple(parts)


def _part(message: pb.Part, path: str, part_id: str, role: Role) -> Part:
    kind = message.WhichOneof("media")
    if kind == "image":
        image = message.image
        sampling = _sampling(image, f"{path}.image.sampling")
        return Part(part_id, role, Modality.IMAGE, Content(image.data), sampling=sampling)
    if kind == "video":
        video = message.video
        sampling = _sampling(video, f"{path}.video.sampling")
        return Part(part_id, role, Modality.VIDEO, Content(video.data), sampling=sampling)
    if kind == "text":
        language = message.text.language
        if language and (len(language) > 35 or not _LANGUAGE.fullmatch(language)):
            raise InvalidRequest(
                f"{path}.text.language is not a BCP 47 tag such as 'en' or 'pt-BR'",
                field=f"{path}.text.language",
            )
        return Part(part_id, role, Modality.TEXT, Content(message.text.text.encode()), language)
    raise InvalidRequest(f"{path} has no media that this server knows: set text, image or video", field=path)


def _sampling(medium: pb.Image | pb.Video, path: str) -> Sampling:
    if not medium.HasField("sampling"):
        return _UNSAID
    message = medium.sampling
    if message.max_frames > _MAX_FRAMES:
        field = f"{path}.max_frames"
        raise InvalidRequest(f"{field} is {message.max_frames}; at most {_MAX_FRAMES} are allowed", field=field)
    if message.min_interval_ms > _MAX_INTERVAL_MS:
        field = f"{path}.min_interval_ms"
        raise InvalidRequest(
            f"{field} is {message.min_interval_ms}; at most {_MAX_INTERVAL_MS} are allowed", field=field
        )
    interval = message.min_interval_ms if message.HasField("min_interval_ms") else None
    return Sampling(message.max_frames, interval)


def _context(message: pb.Context) -> Context:
    _bounded("context.creator_id", message.creator_id, _MAX_NAME)
    _bounded("context.viewer_audience", message.viewer_audience, _MAX_ID)
    if message.origin_market:
        _market("context.origin_market", message.origin_market)
    _at_most("context.markets", len(message.markets), _MAX_MARKETS)
    markets: dict[str, None] = {}
    for index, market in enumerate(message.markets):
        _market(f"context.markets[{index}]", market)
        markets[market] = None
    _at_most("context.signals", len(message.signals), _MAX_SIGNALS)
    for name in message.signals:
        _signal_name(name)
    _at_most("context.declared_labels", len(message.declared_labels), _MAX_DECLARED_LABELS)
    for index, label in enumerate(message.declared_labels):
        _bounded(f"context.declared_labels[{index}]", label, _MAX_ID)
    return Context(
        origin_market=message.origin_market,
        markets=tuple(markets),
        viewer_audience=message.viewer_audience,
        creator_id=message.creator_id,
        signals={name: _signal(name, value) for name, value in sorted(message.signals.items())},
        declared_labels=tuple(message.declared_labels),
    )


def _market(field: str, value: str) -> None:
    if not _MARKET.fullmatch(value):
        raise InvalidRequest(f"{field} is not an ISO 3166-1 alpha-2 code in upper case such as 'DE'", field=field)


def _at_most(field: str, count: int, limit: int) -> None:
    if count > limit:
        raise InvalidRequest(f"{field} has {count} entries; at most {limit} are allowed", field=field)


def _signal_name(name: str) -> None:
    if not name:
        raise InvalidRequest("context.signals has a signal without a name", field="context.signals")
    size = len(name.encode())
    if size > _MAX_ID:
        raise InvalidRequest(
            f"a name in context.signals is {size} bytes long; at most {_MAX_ID} are allowed", field="context.signals"
        )


def _signal(name: str, message: pb.Signal) -> SignalValue:
    field = f"context.signals[{name}]"
    kind = message.WhichOneof("value")
    if kind == "flag":
        return bool(message.flag)
    if kind == "number":
        if not math.isfinite(message.number):
            raise InvalidRequest(f"{field} is not a finite number", field=field)
        return float(message.number)
    if kind == "text":
        _bounded(field, message.text, _MAX_SIGNAL_TEXT)
        return str(message.text)
    raise InvalidRequest(f"{field} has no value that this server knows", field=field)
