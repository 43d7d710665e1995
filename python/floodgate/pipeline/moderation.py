"""Judging one item: parts to the core, scores to policy, a verdict to a decision and its record."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from floodgate.decision import DecisionRecord, new_decision_id
from floodgate.errors import ContentError, DeadlineExceeded, Unavailable
from floodgate.pipeline import scoring
from floodgate.pipeline.policies import Policies
from floodgate.pipeline.recording import record_of
from floodgate.policy import CompiledPolicy, check_context, evaluate
from floodgate.tickets import PartAnswer, Ticket
from floodgate.types import (
    Decision,
    Degradation,
    DegradationKind,
    EnsembleSpec,
    Item,
    Lane,
    Modality,
    ModelRef,
    Part,
    PartResult,
    Role,
    Sampling,
    SamplingPlan,
    Timings,
)

_ANSWERING_NS = 3_000_000
_ANSWERING_SHARE = 15
# The digest of more than this would keep other requests waiting for a millisecond or more.
_LARGE_BYTES = 1 << 20
_KIND_OF_REASON = {"deadline": DegradationKind.DEADLINE, "unavailable": DegradationKind.UNAVAILABLE}


class TakesParts(Protocol):
    """Who decodes and batches: the core, or the link to that of another process."""

    def submit(
        self,
        part: Part,
        ensembles: Sequence[EnsembleSpec],
        lane: Lane,
        deadline_ns: int,
        plan: SamplingPlan | None = None,
    ) -> Ticket:
        """See ``core.Core.submit``."""


class Serves(Protocol):
    """Who knows of the inference server."""

    def ready(self) -> bool:
        """Whether it takes batches."""


class RecordSink(Protocol):
    """Where decision records go."""

    def append(self, record: DecisionRecord) -> bool:
        """Takes a record without blocking; never raises. False: it could not be kept."""


class Pipeline:
    """The way through. Holds no state of a request; everything it needs is handed in."""

    def __init__(
        self,
        *,
        core: TakesParts,
        backend: Serves,
        policies: Policies,
        ensembles: Sequence[EnsembleSpec],
        records: RecordSink,
        server_version: str,
        preprocessing_digest: str,
        sampling: Sampling,
        max_frames: int,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``sampling``: for parts of which neither the request nor the policy says anything; both members are set.
        ``max_frames``: the most frames of a part, whoever asks."""
        self._core = core
        self._backend = backend
        self._policies = policies
        self._records = records
        self._server_version = server_version
        self._preprocessing_digest = preprocessing_digest
        self._sampling = sampling
        self._max_frames = max_frames
        self._wall_clock_ns = wall_clock_ns
        self._ensembles = {
            modality: tuple(ensemble for ensemble in ensembles if ensemble.modality is modality)
            for modality in dict.fromkeys(ensemble.modality for ensemble in ensembles)
        }

    async def moderate(self, item: Item, arrival_ns: int, deadline_ns: int) -> Decision:
        """Judges ``item`` by ``deadline_ns`` (CLOCK_MONOTONIC).

        Raises NotFound, InvalidRequest, Overloaded, Unavailable, DeadlineExceeded, InternalError. Cancelling the task
        withdraws the work that has not begun. Afterwards the parts' contents are gone.
        """
        try:
            return await self._moderate(item, arrival_ns, deadline_ns)
        finally:
            for part in item.parts:
                part.content.forget()

    async def _moderate(self, item: Item, arrival_ns: int, deadline_ns: int) -> Decision:
        policy = self._policies.choose(item.policy_revision)
        check_context(policy, item.surface, item.context)
        if not self._backend.ready():
            raise Unavailable("the inference server is not ready")
        answers: dict[str, PartAnswer] = {}
        start_ns = time.monotonic_ns()
        parts, submitted_ns = await self._judge_parts(item, policy, _scoring_deadline_ns(deadline_ns), answers)
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
            timings=_timings(
                answers.values(),
                submit_ns=submitted_ns - start_ns,
                answered_ns=policy_start_ns,
                policy_ns=end_ns - policy_start_ns,
                total_ns=end_ns - arrival_ns,
            ),
            preprocessing_digest=self._preprocessing_digest,
            server_version=self._server_version,
            decided_at_ns=self._wall_clock_ns(),
        )
        self._records.append(record_of(decision, answers))
        return decision

    async def _judge_parts(
        self, item: Item, policy: CompiledPolicy, deadline_ns: int, answers: dict[str, PartAnswer]
    ) -> tuple[tuple[PartResult, ...], int]:
        """One result a part, in order, and when the core had all (ns, monotonic clock). ``answers`` is filled with what
        the core said of each part it took. The parts' contents are released as soon as the core has its copies."""
        begun: list[PartResult | _Begun] = []
        tickets: list[Ticket] = []
        try:
            for part in item.parts:
                step = self._begin(part, item, policy, deadline_ns)
                begun.append(step)
                if not isinstance(step, PartResult):
                    tickets.append(step.ticket)
                    if step.ticket.digests:
                        part.content.hand_over()
                        continue
                await _release(part)
            submitted_ns = time.monotonic_ns()
            if len(tickets) > 1:
                await _all_or_refusal(tickets)
            results = []
            for step in begun:
                if isinstance(step, PartResult):
                    results.append(step)
                    continue
                try:
                    answer = await step.ticket.answer
                except ContentError as error:
                    results.append(scoring.unreadable(step.part, error))
                else:
                    answers[step.part.part_id] = answer
                    results.append(scoring.scored(step.part, step.ensembles, answer, step.plan))
            return tuple(results), submitted_ns
        finally:
            for ticket in tickets:
                ticket.cancel()

    def _begin(self, part: Part, item: Item, policy: CompiledPolicy, deadline_ns: int) -> PartResult | _Begun:
        if part.role is Role.CONTEXT:
            return scoring.skipped_context(part)
        if part.modality is Modality.TEXT and not part.content.size_bytes:
            return scoring.skipped_empty(part)
        ensembles = self._ensembles.get(part.modality.kind, ())
        if not ensembles:
            return scoring.skipped_no_head(part)
        plan = None if part.modality is Modality.TEXT else self._plan(part, policy)
        try:
            ticket = self._core.submit(part, ensembles, item.lane, deadline_ns, plan)
            return _Begun(part, ensembles, ticket, plan)
        except ContentError as error:
            return scoring.unreadable(part, error)
        except DeadlineExceeded:
            return scoring.unscored(part, ensembles, "deadline")
        except Unavailable:
            # These heads keep the server waiting; the item's other parts may have heads that do not.
            return scoring.unscored(part, ensembles, "unavailable")

    def _plan(self, part: Part, policy: CompiledPolicy) -> SamplingPlan:
        """The request's wish over the policy's over the configuration's, capped by the limit. The seed is drawn anew
        for every part and from nothing that its author knows: who could foresee it could hide between the frames."""
        wish = part.sampling.over(policy.sampling).over(self._sampling)
        frames = min(wish.max_frames, self._max_frames)
        return SamplingPlan(frames, wish.min_interval_ms or 0, 1 + secrets.randbelow((1 << 64) - 1))

    def _models(self, parts: Sequence[PartResult]) -> tuple[ModelRef, ...]:
        took_part = {score.head for part in parts for score in part.scores}
        return tuple(
            ModelRef(head.name, str(head.version), head.digest)
            for ensembles in self._ensembles.values()
            for ensemble in ensembles
            for head in ensemble.heads
            if head.name in took_part
        )


