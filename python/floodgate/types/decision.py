"""A verdict with everything that led to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from floodgate.types.item import Item
from floodgate.types.result import PartResult
from floodgate.types.verdict import Verdict


class DegradationKind(IntEnum):
    """Why a decision rests on less than it should. Values equal the proto's."""

    DEADLINE = 1
    HEAD_MISSING = 2
    UNAVAILABLE = 3


@dataclass(frozen=True, slots=True)
class Degradation:
    """``missing`` holds "<part_id>" or "<part_id>/<head>"."""

    kind: DegradationKind
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelRef:
    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Microseconds; the longest part's for each stage, so they overlap and need not add up. ``submit_us``: until the
    core has all parts; ``answer_us``: from the last part's answer in the core until it has been read."""

    submit_us: int = 0
    queue_us: int = 0
    decode_us: int = 0
    infer_us: int = 0
    answer_us: int = 0
    policy_us: int = 0
    total_us: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with everything that led to it; ``wire`` turns it into the answer, ``decision`` into the record."""

    decision_id: str
    item: Item
    verdict: Verdict
    parts: tuple[PartResult, ...]  # in the item's order
    models: tuple[ModelRef, ...]
    degraded: tuple[Degradation, ...]
    timings: Timings
    preprocessing_digest: str
    server_version: str
    decided_at_ns: int  # Unix time, ns
