"""What policy makes of an item."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from floodgate.types.result import Box


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
    PARTIAL = "partial"


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
