"""The decision record: everything one decision stood on, in one line of JSON, without the content itself.

Names are the proto's where they mean the same (``floodgate.v1``); enum values are their names there. A record
holds what is needed to make the decision again: the raw float32 score of every frame, what was missing and
why, the context, and the digests of the policy and of the models. ``replay`` gives these back as the inputs
of an evaluation; with the policy of the same digest the verdict is the same bit for bit.

Schema, version 1. Values that equal their default, and absent ones, are left out; unknown keys are refused.

    schema              1
    decision_id         UUIDv7; time: RFC 3339 in UTC, milliseconds; server_version
    request_id, content_id, content_version, surface, trigger, mode, lane, caller
    context             origin_market, markets, viewer_audience, creator_id (opaque), signals, declared_labels
    parts[]             part_id, role, modality, sha256 (of the encoded bytes, hex), size_bytes, state,
    reason,
                        reason_code, language, scores[], missing[] {head, reason},
                        media {format, codec, width, height, frame_times_ms[] of the frames judged},
                        frames_sampled, frames_dropped, frames_missed, duration_ms, note, partial,
                        sampling {max_frames, min_interval_ms, seed (0x…, 64 bits)} of a video or an animation
    parts[].scores[]    head, label, score (float32, shortest decimal that reads back the same), time_ms,
                        in_competence and competence_reason when outside, box {x0, y0, x1, y1}, span [start,
                        end)
    verdict             action, restrictions[], review, findings[], market_outcomes[], unknown_markets[]
    steps[]             market, label, rule_id, value, threshold, margin, fired, override, condition
    policy              name, revision, digest
    models[]            name, version, digest
    preprocessing_digest   SHA-256, hex, over the views and decoders that made the heads' inputs
    degraded[]          flags such as DEADLINE, HEAD_MISSING
    timings             submit_us, queue_us, decode_us, infer_us, answer_us, policy_us, total_us
    automation          automated: no person is asked; automated_with_review: one is
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

from floodgate.decision.encoding import decode, fields_writer, text_of
from floodgate.types import (
    Context,
    FrameScore,
    MissingHead,
    ModelRef,
    Part,
    PartResult,
    PolicyId,
    Timings,
    Verdict,
)

T = TypeVar("T")

SCHEMA = 1

AUTOMATED = "automated"
AUTOMATED_WITH_REVIEW = "automated_with_review"


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What the decoder saw: ``format`` such as "jpeg" or "mp4", ``codec`` of a video, the upright picture's size in
    pixels, and when the frames of a video or an animation are shown that were judged, ms."""

    format: str = ""
    width: int = 0
    height: int = 0
    codec: str = ""
    frame_times_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part: its ``PartResult``, and what identifies the content without being it. ``sha256`` is over the
    encoded bytes, hex; ``size_bytes`` is their number."""

    result: PartResult
    sha256: str
    size_bytes: int
    language: str = ""
    media: MediaFacts | None = None


def part_record(part: Part, result: PartResult, media: MediaFacts | None = None) -> PartRecord:
    """Bind a part to its result. Raises ValueError when they are not of the same part."""
    if part.part_id != result.part_id:
        raise ValueError(f"part '{part.part_id}' and a result of part '{result.part_id}' do not belong together")
    return PartRecord(result, part.content.sha256, part.content.size_bytes, part.language, media)


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """See the schema above. ``verdict`` carries the rule path (``steps``) and the policy's identity."""

    decision_id: str
    time: str
    server_version: str
    request_id: str
    content_id: str
    content_version: str
    surface: str
    trigger: str
    mode: str
    lane: str
    caller: str
    context: Context
    parts: tuple[PartRecord, ...]
    verdict: Verdict
    models: tuple[ModelRef, ...] = ()
    preprocessing_digest: str = ""
    degraded: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)

    @property
    def automation(self) -> str:
        """How far a machine decided alone."""
        return AUTOMATED if self.verdict.review is None else AUTOMATED_WITH_REVIEW

    @property
    def policy(self) -> PolicyId:
        return self.verdict.policy

    def to_json_line(self) -> str:
        """One line of JSON that ends with a newline and holds no other. Raises ValueError for a value that
        is no finite number, which no record may hold."""
        verdict = self.verdict
        return "".join(
            (
                f'{{"schema":{SCHEMA}',
                *[f',"{name}":{text_of(value)}' for name, value in zip(_HEAD, _head_of(self), strict=True)],
                ',"parts":[',
                ",".join([_part_text(part) for part in self.parts]),
                '],"steps":',
                text_of(verdict.steps),
                ',"verdict":',
                _verdict_text(verdict),
                ',"policy":',
                text_of(verdict.policy),
                ',"models":',
                text_of(self.models),
                ',"preprocessing_digest":',
                text_of(self.preprocessing_digest),
                ',"degraded":',
                text_of(self.degraded),
                ',"timings":',
                text_of(self.timings),
                ',"automation":',
                text_of(self.automation),
                "}\n",
            )
        )

    @staticmethod
    def from_json(line: str | bytes) -> DecisionRecord:
        """Read a record back, equal to the one that was written. Raises ValueError, naming the field, for
        anything that is not a record of this schema."""
        try:
            row = json.loads(line, parse_constant=_no_constant)
        except RecursionError as error:
            raise ValueError("not a decision record: nested too deeply") from error
        if not isinstance(row, dict):
            raise ValueError("not a decision record: the line holds no JSON object")
        if row.pop("schema", None) != SCHEMA:
            raise ValueError(f"not a decision record of schema {SCHEMA}")
        automation = row.pop("automation", None)
        verdict = _take(row, "verdict", dict)
        verdict["policy"] = _take(row, "policy", dict)
        verdict["steps"] = _take(row, "steps", list)
        row["verdict"] = verdict
        row["timings"] = _take(row, "timings", dict)
        row["parts"] = [_part_fields(part, index) for index, part in enumerate(_take(row, "parts", list))]
        record = decode(DecisionRecord, row, "record")
        if record.automation != automation:
            raise ValueError(f"record.automation: '{automation}' contradicts the verdict's review")
        return record


