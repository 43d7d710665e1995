"""A policy applied to an item: a pure function, the same answer for the same input for ever.

The order is fixed: scores per (part, time, head, label), combined over frames, calibrated, fused over heads
(``measure``), then the rules of each market. The verdict proper is that of ``origin_market``, or of the
policy's default when it is not given or not known; every other market asked for has an outcome of its own
where it differs. Every comparison is float32 ``>=``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from floodgate.errors import InvalidRequest
from floodgate.policy.compiled import CompiledPolicy
from floodgate.policy.condition import AllOf, AnyOf, Condition, DeclaredTerm, ScoreTerm, SignalTerm, Term
from floodgate.policy.measure import LabelMeasure, PartValue, judged_parts, measure
from floodgate.policy.outcome import Outcome
from floodgate.policy.scope import Scope
from floodgate.policy.strictness import action_of, merge, same_effect
from floodgate.types import (
    ConditionKind,
    Context,
    Evidence,
    Finding,
    MarketOutcome,
    PartResult,
    PartState,
    Restriction,
    Review,
    RuleStep,
    ScoreBasis,
    Verdict,
)


def check_context(policy: CompiledPolicy, surface: str, context: Context) -> None:
    """Raise ``InvalidRequest``, naming the field, for words that the taxonomy does not have and signals of
    the wrong type. Signals that the policy does not declare are let through and have no effect, so that a
    policy can drop one before its callers do; unknown markets are the verdict's to report."""
    if surface not in policy.axes.surfaces:
        known = ", ".join(policy.axes.surfaces)
        raise InvalidRequest(f"unknown surface '{surface}'; the taxonomy has {known}", field="surface")
    audience = context.viewer_audience
    if audience not in policy.axes.audiences:
        known = ", ".join(policy.taxonomy.audiences)
        raise InvalidRequest(
            f"unknown audience '{audience}'; the taxonomy has {known}", field="context.viewer_audience"
        )
    for label in context.declared_labels:
        if label not in policy.taxonomy.labels:
            raise InvalidRequest(f"unknown label '{label}'", field="context.declared_labels")
    for name, value in context.signals.items():
        kind = policy.signals.get(name)
        given = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        if kind is not None and kind != given:
            raise InvalidRequest(
                f"signal '{name}' is a {kind} in this policy, not a {given}", field=f"context.signals[{name}]"
            )


def evaluate(policy: CompiledPolicy, surface: str, context: Context, parts: Sequence[PartResult]) -> Verdict:
    """Judge one item.

    ``findings`` are those of the verdict proper, followed by those that only another market's outcome stands
    on: restrictions point to their own through ``finding_index``. ``steps`` hold every comparison made, once
    for each set of markets that the policy treats alike, under the name of the first of them.

    Raises ``InvalidRequest`` as ``check_context`` does.
    """
    check_context(policy, surface, context)
    counted = judged_parts(parts)
    measures = [measure(rule, counted) for rule in policy.labels]
    axes = policy.axes
    surface_index, audience_index = axes.surfaces[surface], axes.audiences[context.viewer_audience]

    def judge(market: str) -> _Judgement:
        scope = Scope(axes.class_of(market), surface_index, audience_index)
        name = market if market in axes.markets else ""
        return _Judge(policy, surface, context, counted, measures, scope, name).judge()

    base = judge(context.origin_market)
    findings = list(base.findings)
    steps = list(base.steps)
    outcomes: list[MarketOutcome] = []
    base_rules = _rule_ids(base.findings)
    by_class = {axes.class_of(context.origin_market): base}
    for market in dict.fromkeys(context.markets):
        market_class = axes.class_of(market)
        if market_class not in by_class:
            by_class[market_class] = judge(market)
            steps.extend(by_class[market_class].steps)
        own = by_class[market_class]
        rules = _rule_ids(own.findings)
        if (
            same_effect(own.restrictions, base.restrictions)
            and own.review == base.review
            and rules == base_rules
        ):
            continue
        outcomes.append(
            MarketOutcome(
                market=market,
                action=action_of(own.restrictions),
                restrictions=_reindexed(own, findings),
                review=own.review,
                rule_ids=rules,
                known=market in axes.markets,
            )
        )
    asked = dict.fromkeys((context.origin_market, *context.markets))
    return Verdict(
        action=action_of(base.restrictions),
        restrictions=base.restrictions,
        review=base.review,
        findings=tuple(findings),
        market_outcomes=tuple(outcomes),
        unknown_markets=tuple(market for market in asked if market and market not in axes.markets),
        steps=tuple(steps),
        policy=policy.id,
    )


def _rule_ids(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.rule_id for finding in findings))


@dataclass
class _Judgement:
    """What the rules of one scope made of an item; restrictions index into its own findings."""

    findings: list[Finding] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    steps: list[RuleStep] = field(default_factory=list)
    restrictions: tuple[Restriction, ...] = ()
    review: Review | None = None

    def add(self, finding: Finding, outcome: Outcome) -> None:
        self.findings.append(finding)
        self.outcomes.append(outcome)


def _reindexed(judgement: _Judgement, findings: list[Finding]) -> tuple[Restriction, ...]:
    """The judgement's restrictions, pointing into ``findings``, to which its own are added where they
    lack."""
    positions: list[int] = []
    for finding in judgement.findings:
        if finding not in findings:
            findings.append(finding)
        positions.append(findings.index(finding))
    return tuple(replace(r, finding_index=positions[r.finding_index]) for r in judgement.restrictions)


class _Judge:
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
        self._result = _Judgement()

    def judge(self) -> _Judgement:
        for entry in self._measures:
            self._climb(entry)
            self._report_absent(entry)
            self._unscored(entry)
        self._unreadable()
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
            margin = float(np.float32(value) - np.float32(threshold))
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
        """Each label that applies to an unreadable part has its say; where one has no rule of its own, or
        none applies, the default rule stands for the part as a whole, with no label."""
        override, defaults = self._policy.defaults.unreadable.at(self._scope)
        fired: dict[tuple[str, str], tuple[str, Outcome, list[Evidence]]] = {}
        for part in self._parts:
            if part.state is not PartState.UNREADABLE:
                continue
            applicable = [
                entry.rule for entry in self._measures if entry.rule.applies_to(part.role, part.modality)
            ]
            inherits = not applicable
            for rule in applicable:
                own_override, own = rule.unreadable.at(self._scope)
                if part.role not in own:
                    inherits = True
                    continue
                self._note_unreadable(
                    fired, part.part_id, rule.label, rule.policy_ref, own[part.role], own_override
                )
            if inherits:
                ref = self._policy.guidelines
                self._note_unreadable(fired, part.part_id, "", ref, defaults.get(part.role), override)
        for (label, _), (policy_ref, outcome, evidence) in fired.items():
            self._found(label, policy_ref, outcome, evidence, ConditionKind.UNREADABLE)

    def _note_unreadable(
        self,
        fired: dict[tuple[str, str], tuple[str, Outcome, list[Evidence]]],
        part_id: str,
        label: str,
        policy_ref: str,
        outcome: Outcome | None,
        override: str,
    ) -> None:
        self._step(
            label,
            outcome.rule_id if outcome else "",
            fired=outcome is not None,
            override=override,
            condition=f"{part_id} {ConditionKind.UNREADABLE.value}",
        )
        if outcome is not None:
            entry = fired.setdefault((label, outcome.rule_id), (policy_ref, outcome, []))
            entry[2].append(Evidence(part_id))

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
