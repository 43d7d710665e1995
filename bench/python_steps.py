"""What each Python step of one request costs by itself, CPU ms, on the calling thread.

The steps run as the server runs them, on a real core and the configured policy, over one request; only the inference
server is imitated, by a backend that answers at once. A step that is repeated alone finds its code and data in the
caches: within a server it costs more.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from floodgate import __version__
from floodgate.cli.media import media_options
from floodgate.cli.serve import core_options
from floodgate.config import Config
from floodgate.core import Core
from floodgate.cores import CoreSplit
from floodgate.decision import DecisionRecord
from floodgate.media import preprocessing_digest
from floodgate.models import list_heads
from floodgate.pipeline import Pipeline, PolicySet, scoring
from floodgate.pipeline.recording import record_of
from floodgate.policy import evaluate, load_policy
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.repository import load_heads
from floodgate.types import Batch, BatchOutcome, EnsembleSpec, Item, Lane, Modality, Sampling, SamplingPlan, output_name
from floodgate.wire import responses
from floodgate.wire.envelope import keep_message_memory
from floodgate.wire.metrics import Metrics
from floodgate.wire.requests import parse, to_item

TIMES = 1000
SUBMISSIONS = 300
_NEVER_NS = 1 << 62


class Imitation:
    """A backend that scores every row 0.25."""

    def __init__(self) -> None:
        self._ensembles: dict[str, EnsembleSpec] = {}

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        self._ensembles = {spec.name: spec for spec in ensembles}

    async def infer(self, batch: Batch) -> BatchOutcome:
        return BatchOutcome(
            {
                output_name(head.name, output.name): np.full((batch.rows, output.elements), 0.25, np.float32)
                for head in self._ensembles[batch.ensemble].heads
                for output in head.outputs
            }
        )

    def ready(self) -> bool:
        return True

    async def close(self) -> None:
        return

    def describe(self) -> Mapping[str, Any]:
        return {}


class Kept:
    """Keeps the last record."""

    def __init__(self) -> None:
        self.record: DecisionRecord | None = None

    def append(self, record: DecisionRecord) -> bool:
        self.record = record
        return True


async def measure(config: Config, raw: bytes) -> dict[str, float]:
    """CPU ms a request by step. ``raw``: a request with one picture."""
    heads = load_heads(config.model_repository, config.heads)
    labels = {head.name: head.labels for head in heads}
    known = {card.name: card.labels for card in list_heads(config.model_repository)}
    policies = PolicySet(config.policy, (), lambda path: load_policy(path, config.taxonomy, labels, known))
    ensembles = build_ensembles(heads)
    backend, kept, metrics = Imitation(), Kept(), Metrics()
    core = Core(core_options(config, CoreSplit(2, 0, 1, 1), media_options(config)), backend)
    await core.configure(ensembles)
    pipeline = Pipeline(
        core=core,
        backend=backend,
        policies=policies,
        ensembles=ensembles,
        records=kept,
        server_version=__version__,
        preprocessing_digest=preprocessing_digest(ensembles, 0),
        sampling=Sampling(config.media.max_frames, config.media.min_interval_ms),
        max_frames=config.limits.frames,
    )

    def opened() -> Item:
        return to_item(
            parse(raw), request_id="r", limits=config.limits, caller="default", rights=config.callers["default"]
        ).item

    keep_message_memory()
    gc.collect()
    gc.freeze()  # both as the server does
    try:
        item = opened()
        (part,) = item.parts
        plan = SamplingPlan(16, 500, 1)
        pictures = [spec for spec in ensembles if spec.modality is Modality.IMAGE]
        submit_ns = 0
        for _ in range(SUBMISSIONS):
            start_ns = time.thread_time_ns()
            ticket = core.submit(part, pictures, Lane.STANDARD, _NEVER_NS, plan)
            submit_ns += time.thread_time_ns() - start_ns
            core_answer = await ticket.answer
        decision = await pipeline.moderate(opened(), time.monotonic_ns(), _NEVER_NS)
        answers = {part.part_id: core_answer}
        record = kept.record
        assert record is not None
    finally:
        await core.close()
    return {
        "parse": _alone(opened),
        "submit": submit_ns / 1e6 / SUBMISSIONS,
        "scoring": _alone(lambda: scoring.scored(part, pictures, core_answer, plan)),
        "policy": _alone(lambda: evaluate(policies.active, item.surface, item.context, decision.parts)),
        "record": _alone(lambda: record_of(decision, answers)),
        "responses": _alone(lambda: responses.answer(decision).SerializeToString()),
        "metrics": _alone(lambda: (metrics.decided(decision, parse_ns=0), metrics.ended("Moderate", "STANDARD", "OK"))),
        "log": _alone(lambda: record.to_json_line().encode("ascii")),
    }


def _alone(step: Callable[[], object]) -> float:
    """CPU ms of one step."""
    start_ns = time.thread_time_ns()
    for _ in range(TIMES):
        step()
    return (time.thread_time_ns() - start_ns) / 1e6 / TIMES
