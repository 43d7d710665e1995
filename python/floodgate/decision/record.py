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
                        reason_code, language, media {format, width, height}, frames_sampled, frames_dropped,
                        scores[], missing[] {head, reason}
    parts[].scores[]    head, label, score (float32, shortest decimal that reads back the same), time_ms,
                        in_competence and competence_reason when outside, box {x0, y0, x1, y1}, span [start,
                        end)
    verdict             action, restrictions[], review, findings[], market_outcomes[], unknown_markets[]
    steps[]             market, label, rule_id, value, threshold, margin, fired, override, condition
    policy              name, revision, digest
    models[]            name, version, digest
    preprocessing_digest   SHA-256, hex, over the views and decoders that made the heads' inputs
    degraded[]          flags such as DEADLINE, HEAD_MISSING
    timings             queue_us, decode_us, infer_us, policy_us, total_us
    automation          automated: no person is asked; automated_with_review: one is
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from floodgate.decision.encoding import compact, decode, encode
from floodgate.types import (
    Context,
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
    """What the decoder saw: ``format`` such as "jpeg", the upright picture's size in pixels."""

    format: str = ""
    width: int = 0
    height: int = 0


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
    digest = hashlib.sha256(part.data).hexdigest()
    return PartRecord(result, digest, len(part.data), part.language, media)


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
        verdict = encode(self.verdict)
        verdict.pop("policy")
        row = {
            "schema": SCHEMA,
            "decision_id": self.decision_id,
            "time": self.time,
            "server_version": self.server_version,
            "request_id": self.request_id,
            "content_id": self.content_id,
            "content_version": self.content_version,
            "surface": self.surface,
            "trigger": self.trigger,
            "mode": self.mode,
            "lane": self.lane,
            "caller": self.caller,
            "context": encode(self.context),
            "parts": [_part_row(part) for part in self.parts],
            "steps": verdict.pop("steps", []),
            "verdict": verdict,
            "policy": encode(self.policy),
            "models": [encode(model) for model in self.models],
            "preprocessing_digest": self.preprocessing_digest,
            "degraded": list(self.degraded),
            "timings": encode(self.timings),
            "automation": self.automation,
        }
        return compact(row) + "\n"

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


_FROM_RESULT = (
    "part_id",
    "role",
    "modality",
    "state",
    "reason",
    "reason_code",
    "frames_sampled",
    "frames_dropped",
)


def _part_row(part: PartRecord) -> dict[str, object]:
    row = encode(part)
    result = row.pop("result")
    for entry in (*result.get("scores", ()), *result.get("missing", ())):
        if entry.pop("part_id") != part.result.part_id:
            raise ValueError(f"part '{part.result.part_id}' holds a score of another part")
    return {**result, **row}


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
    fields["result"] = result
    return fields


def utc_time(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: "2026-11-22T09:30:00.123Z"."""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}Z"


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
