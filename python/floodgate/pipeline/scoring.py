"""From what the core answers for one part to what policy looks at: labels, competence, boxes, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from floodgate.errors import ContentError
from floodgate.pipeline.geometry import to_picture
from floodgate.tickets import PartAnswer, RowAnswer
from floodgate.types import (
    Box,
    Competence,
    EnsembleSpec,
    FrameScore,
    HeadSpec,
    ImageViewSpec,
    MissingHead,
    Modality,
    Part,
    PartResult,
    PartState,
    Role,
    SamplingPlan,
    output_name,
)

CONTEXT = "CONTEXT"
NO_HEAD = "NO_HEAD"
EMPTY = "EMPTY"

# Reason codes of parts that nobody scored, by the reason their heads give; the first that applies is said.
_SKIP_CODES = (
    ("deadline", "DEADLINE", "the effective deadline came before any classifier answered"),
    ("unavailable", "UNAVAILABLE", "the inference server did not answer"),
    ("breaker_open", "UNAVAILABLE", "every classifier for it is switched off after failures"),
    ("failed", "UNAVAILABLE", "every classifier for it failed"),
    ("bad_output", "UNAVAILABLE", "no classifier gave a usable answer"),
    ("non_finite", "UNAVAILABLE", "no classifier gave a usable answer"),
)


def unreadable(part: Part, error: ContentError) -> PartResult:
    """A part whose content was refused."""
    return PartResult(
        part.part_id, part.role, part.modality, PartState.UNREADABLE, reason=error.message, reason_code=error.code
    )


def skipped_context(part: Part) -> PartResult:
    """A part that is only shown to judges."""
    return PartResult(
        part.part_id,
        part.role,
        part.modality,
        PartState.SKIPPED,
        reason="role CONTEXT is shown to judges and never judged",
        reason_code=CONTEXT,
    )


def skipped_empty(part: Part) -> PartResult:
    """An empty text: callers send the caption field whether or not anybody wrote one."""
    return PartResult(
        part.part_id,
        part.role,
        part.modality,
        PartState.SKIPPED,
        reason="the text is empty; there is nothing to judge",
        reason_code=EMPTY,
    )


def skipped_no_head(part: Part) -> PartResult:
    """A part of a modality for which no head is configured."""
    return PartResult(
        part.part_id,
        part.role,
        part.modality,
        PartState.SKIPPED,
        reason=f"no configured head judges {part.modality.value} parts",
        reason_code=NO_HEAD,
    )


def unscored(part: Part, ensembles: Sequence[EnsembleSpec], reason: str) -> PartResult:
    """A part that the core took no work for; ``reason`` is every head's, "deadline" or "unavailable"."""
    heads = [head for ensemble in ensembles for head in ensemble.heads]
    missing = {head.name: MissingHead(part.part_id, head.name, reason) for head in heads}
    code, sentence = _skip_reason(missing)
    return PartResult(
        part.part_id,
        part.role,
        part.modality,
        PartState.SKIPPED,
        reason=sentence,
        reason_code=code,
        missing=tuple(missing.values()),
    )


def scored(
    part: Part, ensembles: Sequence[EnsembleSpec], answer: PartAnswer, plan: SamplingPlan | None = None
) -> PartResult:
    """A part that went through the core. ``plan`` is what it was submitted with; it is kept for sequences."""
    scores: list[FrameScore] = []
    missing: dict[str, MissingHead] = {}
    heads = [head for ensemble in ensembles for head in ensemble.heads]
    for row in answer.rows:
        for head in heads:
            found = _row_scores(part, head, row, answer)
            if found is None:
                reason = row.missing.get(head.name, answer.missing_reason)
                missing.setdefault(head.name, MissingHead(part.part_id, head.name, reason))
            else:
                scores += found
    if not answer.rows:
        missing = {head.name: MissingHead(part.part_id, head.name, answer.missing_reason) for head in heads}
    code, reason = ("", "") if scores else _skip_reason(missing)
    return PartResult(
        part.part_id,
        part.role,
        part.modality,
        PartState.JUDGED if scores else PartState.SKIPPED,
        reason=reason,
        reason_code=code,
        scores=tuple(scores),
        missing=tuple(missing.values()),
        frames_sampled=answer.frames_sampled,
        frames_dropped=answer.frames_dropped,
        frames_missed=answer.frames_missed if answer.is_sequence else 0,
        duration_ms=answer.duration_ms,
        media_format=answer.media_format,
        codec=answer.codec,
        note=_note(answer),
        partial=answer.partial or (answer.is_sequence and answer.frames_missed > 0),
        plan=plan if answer.is_sequence else None,
    )


def _note(answer: PartAnswer) -> str:
    """What the decoder says, and how much of the plan was left undone."""
    notes = [answer.note] if answer.note else []
    if answer.is_sequence and answer.frames_missed:
        planned = answer.frames_missed + answer.frames_sampled + answer.frames_dropped
        notes.append(f"{answer.frames_missed} of up to {planned} planned frames were not judged in time")
    return "; ".join(notes)


def _skip_reason(missing: Mapping[str, MissingHead]) -> tuple[str, str]:
    reasons = {head.reason for head in missing.values()}
    for word, code, sentence in _SKIP_CODES:
        if word in reasons:
            return code, sentence
    return "UNAVAILABLE", "no classifier answered"


def _row_scores(part: Part, head: HeadSpec, row: RowAnswer, answer: PartAnswer) -> list[FrameScore] | None:
    """One score a label; None when the head has none for this row."""
    by_kind = {output.kind: row.outputs.get(output_name(head.name, output.name)) for output in head.outputs}
    columns = by_kind.get("scores")
    if columns is None:
        return None
    known_share = by_kind.get("known_share")
    reason = incompetence(head.competence, part, answer, None if known_share is None else known_share[0])
    boxes = by_kind.get("boxes")
    return [
        FrameScore(
            part_id=part.part_id,
            time_ms=row.time_ms,
            head=head.name,
            label=label,
            score=columns[index],
            in_competence=not reason,
            competence_reason=reason,
            box=_box(head, boxes, index, answer),
            span=row.span if part.modality is Modality.TEXT else None,
        )
        for index, label in enumerate(head.labels)
    ]


def _box(head: HeadSpec, boxes: Sequence[float] | None, index: int, answer: PartAnswer) -> Box | None:
    if boxes is None or not isinstance(head.view, ImageViewSpec):
        return None
    x0, y0, x1, y1 = boxes[4 * index : 4 * index + 4]
    return to_picture(head.view, answer.width, answer.height, Box(x0, y0, x1, y1), answer.orientation)


def incompetence(competence: Competence, part: Part, answer: PartAnswer, known_share: float | None) -> str:
    """Why a head cannot judge this part; "" when it can. Roles, then picture size, then language: a declared language
    decides alone, and without one the share of words the head knows does."""
    if competence.roles and part.role not in competence.roles:
        return f"not meant for role {Role(part.role).name}"
    if part.modality.kind is Modality.IMAGE:
        side = min(answer.width, answer.height)
        if side < competence.min_side_px:
            return f"smallest side {side} px is under {competence.min_side_px} px"
        return ""
    if competence.languages and part.language:
        primary = part.language.split("-", 1)[0].lower()
        if primary not in competence.languages:
            return f"language {part.language} is not among {', '.join(competence.languages)}"
        return ""
    if known_share is not None and known_share < competence.min_known_share:
        return f"only {known_share:.0%} of its words are known to the head, and no language was declared"
    return ""
