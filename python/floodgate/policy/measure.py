"""From frame scores to one value a label: the part of an evaluation that no market, surface or audience
changes.

Per part and label: the scores of each head that are finite and within its competence are combined over
frames, calibrated, and fused over heads. The item's value is the highest of its parts'. A part that a label
applies to and that has no such score is *unscored* for it, which is not a value at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from floodgate.policy.combination import best_frame, float32, frames_of
from floodgate.policy.compiled import LabelRule
from floodgate.policy.fusion import MaxFusion
from floodgate.types import Evidence, FrameScore, PartResult, PartState, Role


@dataclass(frozen=True, slots=True)
class PartValue:
    """One label's value of one part. ``raw`` and ``value`` are float32: before calibration and after it.
    ``head`` is the head that decided, or all that were fused, joined by "+"."""

    part_id: str
    raw: float
    value: float
    head: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class LabelMeasure:
    """``scored`` from the highest value down; ``unscored`` and ``absent`` by part id. ``absent`` are heads
    that should have taken part in a value that was made without them: (part id, head, reason)."""

    rule: LabelRule
    scored: tuple[PartValue, ...]
    unscored: tuple[tuple[str, Role], ...]
    absent: tuple[tuple[str, str, str], ...]

    @property
    def top(self) -> PartValue | None:
        return self.scored[0] if self.scored else None


def judged_parts(parts: Sequence[PartResult]) -> list[PartResult]:
    """The parts that count, in an order that does not depend on the one given: not CONTEXT, nor what no configured
    head judges. A part that heads should have scored and did not counts, as unscored."""
    counted = [part for part in parts if part.role is not Role.CONTEXT and not _needs_no_judging(part)]
    return sorted(counted, key=lambda part: (part.part_id, part.role, part.modality.value))


def _needs_no_judging(part: PartResult) -> bool:
    return part.state is PartState.SKIPPED and not part.missing


def measure(rule: LabelRule, parts: Sequence[PartResult]) -> LabelMeasure:
    """Measure one label. ``parts`` as by ``judged_parts``."""
    scored: list[PartValue] = []
    unscored: list[tuple[str, Role]] = []
    absent: list[tuple[str, str, str]] = []
    heads = {use.head for use in rule.heads}
    for part in parts:
        if part.state is PartState.UNREADABLE or not rule.applies_to(part.role, part.modality):
            continue
        value = _part_value(rule, part)
        if value is None:
            unscored.append((part.part_id, part.role))
            continue
        scored.append(value)
        absent.extend(
            sorted((part.part_id, missing.head, missing.reason) for missing in part.missing if missing.head in heads)
        )
    scored.sort(key=lambda value: (-value.value, -value.raw, value.part_id))
    return LabelMeasure(rule, tuple(scored), tuple(unscored), tuple(absent))


def _part_value(rule: LabelRule, part: PartResult) -> PartValue | None:
    by_head: dict[str, list[FrameScore]] = {}
    for score in part.scores:
        if score.label == rule.label and score.in_competence and math.isfinite(score.score):
            exact = float32(score.score)
            by_head.setdefault(score.head, []).append(score if exact == score.score else replace(score, score=exact))
    raws: list[float | None] = []
    values: list[float | None] = []
    best: list[tuple[float, float, str, FrameScore]] = []
    for use in rule.heads:
        frames = frames_of(by_head.get(use.head, ()))
        if not frames:
            raws.append(None)
            values.append(None)
            continue
        raw = float32(use.combine(frames))
        value = float32(use.calibrate(raw))
        raws.append(raw)
        values.append(value)
        best.append((value, raw, use.head, best_frame(frames)))
    if not best:
        return None
    # The evidence is the best frame of the highest head; among equals, of the first in the policy's order.
    top = max(best, key=lambda entry: (entry[0], entry[1]))
    shown = top[3]
    evidence = Evidence(part.part_id, shown.time_ms, shown.box, shown.span)
    if isinstance(rule.fuse, MaxFusion):
        return PartValue(part.part_id, top[1], top[0], top[2], evidence)
    names = "+".join(entry[2] for entry in best)
    return PartValue(part.part_id, rule.fuse(raws), rule.fuse(values), names, evidence)
