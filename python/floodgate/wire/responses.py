"""From a Decision to its message. Field by field, nothing decided here."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import duration_pb2
from google.rpc import status_pb2

from floodgate.types import (
    Box,
    ConditionKind,
    Decision,
    Evidence,
    Finding,
    FrameScore,
    MarketOutcome,
    PartResult,
    Restriction,
    Review,
    SamplingPlan,
    Timings,
)
from floodgate.v1 import moderation_pb2 as pb


def answer(decision: Decision) -> pb.ModerateResponse:
    """The response that carries a decision."""
    item = decision.item
    return pb.ModerateResponse(
        request_id=item.request_id, content_id=item.content_id, decision=decision_message(decision)
    )


def refusal(request_id: str, content_id: str, status: status_pb2.Status) -> pb.ModerateResponse:
    """The response that carries an error on a stream."""
    return pb.ModerateResponse(request_id=request_id, content_id=content_id, error=status)


def decision_message(decision: Decision) -> pb.Decision:
    verdict = decision.verdict
    item = decision.item
    message = pb.Decision(
        decision_id=decision.decision_id,
        finality=pb.FINALITY_FINAL,
        action=int(verdict.action),  # type: ignore[arg-type]
        restrictions=_restrictions(verdict.restrictions),
        review=_review(verdict.review),
        findings=[_finding(finding) for finding in verdict.findings],
        market_outcomes=[_market_outcome(outcome) for outcome in verdict.market_outcomes],
        parts=[_part_status(part) for part in decision.parts],
        policy=pb.PolicyRef(name=verdict.policy.name, revision=verdict.policy.revision, digest=verdict.policy.digest),
        models=[pb.ModelRef(name=m.name, version=m.version, digest=m.digest) for m in decision.models],
        degraded=[
            pb.Degradation(kind=int(d.kind), missing=d.missing)  # type: ignore[arg-type]
            for d in decision.degraded
        ],
        timings=_timings(decision.timings),
        handling=pb.Handling(
            lane=int(item.lane),  # type: ignore[arg-type]
            mode=f"MODE_{item.mode}",
            trigger=f"TRIGGER_{item.trigger}",
            caller=item.caller,
            server_version=decision.server_version,
            preprocessing_digest=decision.preprocessing_digest,
        ),
        unknown_markets=verdict.unknown_markets,
    )
    message.handling.decided_at.FromNanoseconds(decision.decided_at_ns)
    if item.trace:
        message.scores.extend(_label_score(s) for part in decision.parts for s in part.scores)
    return message


def _restrictions(restrictions: Iterable[Restriction]) -> list[pb.Restriction]:
    return [
        pb.Restriction(
            kind=int(r.kind),  # type: ignore[arg-type]
            territories=r.territories,
            duration=duration_pb2.Duration(seconds=r.duration_s) if r.duration_s else None,
            param=r.param,
            finding_index=r.finding_index,
        )
        for r in restrictions
    ]


def _review(review: Review | None) -> pb.Review | None:
    if review is None:
        return None
    return pb.Review(priority=review.priority, queue=review.queue, hold=review.hold, reasons=review.reasons)


def _finding(finding: Finding) -> pb.Finding:
    message = pb.Finding(
        label=finding.label,
        rule_id=finding.rule_id,
        policy_ref=finding.policy_ref,
        evidence=[_evidence(evidence) for evidence in finding.evidence],
    )
    if finding.basis is not None:
        message.score.CopyFrom(
            pb.Finding.Score(
                raw=finding.basis.raw,
                calibrated=finding.basis.calibrated,
                threshold=finding.basis.threshold,
                head=finding.basis.head,
            )
        )
    elif finding.condition is ConditionKind.UNSCORED:
        message.gap.kind = pb.Finding.Gap.KIND_UNSCORED
    elif finding.condition is ConditionKind.UNREADABLE:
        message.gap.kind = pb.Finding.Gap.KIND_UNREADABLE
    elif finding.condition is ConditionKind.PARTIAL:
        message.gap.kind = pb.Finding.Gap.KIND_PARTIAL
    return message


def _evidence(evidence: Evidence) -> pb.Evidence:
    span = pb.Span(start=evidence.span[0], end=evidence.span[1]) if evidence.span else None
    return pb.Evidence(part_id=evidence.part_id, time_ms=evidence.time_ms, box=_box(evidence.box), span=span)


def _box(box: Box | None) -> pb.Box | None:
    return None if box is None else pb.Box(x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1)


def _market_outcome(outcome: MarketOutcome) -> pb.MarketOutcome:
    return pb.MarketOutcome(
        market=outcome.market,
        action=int(outcome.action),  # type: ignore[arg-type]
        restrictions=_restrictions(outcome.restrictions),
        review=_review(outcome.review),
        rule_ids=outcome.rule_ids,
        known=outcome.known,
    )


def _part_status(part: PartResult) -> pb.PartStatus:
    return pb.PartStatus(
        part_id=part.part_id,
        state=f"STATE_{part.state.value}",
        reason=part.reason,
        reason_code=part.reason_code,
        frames_sampled=part.frames_sampled,
        frames_dropped=part.frames_dropped,
        frames_missed=part.frames_missed,
        duration_ms=part.duration_ms,
        note=part.note,
        sampling_seed=part.plan.seed if part.plan else 0,
        media_format=part.media_format,
        codec=part.codec,
        sampling=_sampling(part.plan),
        partial=part.partial,
    )


def _sampling(plan: SamplingPlan | None) -> pb.Sampling | None:
    return None if plan is None else pb.Sampling(max_frames=plan.max_frames, min_interval_ms=plan.min_interval_ms)


def _label_score(score: FrameScore) -> pb.LabelScore:
    return pb.LabelScore(
        label=score.label,
        score=score.score,
        head=score.head,
        part_id=score.part_id,
        time_ms=score.time_ms,
        in_competence=score.in_competence,
        competence_reason=score.competence_reason,
    )


def _timings(timings: Timings) -> pb.Timings:
    return pb.Timings(
        submit_us=timings.submit_us,
        queue_us=timings.queue_us,
        decode_us=timings.decode_us,
        infer_us=timings.infer_us,
        answer_us=timings.answer_us,
        policy_us=timings.policy_us,
        total_us=timings.total_us,
    )
