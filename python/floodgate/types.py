"""The values that travel between stages. Frozen, plain, no behaviour beyond tiny derivations.

Flow: ``Item`` (what was asked) -> ``PartResult`` per part (what the heads said) -> ``Verdict`` (what policy
makes of it) -> a decision. Times are milliseconds of media time where named ``time_ms`` and nanoseconds on
CLOCK_MONOTONIC where named ``*_ns``. Scores are float32 values in [0, 1] held as Python floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# --------------------------------------------------------------------------- what is asked


class Lane(IntEnum):
    """Urgency class. Values equal the proto's."""

    STANDARD = 1
    LIVE = 2
    BULK = 3


class Role(IntEnum):
    """What a part is to its item. Values equal the proto's. CONTEXT is shown to judges, never judged."""

    MAIN = 1
    CAPTION = 2
    TITLE = 3
    HASHTAG = 4
    TRANSCRIPT = 5
    COVER = 6
    USERNAME = 7
    COMMENT = 8
    CONTEXT = 9


class Modality(Enum):
    IMAGE = "image"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Part:
    """One medium of an item. ``data`` is the encoded picture, or the text as UTF-8 bytes."""

    part_id: str
    role: Role
    modality: Modality
    data: bytes
    language: str = ""  # BCP 47, text only; empty: not declared


SignalValue = bool | float | str


@dataclass(frozen=True, slots=True)
class Context:
    """What the caller knows about the item. ``markets`` are ISO 3166-1 alpha-2, upper case, no repeats."""

    origin_market: str = ""
    markets: tuple[str, ...] = ()
    viewer_audience: str = ""
    creator_id: str = ""
    signals: Mapping[str, SignalValue] = field(default_factory=dict)
    declared_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One moderation request after the wire has checked it."""

    request_id: str
    content_id: str
    content_version: str
    surface: str
    trigger: str  # the proto enum's name without its prefix, "UPLOAD"
    parts: tuple[Part, ...]
    context: Context
    lane: Lane
    policy_revision: str  # empty: the active one
    trace: bool
    mode: str  # "ENFORCE" or "EVALUATE"
    caller: str


# --------------------------------------------------------------------------- heads and ensembles


@dataclass(frozen=True, slots=True)
class ImageViewSpec:
    """Mirror of ``floodgate::ImageView`` (cpp/include/floodgate/view.h); same meanings and names."""

    width: int
    height: int
    mode: str = "stretch"  # stretch | contain | cover
    filter: str = "bilinear"  # bilinear | bicubic | lanczos | box | hamming
    crop_width: int = 0
    crop_height: int = 0
    pad_anchor: str = "center"  # center | top_left
    pad_color: tuple[int, int, int] = (0, 0, 0)
    color: str = "rgb"  # rgb | bgr
    layout: str = "nhwc"  # nhwc | nchw


@dataclass(frozen=True, slots=True)
class TextViewSpec:
    """Mirror of ``floodgate::TextView``: row lengths in bytes, ascending."""

    buckets: tuple[int, ...]
    normalization: str = "none"


ViewSpec = ImageViewSpec | TextViewSpec


@dataclass(frozen=True, slots=True)
class Competence:
    """What a head can judge. A score outside it is reported, and is *unscored* for policy.

    ``languages``: BCP 47 primary subtags the head understands; empty: not language-bound.
    ``roles``: part roles it is meant for; empty: all.
    ``min_side_px``: smallest picture side it can judge; 0: any.
    ``min_known_share``: for text of no declared language, the least share [0, 1] of its words that the head
    must know (the head's ``known_share`` output); 0: not checked.
    """

    languages: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    min_side_px: int = 0
    min_known_share: float = 0.0


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One float32 output of a head: ``name`` in the head's config, ``elements`` a row (product of its dims).

    ``kind``: "scores" (one column a label), "boxes" (labels x 4: x0, y0, x1, y1 in [0, 1] of the view),
    or "known_share" (1: see ``Competence``).
    """

    name: str
    kind: str
    shape: tuple[int, ...]  # without the batch dimension

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) if self.shape else 1


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A classifier as its ``config.pbtxt`` declares it.

    ``labels[i]`` is what column i of the "scores" output feeds. ``digest`` is the SHA-256 (hex) over the
    config and the weights, so it changes whenever the scores may.
    """

    name: str
    version: int
    digest: str
    modality: Modality
    view: ViewSpec
    labels: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    competence: Competence
    licence: str
    max_batch: int


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input tensor of an ensemble: a view and the name it goes by. Heads with equal views share one."""

    name: str
    view: ViewSpec


