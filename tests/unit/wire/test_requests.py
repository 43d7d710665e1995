"""Every rule of the request contract, and the name of the field that breaks it."""

from __future__ import annotations

import pytest

from floodgate.client import build_request, image_part, text_part, video_part
from floodgate.config import Caller, Limits
from floodgate.errors import InvalidRequest, PermissionDenied
from floodgate.types import Lane, Modality, Role, Sampling
from floodgate.v1 import moderation_pb2 as pb
from floodgate.wire.requests import Asked, parse, to_item


def ask(request: pb.ModerateRequest, *, limits: Limits | None = None, rights: Caller | None = None) -> Asked:
    return to_item(request, request_id="r", limits=limits or Limits(), caller="default", rights=rights or Caller())


def simple() -> pb.ModerateRequest:
    return build_request(text="hello", content_id="c")


def test_a_minimal_request_gets_the_documented_defaults() -> None:
    item = ask(pb.ModerateRequest(content_id="c", parts=[pb.Part(text=pb.Text(text="hi"))])).item
    assert (item.lane, item.trigger, item.mode) == (Lane.STANDARD, "UPLOAD", "ENFORCE")
    (part,) = item.parts
    assert (part.part_id, part.role, part.modality, part.content.data) == ("0", Role.MAIN, Modality.TEXT, b"hi")


def test_markets_are_kept_in_order_without_repeats() -> None:
    request = build_request(text="x", markets=["DE", "FR", "DE"])
    assert ask(request).item.context.markets == ("DE", "FR")


BROKEN = {
    "content_id": lambda r: r.ClearField("content_id"),
    "request_id": lambda r: setattr(r, "request_id", "x" * 129),
    "content_version": lambda r: setattr(r, "content_version", "x" * 129),
    "policy_revision": lambda r: setattr(r, "policy_revision", "é" * 65),
    "trigger": lambda r: setattr(r, "trigger", 77),
    "lane": lambda r: setattr(r, "lane", 9),
    "mode": lambda r: setattr(r, "mode", -1),
    "parts": lambda r: r.ClearField("parts"),
    "parts[0].role": lambda r: setattr(r.parts[0], "role", 99),
    "parts[0]": lambda r: r.parts[0].ClearField("media"),
    "parts[0].text.language": lambda r: setattr(r.parts[0].text, "language", "not a tag"),
    "parts[1].part_id": lambda r: r.parts.extend([pb.Part(part_id="0", text=pb.Text(text="again"))]),
    "parts[0].video.sampling.max_frames": lambda r: r.parts[0].CopyFrom(video_part(b"v", max_frames=1025)),
    "parts[0].image.sampling.min_interval_ms": lambda r: r.parts[0].CopyFrom(
        image_part(b"i", min_interval_ms=3_600_001)
    ),
    "budget": lambda r: r.budget.FromSeconds(0),
    "context.origin_market": lambda r: setattr(r.context, "origin_market", "de"),
    "context.markets[1]": lambda r: r.context.markets.extend(["DE", "Germany"]),
    "context.markets": lambda r: r.context.markets.extend(["DE"] * 251),
    "context.creator_id": lambda r: setattr(r.context, "creator_id", "x" * 257),
    "context.declared_labels": lambda r: r.context.declared_labels.extend(["a"] * 65),
    "context.signals[strikes]": lambda r: setattr(r.context.signals["strikes"], "number", float("nan")),
    "context.signals[empty]": lambda r: r.context.signals["empty"].SetInParent(),
}


@pytest.mark.parametrize("field", BROKEN)
def test_a_broken_rule_names_its_field(field: str) -> None:
    request = simple()
    BROKEN[field](request)
    with pytest.raises(InvalidRequest) as raised:
        ask(request)
    assert raised.value.field == field
    assert field.split("[")[0].split(".")[-1] in raised.value.message


def test_what_is_asked_of_a_video_is_kept_apart_from_what_is_not_said() -> None:
    parts = [
        video_part(b"v"),
        video_part(b"v", max_frames=1024, min_interval_ms=0),
        image_part(b"i", min_interval_ms=250),
    ]
    asked = [(part.modality, part.sampling) for part in ask(build_request(parts=parts)).item.parts]
    assert asked == [
        (Modality.VIDEO, Sampling(0, None)),
        (Modality.VIDEO, Sampling(1024, 0)),
        (Modality.IMAGE, Sampling(0, 250)),
    ]


def test_ten_thousand_parts_are_refused() -> None:
    request = pb.ModerateRequest(content_id="c", parts=[pb.Part(text=pb.Text(text="x"))] * 10_000)
    with pytest.raises(InvalidRequest, match="parts has 10000 entries; at most 64"):
        ask(request)


def test_an_item_of_context_alone_has_nothing_to_judge() -> None:
    with pytest.raises(InvalidRequest, match="nothing to judge"):
        ask(build_request(parts=[text_part("x", role="CONTEXT")]))


@pytest.mark.parametrize(
    ("rights", "fields"),
    [
        (Caller(lanes=("STANDARD",)), {"lane": "LIVE"}),
        (Caller(trace=False), {"trace": True}),
        (Caller(pin_policy=False), {"policy_revision": "r1"}),
        (Caller(evaluate=False), {"mode": "EVALUATE"}),
    ],
)
def test_a_caller_without_the_right_is_refused(rights: Caller, fields: dict[str, object]) -> None:
    with pytest.raises(PermissionDenied):
        ask(build_request(text="x", **fields), rights=rights)  # type: ignore[arg-type]


def test_a_budget_is_kept_to_the_nanosecond() -> None:
    request = build_request(text="x", budget_ms=50.000001)
    assert ask(request).budget_ns == 50_000_001


def test_invalid_utf8_names_the_field_that_holds_it() -> None:
    good = build_request(text="abc", parts=[image_part(b"\xff\xd8")], content_id="c")
    raw = good.SerializeToString().replace(b"abc", b"a\xffc")
    with pytest.raises(InvalidRequest) as raised:
        parse(raw)
    assert raised.value.field == "parts[0].text.text"
    assert "not valid UTF-8" in raised.value.message


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x0a\xff\xff\xff\xff\x0f", "says"),
        (b"\x0a", "cut short"),
        (b"\x0f\x01", "wire type"),
        (b"\xff" * 12, "more than 64 bits"),
    ],
)
def test_bytes_that_are_no_message_say_where_they_break(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse(raw)
