"""A policy after loading: frozen values and small integer tables, nothing left to look up by name twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from floodgate.policy.calibration import Calibration
from floodgate.policy.combination import Combination
from floodgate.policy.condition import Condition
from floodgate.policy.fusion import Fusion
from floodgate.policy.outcome import Ladder, RoleRules
from floodgate.policy.scope import Axes, Variants
from floodgate.policy.taxonomy import Taxonomy
from floodgate.types import Modality, PolicyId, Role, Sampling


@dataclass(frozen=True, slots=True)
class HeadUse:
    """One head that feeds a label, and what is done to its scores before fusion."""

    head: str
    combine: Combination
    calibrate: Calibration


@dataclass(frozen=True, slots=True)
class LabelRule:
    """All the policy says about one label. ``heads`` is in the policy's order, which is the order of sums."""

    label: str
    policy_ref: str
    roles: frozenset[Role]
    modalities: frozenset[Modality]
    heads: tuple[HeadUse, ...]
    fuse: Fusion
    ladder: Variants[Ladder]
    unscored: Variants[RoleRules]
    unreadable: Variants[RoleRules]
    partial: Variants[RoleRules]

    def applies_to(self, role: Role, modality: Modality) -> bool:
        """Whether the label is for such a part; ``modalities`` holds kinds (``Modality.kind``)."""
        return role in self.roles and modality.kind in self.modalities


@dataclass(frozen=True, slots=True)
class DefaultRules:
    """What a part does when no label says otherwise; complete for every role but CONTEXT, or, where ``partial`` is not
    given, empty: nothing happens."""

    unscored: Variants[RoleRules]
    unreadable: Variants[RoleRules]
    partial: Variants[RoleRules]


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy that was accepted. ``inactive`` are the optional labels that no configured head feeds.
    ``signals`` maps a signal's name to its type: ``bool``, ``number`` or ``string``. ``sampling`` is what it wants of
    videos and animations; what it leaves unsaid is the server's to say."""

    id: PolicyId
    guidelines: str
    taxonomy: Taxonomy
    signals: Mapping[str, str]
    sampling: Sampling
    labels: tuple[LabelRule, ...]
    inactive: tuple[str, ...]
    conditions: tuple[Condition, ...]
    defaults: DefaultRules
    axes: Axes

    def label(self, name: str) -> LabelRule:
        """The rules of an active label. Raises KeyError for any other."""
        for rule in self.labels:
            if rule.label == name:
                return rule
        raise KeyError(name)