@dataclass(frozen=True, slots=True)
class EnsembleSpec:
    """``name`` is ``<modality>@<digest8>`` over its heads' versions and digests.

    Text ensembles have exactly one TensorSpec, sent as ``<name>`` uint8[n, L] and ``<name>_length`` int32[n, 1].
    An ensemble's output is called ``<head>__<output>``.
    """

    name: str
    digest: str
    modality: Modality
    heads: tuple[HeadSpec, ...]
    tensors: tuple[TensorSpec, ...]
    max_batch: int

    def tensor_of(self, head: HeadSpec) -> str:
        """The name of the tensor that ``head`` reads."""
        return next(tensor.name for tensor in self.tensors if tensor.view == head.view)


def output_name(head: str, output: str) -> str:
    """The ensemble's name for one head's output."""
    return f"{head}__{output}"


# --------------------------------------------------------------------------- batches


class TensorRef(Protocol):
    """Where one input tensor of a batch lies (``floodgate::TensorRef``)."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...  # "UINT8", "INT32"
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def region(self) -> str: ...  # POSIX shared-memory key
    @property
    def region_bytes(self) -> int: ...
    @property
    def kind(self) -> str: ...  # "system" | "cuda"
    @property
    def device(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class Batch(Protocol):
    """A sealed batch of one ensemble."""

    @property
    def batch_id(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def ensemble(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def deadline_ns(self) -> int: ...  # the latest deadline among its rows
    @property
    def tensors(self) -> Sequence[TensorRef]: ...


@dataclass(frozen=True, slots=True)
class HeadFailure:
    """Why a head gave no scores for a batch. ``reason`` is a short stable word for metrics and records:
    ``unavailable``, ``failed``, ``bad_output``, ``breaker_open``."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What came back for a batch: ``outputs`` maps ``<head>__<output>`` to float32[rows, elements] whose shape
    and dtype were checked (finiteness is checked row by row in the core); ``failures`` maps each head without
    outputs to its reason. Every head of the ensemble is in exactly one of the two."""

    outputs: Mapping[str, npt.NDArray[np.float32]]
    failures: Mapping[str, HeadFailure] = field(default_factory=dict)


class Backend(Protocol):
    """An inference server, as the pipeline sees it. Five methods; nothing else may be assumed."""

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        """Make the ensembles servable. Raises Unavailable or ModelError."""

    async def infer(self, batch: Batch) -> BatchOutcome:
        """Run one batch. Returns only when the server has answered for good, or raises ``BackendLost``
        when it is certain that the server no longer reads the batch's memory (its process is dead, or it
        refused the request). It has no time-out of its own: deadlines belong to the scheduler."""

    def ready(self) -> bool:
        """Whether a batch sent now would be tried."""

    async def close(self) -> None:
        """Stop. Every ``infer`` under way ends first, or raises."""

    def describe(self) -> Mapping[str, Any]:
        """Facts for the operator: kind, address, pid, restarts, memory mode, breakers."""


# --------------------------------------------------------------------------- what the heads said


class PartState(Enum):
    JUDGED = "JUDGED"
    UNREADABLE = "UNREADABLE"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Box:
    """Fractions of the upright picture's width and height, [0, 1], x0 <= x1, y0 <= y1."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One number from one head about one frame (or text row) of one part."""

    part_id: str
    time_ms: int  # 0 for a photo or text
    head: str
    label: str
    score: float
    in_competence: bool = True
    competence_reason: str = ""  # why not, when it is not
    box: Box | None = None
    span: tuple[int, int] | None = None  # bytes [start, end) of the text that the row covers


