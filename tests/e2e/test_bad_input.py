"""What callers get wrong: each mistake gets its own plain answer, and nobody else notices."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import grpc
import pytest
from calls import UNLIMITED, Refusal, explained, message, stream, unary
from observed import assert_at_rest
from specimens import ODD_TEXTS, PICTURES, PNG, TEXTS, Specimen

from bench.server import Server
from floodgate import Client
from floodgate.client import build_request, image_part, text_part
from floodgate.v1 import moderation_pb2 as pb

State = pb.PartStatus.State
Request = pb.ModerateRequest


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target, options=UNLIMITED) as open_channel:
        yield open_channel


@pytest.fixture(autouse=True)
def nothing_else_notices(server: Server, counter: Callable[..., float]) -> Iterator[None]:
    """The process, its Triton and its memory are as they were."""
    yield
    assert server.process.poll() is None
    assert counter("floodgate_triton_restarts_total") == 0
    assert_at_rest(server)


@pytest.fixture(scope="session")
def good_score(server: Server) -> float:
    with Client(server.target) as client:
        (score,) = client.moderate(image=PNG, trace=True, timeout=60).scores
    return score.score


def beside_a_good_picture(part: pb.Part, request_id: str = "") -> pb.ModerateRequest:
    part.part_id = "bad"
    return build_request(parts=[part, image_part(PNG, part_id="good")], request_id=request_id, trace=True)


def assert_unreadable(decision: pb.Decision, specimen: Specimen, good_score: float) -> None:
    bad, good = decision.parts
    assert bad.state == State.STATE_UNREADABLE, specimen.name
    assert bad.reason_code == specimen.reason_code, bad.reason
    assert re.search(specimen.words, bad.reason), bad.reason
    assert good.state == State.STATE_JUDGED
    assert [(score.part_id, score.score) for score in decision.scores] == [("good", good_score)]
    assert decision.review.hold
    assert decision.review.queue == "unreadable_media"
    assert [finding.gap.kind for finding in decision.findings] == [pb.Finding.Gap.KIND_UNREADABLE]


@pytest.mark.parametrize("specimen", [*PICTURES, *TEXTS], ids=lambda specimen: specimen.name)
def test_content_that_cannot_be_read_is_held_with_a_reason_and_its_neighbour_is_judged(
    client: Client, good_score: float, specimen: Specimen
) -> None:
    decision = client.send(beside_a_good_picture(part_of(specimen)), timeout=60)
    assert_unreadable(decision, specimen, good_score)


def part_of(specimen: Specimen) -> pb.Part:
    return text_part(specimen.data.decode()) if specimen in TEXTS else image_part(specimen.data)


def test_a_stream_gives_the_same_answers(client: Client, good_score: float) -> None:
    specimens = {specimen.name: specimen for specimen in (*PICTURES, *TEXTS)}
    requests = [beside_a_good_picture(part_of(specimen), name) for name, specimen in specimens.items()]
    answers = list(client.stream(requests, timeout=120))
    assert sorted(answer.request_id for answer in answers) == sorted(specimens)
    for answer in answers:
        assert_unreadable(answer.decision, specimens[answer.request_id], good_score)


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_a_text_without_words_is_scored_out_of_competence_and_passes(client: Client, name: str) -> None:
    decision = client.moderate(text=ODD_TEXTS[name], trace=True, timeout=60)
    assert decision.parts[0].state == State.STATE_JUDGED
    assert not any(score.in_competence for score in decision.scores)
    assert all(score.competence_reason for score in decision.scores)
    assert decision.action == pb.ACTION_ALLOW
    assert not decision.findings


def test_an_empty_text_is_skipped_and_holds_nothing_up(client: Client, good_score: float) -> None:
    decision = client.moderate(image=PNG, text="", parts=[text_part("", part_id="title")], trace=True, timeout=60)
    assert decision.parts[1].state == State.STATE_SKIPPED
    assert decision.parts[1].reason_code == "EMPTY"
    assert "empty" in decision.parts[1].reason
    assert [score.score for score in decision.scores] == [good_score]
    assert not decision.HasField("review")
    assert not decision.degraded


def repeat_parts(count: int) -> Callable[[Request], object]:
    return lambda r: r.parts.extend([text_part("hello")] * (count - len(r.parts)))


def declare(label: str) -> Callable[[Request], object]:
    return lambda r: r.context.declared_labels.append(label)


def put(path: str, value: object) -> Callable[[Request], object]:
    *nodes, last = path.split(".")

    def change(request: Request) -> None:
        node: object = request
        for name in nodes:
            node = getattr(node, name)
        setattr(node, last, value)

    return change


def in_part(name: str, value: object) -> Callable[[Request], object]:
    return lambda r: setattr(r.parts[0], name, value)


# What is wrong -> (message bytes, the field to be named, words of the sentence); INVALID_ARGUMENT all.
MALFORMED: dict[str, tuple[bytes, str, str]] = {
    "no_content_id": (message(put("content_id", "")), "content_id", "content_id is required"),
    "content_id_too_long": (message(put("content_id", "x" * 257)), "content_id", "257 bytes.*256"),
    "no_parts": (message(lambda r: r.ClearField("parts")), "parts", "parts is empty"),
    "10000_parts": (message(repeat_parts(10_000)), "parts", "10000 entries; at most 64"),
    "65_parts": (message(repeat_parts(65)), "parts", "65 entries; at most 64"),
    "part_without_media": (message(lambda r: r.parts.add()), "parts[1]", "set text, image or video"),
    "part_id_twice": (message(lambda r: r.parts.append(text_part("a", part_id="0"))), "parts[1].part_id", "another"),
    "only_context": (message(in_part("role", pb.ROLE_CONTEXT)), "parts", "nothing to judge"),
    "unknown_role": (message(in_part("role", 42)), "parts[0].role", "42; known are MAIN"),
    "unknown_lane": (message(put("lane", 99)), "lane", "99; known are STANDARD, LIVE, BULK"),
    "negative_lane": (message(put("lane", -1)), "lane", "-1; known are"),
    "unknown_trigger": (message(put("trigger", 77)), "trigger", "77; known are UPLOAD"),
    "unknown_mode": (message(put("mode", 5)), "mode", "5; known are ENFORCE, EVALUATE"),
    "unknown_surface": (message(put("surface", "billboard")), "surface", "'billboard'.*short_video"),
    "surface_too_long": (message(put("surface", "é" * 50_000)), "surface", "100000 bytes.*128"),
    "unknown_audience": (message(put("context.viewer_audience", "x")), "context.viewer_audience", "'x'.*minor"),
    "market_in_lower_case": (message(lambda r: r.context.markets.append("de")), "context.markets[0]", "alpha-2"),
    "unknown_label": (message(declare("nothing")), "context.declared_labels", "unknown label 'nothing'"),
    "label_too_long": (message(declare("é" * 50_000)), "context.declared_labels[0]", "100000 bytes.*128"),
    "signal_without_name": (message(lambda r: put("number", 1)(r.context.signals[""])), "context.signals", "name"),
    "signal_name_too_long": (
        message(lambda r: put("number", 1)(r.context.signals["é" * 50_000])),
        "context.signals",
        "100000 bytes.*128",
    ),
    "signal_without_value": (
        message(lambda r: r.context.signals["creator_strikes"].SetInParent()),
        "context.signals[creator_strikes]",
        "no value",
    ),
    "signal_of_another_type": (
        message(lambda r: put("text", "x")(r.context.signals["creator_strikes"])),
        "context.signals[creator_strikes]",
        "is a number",
    ),
    "language_that_is_none": (
        message(lambda r: put("language", "!")(r.parts[0].text)),
        "parts[0].text.language",
        "BCP",
    ),
    "budget_of_nothing": (message(lambda r: r.budget.SetInParent()), "budget", "more than zero"),
    "negative_budget": (message(put("budget.seconds", -1)), "budget", "more than zero"),
    "garbage": (b"\xff\xff\xff\xff", "", "not a valid ModerateRequest.*cut short"),
    "cut_short": (message()[:-3], "", "not a valid ModerateRequest.*cut short"),
    "field_number_0": (b"\x00\x01", "", "not a valid ModerateRequest"),
    "content_id_not_utf8": (b"\x12\x02\xff\xfe", "content_id", "content_id is not valid UTF-8"),
    "text_not_utf8": (
        b"\x12\x01c\x32\x07\x1a\x05\x0a\x03\xff\xfe\xfd",
        "parts[0].text.text",
        "parts\\[0\\].text.text is not valid UTF-8",
    ),
    "signal_name_not_utf8": (message() + b"\x3a\x06\x2a\x04\x0a\x02\xff\xfe", "context.signals[0].key", "UTF-8"),
    "just_over_the_message_limit": (message() + b"\xa2\x06\x80\x80\x80\x28" + bytes(80 << 20), "", "at most 83886080"),
}


def assert_refused(answer: pb.ModerateResponse | Refusal, field: str, words: str) -> None:
    assert isinstance(answer, Refusal), answer
    assert answer.code == "INVALID_ARGUMENT", answer
    assert answer.field == field
    assert re.search(words, answer.message), answer.message
    assert len(answer.message) < 1200


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_with_the_field_and_a_sentence(channel: grpc.Channel, name: str) -> None:
    raw, field, words = MALFORMED[name]
    assert_refused(unary(channel, raw), field, words)
    assert isinstance(unary(channel, message()), pb.ModerateResponse)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_item_does_not_end_its_stream(channel: grpc.Channel, name: str) -> None:
    raw, field, words = MALFORMED[name]
    around = [message(request_id="before"), raw, message(request_id="after")]
    answers = list(stream(channel, around))
    (refused,) = [answer for answer in answers if answer.WhichOneof("result") == "error"]
    assert_refused(explained(refused.error), field, words)
    assert {"before", "after"} <= {answer.request_id for answer in answers if answer.HasField("decision")}
    assert len(answers) == 3


@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        (message(put("content_id", "")), ("r-1", "")),
        (message(put("lane", 99)), ("r-1", "c-1")),
        (message() + b"\x22\x01\xff", ("r-1", "c-1")),
        (message()[:-3], ("r-1", "c-1")),
        (message()[:4], ("", "")),
        (message() + b"\xa2\x06\x80\x80\x80\x28" + bytes(80 << 20), ("r-1", "c-1")),
    ],
    ids=["no_content_id", "unknown_lane", "surface_not_utf8", "cut_short", "cut_within_the_id", "too_long"],
)
def test_a_refused_item_is_answered_under_its_own_ids_as_far_as_they_can_be_read(
    channel: grpc.Channel, raw: bytes, ids: tuple[str, str]
) -> None:
    (answer,) = stream(channel, [raw])
    assert (answer.request_id, answer.content_id) == ids


def test_a_request_id_that_is_too_long_is_refused_by_name(channel: grpc.Channel) -> None:
    raw = message(request_id="x" * 100_000)
    assert_refused(unary(channel, raw), "request_id", "100000 bytes long; at most 128")


def test_a_message_far_over_the_limit_is_not_even_received(channel: grpc.Channel) -> None:
    answer = unary(channel, message() + b"\xa2\x06\x80\x80\x80\x50" + bytes(160 << 20))
    assert isinstance(answer, Refusal)
    assert answer.code == "RESOURCE_EXHAUSTED"
    assert "is 167772203 bytes long; at most 167772160 are received" in answer.message


def test_an_unknown_pinned_revision_is_not_found(channel: grpc.Channel) -> None:
    answer = unary(channel, message(put("policy_revision", "1999-01-01")))
    assert isinstance(answer, Refusal)
    assert answer.code == "NOT_FOUND"
    assert "'1999-01-01' is not loaded; loaded are" in answer.message


@pytest.mark.parametrize(
    "unknown",
    [b"\xa2\x06\x03abc", b"\xa0\x06\x05", b"\xa5\x06abcd", b"\xa1\x06abcdefgh", b"\xa3\x06\xa4\x06", b"\x10\x05"],
    ids=["bytes", "varint", "fixed32", "fixed64", "group", "a_known_number_of_another_type"],
)
def test_fields_from_a_later_version_are_tolerated(channel: grpc.Channel, unknown: bytes) -> None:
    answer = unary(channel, message() + unknown)
    assert isinstance(answer, pb.ModerateResponse), answer
    assert answer.decision.action == pb.ACTION_ALLOW


def test_media_from_a_later_version_is_refused_by_part(channel: grpc.Channel) -> None:
    answer = unary(channel, message() + b"\x32\x05\xaa\x01\x02hi")
    assert_refused(answer, "parts[1]", "no media that this server knows")


@pytest.mark.parametrize("seconds", [1 << 20, 315_576_000_000, (1 << 63) - 1])
def test_a_budget_of_centuries_is_no_mistake(server: Server, seconds: int) -> None:
    with grpc.insecure_channel(server.target) as open_channel:
        call = open_channel.unary_unary("/floodgate.v1.Moderation/Moderate")
        answer = pb.ModerateResponse.FromString(call(message(put("budget.seconds", seconds))))
    assert answer.decision.action == pb.ACTION_ALLOW


def test_ids_of_odd_characters_come_back_as_they_were(channel: grpc.Channel) -> None:
    odd = "a\0b\n\x1b[31m é 🙂"
    answer = unary(channel, message(put("content_id", odd), request_id=odd))
    assert isinstance(answer, pb.ModerateResponse), answer
    assert (answer.request_id, answer.content_id) == (odd, odd)
    assert_refused(unary(channel, message(put("lane", 99), request_id=odd)), "lane", "unknown value 99")


def test_the_same_process_serves_afterwards(server: Server, client: Client, good_score: float) -> None:
    os.kill(server.pid, 0)
    decision = client.moderate(image=PNG, trace=True, timeout=60)
    assert [score.score for score in decision.scores] == [good_score]
