"""A policy applied to an item: a pure function, the same answer for the same input for ever.

The order is fixed: scores per (part, time, head, label), combined over frames, calibrated, fused over heads
(``measure``), then the rules of each market. The verdict proper is that of ``origin_market``, or of the
policy's default when it is not given or not known; every other market asked for has an outcome of its own
where it differs. Every comparison is float32 ``>=``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from floodgate.errors import InvalidRequest
from floodgate.policy.compiled import CompiledPolicy
from floodgate.policy.judge import Judge, Judgement
from floodgate.policy.measure import judged_parts, measure
from floodgate.policy.scope import Scope
from floodgate.policy.strictness import action_of, same_effect
from floodgate.types import (
    Context,
    Finding,
    MarketOutcome,
    PartResult,
    Restriction,
    Verdict,
)


def check_context(policy: CompiledPolicy, surface: str, context: Context) -> None:
    """Raise ``InvalidRequest``, naming the field, for words that the taxonomy does not have and signals of
    the wrong type. Signals that the policy does not declare are let through and have no effect, so that a
    policy can drop one before its callers do; unknown markets are the verdict's to report."""
    if surface not in policy.axes.surfaces:
        known = ", ".join(policy.taxonomy.surfaces)
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

    def judge(market: str) -> Judgement:
        scope = Scope(axes.class_of(market), surface_index, audience_index)
        name = market if market in axes.markets else ""
        return Judge(policy, surface, context, counted, measures, scope, name).judge()

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
        if same_effect(own.restrictions, base.restrictions) and own.review == base.review and rules == base_rules:
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


def _reindexed(judgement: Judgement, findings: list[Finding]) -> tuple[Restriction, ...]:
    """The judgement's restrictions, pointing into ``findings``, to which its own are added where they
    lack."""
    positions: list[int] = []
    for finding in judgement.findings:
        if finding not in findings:
            findings.append(finding)
        positions.append(findings.index(finding))
    return tuple(replace(r, finding_index=positions[r.finding_index]) for r in judgement.restrictions)
