"""The values that travel between stages. Frozen, plain, no behaviour beyond tiny derivations.

Flow: ``Item`` (what was asked) -> ``PartResult`` per part (what the heads said) -> ``Verdict`` (what policy
makes of it) -> a decision. Times are milliseconds of media time where named ``time_ms`` and nanoseconds on
CLOCK_MONOTONIC where named ``*_ns``. Scores are float32 values in [0, 1] held as Python floats.
"""

from floodgate.types.batch import Backend, Batch, BatchOutcome, HeadFailure, TensorRef
from floodgate.types.decision import Decision, Degradation, DegradationKind, ModelRef, Timings
from floodgate.types.head import (
    Competence,
    EnsembleSpec,
    HeadSpec,
    ImageViewSpec,
    OutputSpec,
    TensorSpec,
    TextViewSpec,
    ViewSpec,
    output_name,
)
from floodgate.types.item import Context, Item, Lane, Modality, Part, Role, SignalValue
from floodgate.types.result import Box, FrameScore, MissingHead, PartResult, PartState
from floodgate.types.verdict import (
    Action,
    ConditionKind,
    Evidence,
    Finding,
    MarketOutcome,
    PolicyId,
    Restriction,
    RestrictionKind,
    Review,
    RuleStep,
    ScoreBasis,
    Verdict,
)

__all__ = [
    "Action",
    "Backend",
    "Batch",
    "BatchOutcome",
    "Box",
    "Competence",
    "ConditionKind",
    "Context",
    "Decision",
    "Degradation",
    "DegradationKind",
    "EnsembleSpec",
    "Evidence",
    "Finding",
    "FrameScore",
    "HeadFailure",
    "HeadSpec",
    "ImageViewSpec",
    "Item",
    "Lane",
    "MarketOutcome",
    "MissingHead",
    "Modality",
    "ModelRef",
    "OutputSpec",
    "Part",
    "PartResult",
    "PartState",
    "PolicyId",
    "Restriction",
    "RestrictionKind",
    "Review",
    "Role",
    "RuleStep",
    "ScoreBasis",
    "SignalValue",
    "TensorRef",
    "TensorSpec",
    "TextViewSpec",
    "Timings",
    "Verdict",
    "ViewSpec",
    "output_name",
]
