"""A decision record gives its verdict again, bit for bit."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_items import RICH, contexts, items, surfaces

from floodgate.decision import DecisionRecord, MediaFacts, PartRecord, replay
from floodgate.decision.encoding import shortest_float32
from floodgate.policy import evaluate
from floodgate.types import Context, ModelRef, PartResult, Timings, Verdict


def media_of(part: PartResult) -> MediaFacts | None:
    if not part.media_format:
        return None
    return MediaFacts(part.media_format, 640, 427, part.codec, tuple(score.time_ms for score in part.scores))


def record_of(surface: str, context: Context, item: tuple[PartResult, ...], verdict: Verdict) -> DecisionRecord:
    return DecisionRecord(
        decision_id="019aa9b0-0000-7000-8000-000000000000",
        time="2026-11-22T09:30:00.123Z",
        server_version="0.1.0",
        request_id="r\n1",
        content_id="c-\ud800",
        content_version="",
        surface=surface,
        trigger="UPLOAD",
        mode="ENFORCE",
        lane="STANDARD",
        caller="default",
        context=context,
        parts=tuple(PartRecord(part, "00" * 32, 17, "th", media_of(part)) for part in item),
        verdict=verdict,
        models=(ModelRef("first", "1", "ab" * 32),),
        preprocessing_digest="cd" * 32,
        degraded=("DEADLINE",),
        timings=Timings(1, 2, 3, 4, 10),
    )


@given(items, surfaces, contexts)
@settings(max_examples=300, deadline=None)
def test_replay_gives_the_same_verdict(item: tuple[PartResult, ...], surface: str, context: Context) -> None:
    verdict = evaluate(RICH, surface, context, item)
    record = record_of(surface, context, item, verdict)
    line = record.to_json_line()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    read = DecisionRecord.from_json(line)
    assert read == record
    assert read.to_json_line() == line
    inputs = replay(read)
    assert inputs.policy == RICH.id
    assert evaluate(RICH, inputs.surface, inputs.context, inputs.parts) == verdict == read.verdict


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=2000)
def test_float32_survives_json(value: float) -> None:
    text = json.dumps(shortest_float32(value))
    assert np.float32(json.loads(text)).tobytes() == np.float32(value).tobytes()
    assert len(text) <= len(repr(value))