@dataclass(frozen=True, slots=True)
class MissingHead:
    """A head that should have scored a part and did not. ``reason``: ``deadline``, ``unavailable``, ``failed``,
    ``bad_output``, ``non_finite``, ``breaker_open``, ``overloaded``."""

    part_id: str
    head: str
    reason: str


@dataclass(frozen=True, slots=True)
class PartResult:
    """All that is known about one part when policy looks at it."""

    part_id: str
    role: Role
    modality: Modality
    state: PartState
    reason: str = ""  # for a person, when not JUDGED
    reason_code: str = ""  # errors.*.code, when not JUDGED
    scores: tuple[FrameScore, ...] = ()
    missing: tuple[MissingHead, ...] = ()
    frames_sampled: int = 0
    frames_dropped: int = 0


# --------------------------------------------------------------------------- what policy makes of it


class Action(IntEnum):
    """Summary of a verdict, mildest first; the strictest restriction decides. Values equal the proto's."""

    ALLOW = 1
    LABEL = 2
    AGE_RESTRICT = 3
    LIMIT = 4
    REMOVE = 5


class RestrictionKind(IntEnum):
    """Values equal the proto's."""

    LABEL = 1
    AGE_GATE = 2
    DEMOTE = 3
    NO_RECOMMEND = 4
    NO_INTERACTION = 5
    NO_MONETISATION = 6
    GEO_BLOCK = 7
    REMOVE = 8


@dataclass(frozen=True, slots=True)
class Restriction:
    kind: RestrictionKind
    territories: tuple[str, ...] = ()  # ISO 3166-1 alpha-2; empty: everywhere
    duration_s: int = 0  # 0: for good
    param: str = ""  # e.g. the age of an AGE_GATE, the text id of a LABEL
    finding_index: int = 0  # into Verdict.findings


@dataclass(frozen=True, slots=True)
class Review:
    """A person should look. ``hold``: keep the item unpublished until then. ``priority``: 0 (idle) to 100."""

    queue: str
    priority: int
    hold: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    part_id: str
    time_ms: int = 0
    box: Box | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ScoreBasis:
    """``raw``: float32 after per-head combination and fusion; ``calibrated``: what was compared;
    ``threshold``: what it was compared with (float32, ``>=``)."""

    raw: float
    calibrated: float
    threshold: float
    head: str


class ConditionKind(Enum):
    """Why a finding exists when it is not a score."""

    UNSCORED = "unscored"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing policy found. ``basis`` is None when the finding stands on a condition (``condition``)."""

    label: str
    rule_id: str
    policy_ref: str
    evidence: tuple[Evidence, ...]
    basis: ScoreBasis | None
    condition: ConditionKind | None = None


@dataclass(frozen=True, slots=True)
class MarketOutcome:
    """The verdict in one market, given only where it differs from the item's own."""

    market: str
    action: Action
    restrictions: tuple[Restriction, ...]
    review: Review | None
    rule_ids: tuple[str, ...]
    known: bool = True  # False: the policy does not know the market and used its default


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One comparison on the way to a verdict, kept in the record: which label, which rule (or none) it led to,
    the value, the rung's threshold and margin (value - threshold), under which override."""

    market: str  # "" is the default evaluation
    label: str
    rule_id: str
    value: float | None
    threshold: float | None
    margin: float | None
    fired: bool
    override: str = ""
    condition: str = ""


@dataclass(frozen=True, slots=True)
class PolicyId:
    name: str
    revision: str
    digest: str  # SHA-256, hex, over the policy and taxonomy files


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy decided; pure function of (compiled policy, Item context, PartResults)."""

    action: Action
    restrictions: tuple[Restriction, ...]
    review: Review | None
    findings: tuple[Finding, ...]
    market_outcomes: tuple[MarketOutcome, ...]
    unknown_markets: tuple[str, ...]
    steps: tuple[RuleStep, ...]
    policy: PolicyId


# --------------------------------------------------------------------------- what is answered


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
    """Microseconds; the longest part's for each stage, so they overlap and need not add up."""

    queue_us: int = 0
    decode_us: int = 0
    infer_us: int = 0
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