@dataclass(frozen=True, slots=True)
class _Begun:
    """A part that the core has taken."""

    part: Part
    ensembles: tuple[EnsembleSpec, ...]
    ticket: Ticket
    plan: SamplingPlan | None


async def _all_or_refusal(tickets: Sequence[Ticket]) -> None:
    """Until all are answered, or the first is refused: the item's answer is that refusal then, and waits for no other
    part. One that cannot be read is an answer."""
    waiting = {ticket.answer for ticket in tickets}
    while waiting:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        for ticket in tickets:
            if ticket.answer.done() and not isinstance(ticket.answer.exception(), ContentError):
                ticket.answer.result()


async def _release(part: Part) -> None:
    """Takes the digest that the record needs, and lets go of the bytes."""
    if part.content.size_bytes <= _LARGE_BYTES:
        part.content.release()
    else:
        await asyncio.to_thread(part.content.release)


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


def _timings(
    several: Collection[PartAnswer], *, submit_ns: int, answered_ns: int, policy_ns: int, total_ns: int
) -> Timings:
    return Timings(
        submit_us=submit_ns // 1000,
        queue_us=max((answer.queue_us for answer in several), default=0),
        decode_us=max((answer.decode_us for answer in several), default=0),
        infer_us=max((answer.infer_us for answer in several), default=0),
        answer_us=max(0, answered_ns - max((answer.ended_ns for answer in several), default=answered_ns)) // 1000,
        policy_us=policy_ns // 1000,
        total_us=total_ns // 1000,
    )
