"""From a Decision to its record: the same facts, plus what identifies the content without being it."""

from __future__ import annotations

from collections.abc import Mapping

from floodgate.decision import DecisionRecord, MediaFacts, part_record, utc_time
from floodgate.tickets import PartAnswer
from floodgate.types import Decision


def _media_facts(answer: PartAnswer) -> MediaFacts:
    times = tuple(row.time_ms for row in answer.rows if row.outputs) if answer.is_sequence else ()
    return MediaFacts(answer.media_format, answer.width, answer.height, answer.codec, times)


def record_of(decision: Decision, answers: Mapping[str, PartAnswer]) -> DecisionRecord:
    """The record of ``decision``. ``answers`` holds the core's answer for each part id that it took."""
    item = decision.item
    parts = []
    for part, result in zip(item.parts, decision.parts, strict=True):
        answer = answers.get(part.part_id)
        parts.append(part_record(part, result, _media_facts(answer) if answer and answer.media_format else None))
    return DecisionRecord(
        decision_id=decision.decision_id,
        time=utc_time(decision.decided_at_ns // 1_000_000),
        server_version=decision.server_version,
        request_id=item.request_id,
        content_id=item.content_id,
        content_version=item.content_version,
        surface=item.surface,
        trigger=item.trigger,
        mode=item.mode,
        lane=item.lane.name,
        caller=item.caller,
        context=item.context,
        parts=tuple(parts),
        verdict=decision.verdict,
        models=decision.models,
        preprocessing_digest=decision.preprocessing_digest,
        degraded=tuple(f"{d.kind.name}:{name}" for d in decision.degraded for name in d.missing),
        timings=decision.timings,
    )
