"""2,000 items at once, three in ten of them broken, over single calls and streams: every one is answered once, each for
what it is, and what is sound scores exactly as it does alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
from calls import MODERATE, MODERATE_STREAM, UNLIMITED, Refusal, explained, refusal
from observed import assert_at_rest, metric
from specimens import PICTURES, TEXTS, encoded
from test_bad_input import MALFORMED

from bench.report import ROOT
from bench.server import Server
from floodgate import Client
from floodgate.client import build_request, image_part, text_part
from floodgate.v1 import moderation_pb2 as pb

ITEMS = 2000
SINGLE_CALLS = 48
STREAMS = 4

Scores = dict[str, float]

WORDS = ("you", "are", "a", "lovely", "stupid", "idiot", "cat", "what", "morning", "hate", "people", "the", "sun")


@dataclass(frozen=True)
class Sent:
    """One request and what must come back. ``scores`` by part id; ``unreadable`` maps part ids to reason codes;
    ``field`` is that of the INVALID_ARGUMENT to expect, None where a decision is due."""

    raw: bytes
    scores: Scores = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    field: str | None = None


def sound_parts() -> dict[str, pb.Part]:
    """Pictures of three formats and many sizes, photos, and texts short and long."""
    parts = {
        f"{kind}-{side}": image_part(encoded(kind, (side, side * 2 // 3)))
        for kind in ("JPEG", "PNG", "WEBP")
        for side in (90, 224, 301, 640, 1000)
    }
    for path in sorted((ROOT / "examples").glob("[acpr]*.*p*g")):
        parts[path.name] = image_part(path.read_bytes())
    source = random.Random(11)
    for length in (1, 3, 8, 20, 60, 200, 1500):
        for copy in range(5):
            parts[f"text-{length}-{copy}"] = text_part(" ".join(source.choices(WORDS, k=length)), role="COMMENT")
    return parts


def scores_alone(server: Server, parts: dict[str, pb.Part]) -> Scores:
    """Each part's score when nothing else is being judged."""
    alone = {}
    with Client(server.target) as client:
        for name, part in parts.items():
            (score,) = client.send(build_request(parts=[part], trace=True), timeout=60).scores
            alone[name] = score.score
    return alone


