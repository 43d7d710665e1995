"""The rules of one scope (a market class, a surface, an audience) over what was measured of an item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from floodgate.policy.combination import float32
from floodgate.policy.compiled import CompiledPolicy, DefaultRules, LabelRule
from floodgate.policy.condition import AllOf, AnyOf, Condition, DeclaredTerm, ScoreTerm, SignalTerm, Term
from floodgate.policy.measure import LabelMeasure, PartValue
from floodgate.policy.outcome import Outcome, RoleRules
from floodgate.policy.scope import Scope, Variants
from floodgate.policy.strictness import merge
from floodgate.types import (
    ConditionKind,
    Context,
    Evidence,
    Finding,
    PartResult,
    PartState,
    Restriction,
    Review,
    RuleStep,
    ScoreBasis,
)


@dataclass
class Judgement:
    """What the rules of one scope made of an item; restrictions index into its own findings.
    ``outcomes[i]`` is what ``findings[i]`` led to."""

    findings: list[Finding] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    steps: list[RuleStep] = field(default_factory=list)
    restrictions: tuple[Restriction, ...] = ()
    review: Review | None = None

    def add(self, finding: Finding, outcome: Outcome) -> None:
        self.findings.append(finding)
        self.outcomes.append(outcome)


class Judge:
    """The rules of one scope over what was measured."""

    def __init__(
        self,
        policy: CompiledPolicy,
        surface: str,
        context: Context,
        parts: Sequence[PartResult],
        measures: Sequence[LabelMeasure],
        scope: Scope,
        market: str,
    ) -> None:
        self._policy = policy
        self._surface = surface
        self._context = context
        self._parts = parts
        self._measures = measures
        self._scope = scope
        self._market = market
        self._tops = {entry.rule.label: entry.top for entry in measures}
        self._result = Judgement()

    def judge(self) -> Judgement:
        for entry in self._measures:
            self._climb(entry)
            self._report_absent(entry)
            self._unscored(entry)
        self._unreadable()
        self._partial()
        for condition in self._policy.conditions:
            self._condition(condition)
        result = self._result
        result.restrictions = merge(
            replace(restriction, finding_index=index)
            for index, outcome in enumerate(result.outcomes)
            for restriction in outcome.restrictions
        )
        result.review = self._review(result.outcomes)
        return result

    def _step(
        self,
        label: str,
        rule_id: str,
        *,
        fired: bool,
        value: float | None = None,
        threshold: float | None = None,
        override: str = "",
        condition: str = "",
    ) -> None:
        margin = None
        if value is not None and threshold is not None:
            # Both are float32, so that float64 holds enough of the difference to round it as float32 would.
            margin = float32(value - threshold)
        self._result.steps.append(
            RuleStep(self._market, label, rule_id, value, threshold, margin, fired, override, condition)
        )

    def _climb(self, entry: LabelMeasure) -> None:
        top = entry.top
        if top is None:
            return
        override, ladder = entry.rule.ladder.at(self._scope)
        reached = sum(top.value >= rung.at for rung in ladder)
        for index, rung in enumerate(ladder):
            self._step(
                entry.rule.label,
                rung.outcome.rule_id,
                fired=index == reached - 1,
                value=top.value,
                threshold=rung.at,
                override=override,
            )
        if not reached:
            return
        rung = ladder[reached - 1]
        self._result.add(
            Finding(
                label=entry.rule.label,
                rule_id=rung.outcome.rule_id,
                policy_ref=entry.rule.policy_ref,
                evidence=tuple(value.evidence for value in entry.scored if value.value >= rung.at),
                basis=_basis(top, rung.at),
            ),
            rung.outcome,
        )

    def _report_absent(self, entry: LabelMeasure) -> None:
        for part_id, head, reason in entry.absent:
            self._step(entry.rule.label, "", fired=False, condition=f"{part_id} without {head}: {reason}")

    def _unscored(self, entry: LabelMeasure) -> None:
        if not entry.unscored:
            return
        own_override, own = entry.rule.unscored.at(self._scope)
        override, defaults = self._policy.defaults.unscored.at(self._scope)
        fired: dict[Outcome, list[Evidence]] = {}
        for part_id, role in entry.unscored:
            inherited = role not in own
            outcome = defaults.get(role) if inherited else own[role]
            self._step(
                entry.rule.label,
                outcome.rule_id if outcome else "",
                fired=outcome is not None,
                override=override if inherited else own_override,
                condition=f"{part_id} {ConditionKind.UNSCORED.value}",
            )
            if outcome is not None:
                fired.setdefault(outcome, []).append(Evidence(part_id))
        for outcome, evidence in fired.items():
            self._found(entry.rule.label, entry.rule.policy_ref, outcome, evidence, ConditionKind.UNSCORED)

    def _unreadable(self) -> None:
        parts = [part for part in self._parts if part.state is PartState.UNREADABLE]
        self._whole(ConditionKind.UNREADABLE, parts, lambda rules: rules.unreadable)

    def _partial(self) -> None:
        parts = [part for part in self._parts if part.partial and part.state is not PartState.UNREADABLE]
        self._whole(ConditionKind.PARTIAL, parts, lambda rules: rules.partial)

    def _whole(
        self,
        kind: ConditionKind,
        parts: Sequence[PartResult],
        rules_of: Callable[[LabelRule | DefaultRules], Variants[RoleRules]],
    ) -> None:
        """What follows from the condition of whole parts. Each label that applies to a part has its say; where one has
        no rule of its own, or none applies, the default rule stands for the part as a whole, with no label."""
        if not parts:
            return
        override, defaults = rules_of(self._policy.defaults).at(self._scope)
        fired: dict[tuple[str, str], tuple[str, Outcome, list[Evidence]]] = {}
        for part in parts:
            applicable = [entry.rule for entry in self._measures if entry.rule.applies_to(part.role, part.modality)]
            inherits = not applicable
            for rule in applicable:
                own_override, own = rules_of(rule).at(self._scope)
                if part.role not in own:
                    inherits = True
                    continue
                outcome = own[part.role]
                self._note_part(kind, part.part_id, rule.label, outcome, own_override)
                _fire(fired, part.part_id, rule.label, rule.policy_ref, outcome)
            if inherits:
                outcome = defaults.get(part.role)
                self._note_part(kind, part.part_id, "", outcome, override)
                _fire(fired, part.part_id, "", self._policy.guidelines, outcome)
        for (label, _), (policy_ref, outcome, evidence) in fired.items():
            self._found(label, policy_ref, outcome, evidence, kind)

    def _note_part(self, kind: ConditionKind, part_id: str, label: str, outcome: Outcome | None, override: str) -> None:
        self._step(
            label,
            outcome.rule_id if outcome else "",
            fired=outcome is not None,
            override=override,
            condition=f"{part_id} {kind.value}",
        )

    def _found(
        self, label: str, policy_ref: str, outcome: Outcome, evidence: list[Evidence], kind: ConditionKind
    ) -> None:
        finding = Finding(label, outcome.rule_id, policy_ref, tuple(evidence), None, kind)
        self._result.add(finding, outcome)

    def _condition(self, condition: Condition) -> None:
        market = self._market
        if condition.where.specificity(market, self._surface, self._context.viewer_audience) is None:
            return
        met: list[tuple[ScoreTerm, PartValue]] = []
        fired = self._met(condition.when, condition, met)
        self._step(
            condition.label,
            condition.outcome.rule_id,
            fired=fired,
            override=condition.where.text,
            condition="when",
        )
        if not fired:
            return
        term, value = met[0]
        self._result.add(
            Finding(
                label=condition.label,
                rule_id=condition.outcome.rule_id,
                policy_ref=condition.policy_ref,
                evidence=tuple(dict.fromkeys(entry[1].evidence for entry in met)),
                basis=_basis(value, term.at),
            ),
            condition.outcome,
        )

    def _met(self, term: Term, condition: Condition, met: list[tuple[ScoreTerm, PartValue]]) -> bool:
        # Every term is looked at, also when the answer is known: the record shows all comparisons.
        if isinstance(term, AllOf):
            answers = [self._met(child, condition, met) for child in term.terms]
            return all(answers)
        if isinstance(term, AnyOf):
            answers = [self._met(child, condition, met) for child in term.terms]
            return any(answers)
        if isinstance(term, ScoreTerm):
            top = self._tops.get(term.label)
            if top is None:
                return False
            reached = top.value >= term.at
            self._step(
                term.label,
                condition.outcome.rule_id,
                fired=False,
                value=top.value,
                threshold=term.at,
                condition="term",
            )
            if reached:
                met.append((term, top))
            return reached
        if isinstance(term, DeclaredTerm):
            return term.label in self._context.declared_labels
        return _signal_met(term, self._context)

    def _review(self, outcomes: Sequence[Outcome]) -> Review | None:
        """One review for all: the queue of the most urgent order (of equals, the one that holds, then the
        taxonomy's first queue), held if any is, with every rule that asked for it."""
        orders = [(outcome.review, outcome.rule_id) for outcome in outcomes if outcome.review is not None]
        if not orders:
            return None
        rank = {name: index for index, name in enumerate(self._policy.taxonomy.queues)}
        first = max((order for order, _ in orders), key=lambda o: (o.priority, o.hold, -rank[o.queue]))
        return Review(
            queue=first.queue,
            priority=first.priority,
            hold=any(order.hold for order, _ in orders),
            reasons=tuple(dict.fromkeys(rule_id for _, rule_id in orders)),
        )


def _fire(
    fired: dict[tuple[str, str], tuple[str, Outcome, list[Evidence]]],
    part_id: str,
    label: str,
    policy_ref: str,
    outcome: Outcome | None,
) -> None:
    if outcome is not None:
        fired.setdefault((label, outcome.rule_id), (policy_ref, outcome, []))[2].append(Evidence(part_id))


def _basis(value: PartValue, threshold: float) -> ScoreBasis:
    return ScoreBasis(raw=value.raw, calibrated=value.value, threshold=threshold, head=value.head)


def _signal_met(term: SignalTerm, context: Context) -> bool:
    value = context.signals.get(term.name)
    if value is None:
        return False
    if term.comparison == "equals":
        return value == term.value
    if term.comparison == "at_least":
        return float(value) >= float(term.value)
    return float(value) <= float(term.value)