def _take(row: dict[str, Any], name: str, kind: type[T]) -> T:
    value = row.pop(name, None)
    if not isinstance(value, kind):
        raise ValueError(f"record.{name}: missing, or not a {'list' if kind is list else 'mapping'}")
    return value


def _no_constant(word: str) -> object:
    raise ValueError(f"not a decision record: {word} is no JSON number")


_HEAD = (
    "decision_id",
    "time",
    "server_version",
    "request_id",
    "content_id",
    "content_version",
    "surface",
    "trigger",
    "mode",
    "lane",
    "caller",
    "context",
)
_head_of = attrgetter(*_HEAD)
_FROM_RESULT = (
    "part_id",
    "role",
    "modality",
    "state",
    "reason",
    "reason_code",
    "frames_sampled",
    "frames_dropped",
    "frames_missed",
    "duration_ms",
    "note",
    "partial",
)
# What the result repeats of the media facts, which hold it in the record.
_FROM_MEDIA = {"media_format": "format", "codec": "codec"}
_SEED = re.compile(r"0x[0-9a-f]{16}")


_verdict_text = fields_writer(Verdict, frozenset(("steps", "policy")))
_result_text = fields_writer(PartResult, frozenset((*_FROM_MEDIA, "scores", "missing", "plan")))
_score_text = fields_writer(FrameScore, frozenset(("part_id",)))
_missing_text = fields_writer(MissingHead, frozenset(("part_id",)))
_identity_text = fields_writer(PartRecord, frozenset(("result",)))


def _part_text(part: PartRecord) -> str:
    result = part.result
    named = {score.part_id for score in result.scores} | {missing.part_id for missing in result.missing}
    if not named <= {result.part_id}:
        raise ValueError(f"part '{result.part_id}' holds a score of another part")
    texts = [_result_text(result)[1:-1]]
    if result.scores:
        texts.append(f'"scores":[{",".join([_score_text(score) for score in result.scores])}]')
    if result.missing:
        texts.append(f'"missing":[{",".join([_missing_text(missing) for missing in result.missing])}]')
    if result.plan is not None:
        # 64 bits do not survive readers that hold numbers as float64: the seed is text.
        plan = {
            "max_frames": result.plan.max_frames,
            "min_interval_ms": result.plan.min_interval_ms,
            "seed": f"0x{result.plan.seed:016x}",
        }
        texts.append(f'"sampling":{text_of(plan)}')
    texts.append(_identity_text(part)[1:-1])
    return "{" + ",".join(texts) + "}"


def _part_fields(row: object, index: int) -> dict[str, object]:
    if not isinstance(row, dict):
        raise ValueError(f"record.parts[{index}]: not a mapping")
    fields = dict(row)
    result = {name: fields.pop(name) for name in _FROM_RESULT if name in fields}
    for name in ("scores", "missing"):
        entries = fields.pop(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"record.parts[{index}].{name}: not a list of mappings")
        result[name] = [{**entry, "part_id": result.get("part_id")} for entry in entries]
    if "sampling" in fields:
        result["plan"] = _plan_fields(fields.pop("sampling"), f"record.parts[{index}].sampling")
    media = fields.get("media")
    if isinstance(media, dict):
        result.update({name: media[source] for name, source in _FROM_MEDIA.items() if source in media})
    fields["result"] = result
    return fields


def _plan_fields(row: object, path: str) -> dict[str, object]:
    if not isinstance(row, dict):
        raise ValueError(f"{path}: not a mapping")
    seed = row.get("seed")
    if not isinstance(seed, str) or not _SEED.fullmatch(seed):
        raise ValueError(f"{path}.seed: {seed!r:.80} is not 0x and 16 hex digits")
    return {**row, "seed": int(seed, 16)}


def utc_time(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: "2026-11-22T09:30:00.123Z"."""
    return f"{_utc_second(unix_ms // 1000)}.{unix_ms % 1000:03d}Z"


# Many decisions fall into one second.
@lru_cache(maxsize=4)
def _utc_second(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class ReplayInputs:
    """What an evaluation takes: ``evaluate(policy, surface, context, parts)``, with the policy whose digest
    is ``policy.digest``."""

    policy: PolicyId
    surface: str
    context: Context
    parts: tuple[PartResult, ...]


def replay(record: DecisionRecord) -> ReplayInputs:
    """The inputs that made the record's verdict."""
    return ReplayInputs(
        policy=record.policy,
        surface=record.surface,
        context=record.context,
        parts=tuple(part.result for part in record.parts),
    )
