"""Judging one item: parts to the core, scores to policy, a verdict to a decision and its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from floodgate.core import Core, PartAnswer, Ticket
from floodgate.decision import DecisionRecord, new_decision_id
from floodgate.errors import ContentError, DeadlineExceeded, Unavailable
from floodgate.pipeline import scoring
from floodgate.pipeline.policies import PolicySet
from floodgate.pipeline.recording import record_of
from floodgate.policy import check_context, evaluate
from floodgate.types import (
    Backend,
    Decision,
    Degradation,
    DegradationKind,
    EnsembleSpec,
    Item,
    Modality,
    ModelRef,
    Part,
    PartResult,
    Role,
    Timings,
)

_ANSWERING_NS = 3_000_000
_ANSWERING_SHARE = 15
_KIND_OF_REASON = {"deadline": DegradationKind.DEADLINE, "unavailable": DegradationKind.UNAVAILABLE}


class RecordSink(Protocol):
    """Where decision records go."""

    def append(self, record: DecisionRecord) -> bool:
        """Takes a record without blocking; never raises. False: it could not be kept."""


class Pipeline:
    """The way through. Holds no state of a request; everything it needs is handed in."""

    def __init__(
        self,
        *,
        core: Core,
        backend: Backend,
        policies: PolicySet,
        ensembles: Sequence[EnsembleSpec],
        records: RecordSink,
        server_version: str,
        preprocessing_digest: str,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._core = core
        self._backend = backend
        self._policies = policies
        self._records = records
        self._server_version = server_version
        self._preprocessing_digest = preprocessing_digest
        self._wall_clock_ns = wall_clock_ns
        self._ensembles = {
            modality: tuple(ensemble for ensemble in ensembles if ensemble.modality is modality)
            for modality in {ensemble.modality for ensemble in ensembles}
        }

    async def moderate(self, item: Item, arrival_ns: int, deadline_ns: int) -> Decision:
        """Judges ``item`` by ``deadline_ns`` (CLOCK_MONOTONIC).

        Raises NotFound, InvalidRequest, Overloaded, Unavailable, DeadlineExceeded, InternalError. Cancelling the task
        withdraws the work that has not begun.
        """
        policy = self._policies.choose(item.policy_revision)
        check_context(policy, item.surface, item.context)
        if not self._backend.ready():
            raise Unavailable("the inference server is not ready")
        answers: dict[str, PartAnswer] = {}
        parts = await self._judge_parts(item, _scoring_deadline_ns(deadline_ns), answers)
        _require_scores(parts)
        policy_start_ns = time.monotonic_ns()
        verdict = evaluate(policy, item.surface, item.context, parts)
        end_ns = time.monotonic_ns()
        decision = Decision(
            decision_id=str(new_decision_id()),
            item=item,
            verdict=verdict,
            parts=parts,
            models=self._models(parts),
            degraded=_degradations(parts),
            timings=_timings(answers.values(), (end_ns - policy_start_ns) // 1000, (end_ns - arrival_ns) // 1000),
            preprocessing_digest=self._preprocessing_digest,
            server_version=self._server_version,
            decided_at_ns=self._wall_clock_ns(),
        )
        self._records.append(record_of(decision, answers))
        return decision

    async def _judge_parts(
        self, item: Item, deadline_ns: int, answers: dict[str, PartAnswer]
    ) -> tuple[PartResult, ...]:
        """One result a part, in order. ``answers`` is filled with what the core said of each part it took."""
        begun: list[PartResult | tuple[Part, tuple[EnsembleSpec, ...], Ticket]] = []
        tickets: list[Ticket] = []
        try:
            for part in item.parts:
                step = self._begin(part, item, deadline_ns)
                begun.append(step)
                if not isinstance(step, PartResult):
                    tickets.append(step[2])
            results = []
            for step in begun:
                if isinstance(step, PartResult):
                    results.append(step)
                    continue
                part, ensembles, ticket = step
                try:
                    answer = await ticket.answer
                except ContentError as error:
                    results.append(scoring.unreadable(part, error))
                else:
                    answers[part.part_id] = answer
                    results.append(scoring.scored(part, ensembles, answer))
            return tuple(results)
        finally:
            for ticket in tickets:
                ticket.cancel()

    def _begin(
        self, part: Part, item: Item, deadline_ns: int
    ) -> PartResult | tuple[Part, tuple[EnsembleSpec, ...], Ticket]:
        if part.role is Role.CONTEXT:
            return scoring.skipped_context(part)
        if part.modality is Modality.TEXT and not part.data:
            return scoring.skipped_empty(part)
        ensembles = self._ensembles.get(part.modality, ())
        if not ensembles:
            return scoring.skipped_no_head(part)
        try:
            return part, ensembles, self._core.submit(part, ensembles, item.lane, deadline_ns)
        except ContentError as error:
            return scoring.unreadable(part, error)
        except DeadlineExceeded:
            return scoring.unscored(part, ensembles, "deadline")
        except Unavailable:
            # These heads keep the server waiting; the item's other parts may have heads that do not.
            return scoring.unscored(part, ensembles, "unavailable")

    def _models(self, parts: Sequence[PartResult]) -> tuple[ModelRef, ...]:
        took_part = {score.head for part in parts for score in part.scores}
        return tuple(
            ModelRef(head.name, str(head.version), head.digest)
            for ensembles in self._ensembles.values()
            for ensemble in ensembles
            for head in ensemble.heads
            if head.name in took_part
        )


def _scoring_deadline_ns(deadline_ns: int) -> int:
    """When scores must be there for the answer to leave by ``deadline_ns``: sooner by what policy, record and response
    take when many answers fall due at once, but by no more than a small share of the time there is."""
    remaining_ns = max(0, deadline_ns - time.monotonic_ns())
    return deadline_ns - min(_ANSWERING_NS, remaining_ns // _ANSWERING_SHARE)


def _require_scores(parts: Sequence[PartResult]) -> None:
    """Raises when heads should have scored something and scored nothing at all: there is nothing to decide on."""
    missing = [head for part in parts for head in part.missing]
    if not missing or any(part.scores for part in parts):
        return
    if any(head.reason == "deadline" for head in missing):
        raise DeadlineExceeded("nothing was scored before the effective deadline")
    raise Unavailable("no classifier answered: " + ", ".join(sorted({f"{m.head} {m.reason}" for m in missing})))


def _degradations(parts: Sequence[PartResult]) -> tuple[Degradation, ...]:
    missing: dict[DegradationKind, list[str]] = {}
    for part in parts:
        for head in part.missing:
            kind = _KIND_OF_REASON.get(head.reason, DegradationKind.HEAD_MISSING)
            missing.setdefault(kind, []).append(f"{part.part_id}/{head.head}")
    return tuple(Degradation(kind, tuple(missing[kind])) for kind in sorted(missing))


def _timings(several: Collection[PartAnswer], policy_us: int, total_us: int) -> Timings:
    return Timings(
        queue_us=max((answer.queue_us for answer in several), default=0),
        decode_us=max((answer.decode_us for answer in several), default=0),
        infer_us=max((answer.infer_us for answer in several), default=0),
        policy_us=policy_us,
        total_us=total_us,
    )