def mixture(parts: dict[str, pb.Part], alone: Scores) -> dict[str, Sent]:
    """request id -> what to send: of ten items one is malformed, two have unreadable parts, seven are sound."""
    source = random.Random(2)
    broken = [specimen for specimen in (*PICTURES, *TEXTS) if len(specimen.data) < 4 << 20]
    malformed = sorted(name for name, (raw, _, _) in MALFORMED.items() if len(raw) < 4 << 20)
    mixed = {}
    for index in range(ITEMS):
        request_id = f"item-{index:04}"
        if index % 10 == 0:
            mixed[request_id] = misshapen(malformed[index // 10 % len(malformed)], request_id)
            continue
        request = build_request(content_id=f"content-{index}", request_id=request_id, trace=True)
        scores: Scores = {}
        unreadable: dict[str, str] = {}
        for name in source.sample(sorted(parts), source.choice((1, 1, 1, 2))):
            add(request, parts[name], f"good-{len(request.parts)}")
            scores[request.parts[-1].part_id] = alone[name]
        if index % 10 in (1, 2):
            specimen = broken[index // 5 % len(broken)]
            bad = text_part(specimen.data.decode()) if specimen in TEXTS else image_part(specimen.data)
            add(request, bad, "bad")
            unreadable["bad"] = specimen.reason_code
        mixed[request_id] = Sent(request.SerializeToString(), scores, unreadable)
    return mixed


def add(request: pb.ModerateRequest, part: pb.Part, part_id: str) -> None:
    request.parts.add().CopyFrom(part)
    request.parts[-1].part_id = part_id


def misshapen(name: str, request_id: str) -> Sent:
    """A malformed message under its own request id, which is put first so that it can be read."""
    raw, at_fault, _ = MALFORMED[name]
    own = b"\x0a" + bytes([len(request_id)]) + request_id.encode()
    shared = b"\x0a\x03r-1"
    return Sent(own + (raw.removeprefix(shared) if raw.startswith(shared) else raw), field=at_fault)


async def call_singly(server: Server, sent: dict[str, Sent], take: Callable[[str, object], None]) -> None:
    """Single calls, many at a time over one channel."""
    room = asyncio.Semaphore(SINGLE_CALLS)
    async with grpc.aio.insecure_channel(server.target, options=UNLIMITED) as channel:
        call = channel.unary_unary(MODERATE)

        async def one(request_id: str, raw: bytes) -> None:
            async with room:
                try:
                    take(request_id, pb.ModerateResponse.FromString(await call(raw, timeout=120)))
                except grpc.RpcError as error:
                    take(request_id, refusal(error))

        await asyncio.gather(*(one(request_id, each.raw) for request_id, each in sent.items()))


async def call_by_stream(server: Server, sent: dict[str, Sent], take: Callable[[str, object], None]) -> None:
    """One stream."""

    async def raws() -> AsyncIterator[bytes]:
        for each in sent.values():
            yield each.raw

    async with grpc.aio.insecure_channel(server.target, options=UNLIMITED) as channel:
        async for raw in channel.stream_stream(MODERATE_STREAM)(raws(), timeout=120):
            answer = pb.ModerateResponse.FromString(raw)
            take(answer.request_id, explained(answer.error) if answer.HasField("error") else answer)


def assert_right(request_id: str, sent: Sent, answer: object) -> None:
    if sent.field is not None:
        assert isinstance(answer, Refusal), (request_id, answer)
        assert (answer.code, answer.field) == ("INVALID_ARGUMENT", sent.field), (request_id, answer)
        assert answer.message
        return
    assert isinstance(answer, pb.ModerateResponse), (request_id, answer)
    decision = answer.decision
    assert answer.request_id == request_id
    assert {score.part_id: score.score for score in decision.scores} == sent.scores, request_id
    states = {part.part_id: (part.state, part.reason_code) for part in decision.parts}
    assert states == {
        **dict.fromkeys(sent.scores, (pb.PartStatus.STATE_JUDGED, "")),
        **{part_id: (pb.PartStatus.STATE_UNREADABLE, code) for part_id, code in sent.unreadable.items()},
    }, request_id
    assert decision.review.hold or not sent.unreadable, request_id
    assert not decision.degraded


async def test_two_thousand_mixed_items_are_each_answered_once_and_rightly(server: Server) -> None:
    parts = sound_parts()
    alone = scores_alone(server, parts)
    sent = mixture(parts, alone)
    ways: list[dict[str, Sent]] = [{} for _ in range(STREAMS * 2)]
    for index, (request_id, each) in enumerate(sent.items()):
        ways[index // 10 % len(ways)][request_id] = each  # half of the ways are streams, half go to single calls
    copied, received = (metric(server, f"floodgate_core_bytes_{each}_total") for each in ("copied", "received"))
    answers: dict[str, list[object]] = {request_id: [] for request_id in sent}

    def take(request_id: str, answer: object) -> None:
        answers[request_id].append(answer)

    singly = {request_id: each for way in ways[STREAMS:] for request_id, each in way.items()}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call_singly(server, singly, take))
        for way in ways[:STREAMS]:
            tasks.create_task(call_by_stream(server, way, take))
    assert {request_id: len(got) for request_id, got in answers.items() if len(got) != 1} == {}
    for request_id, each in sent.items():
        assert_right(request_id, each, answers[request_id][0])
    assert sum(bool(each.unreadable) or each.field is not None for each in sent.values()) == ITEMS * 3 // 10
    assert server.process.poll() is None
    assert_at_rest(server)
    assert metric(server, "floodgate_core_bytes_copied_total") - copied > 0
    assert metric(server, "floodgate_core_bytes_copied_total") - copied <= (
        metric(server, "floodgate_core_bytes_received_total") - received
    )
