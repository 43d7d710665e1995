"""What holds for every policy and every item."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_items import FEEDS, RICH, contexts, items, parts, scores, surfaces

from floodgate.policy import calibrate_rows, evaluate, evaluate_rows
from floodgate.types import (
    Context,
    FrameScore,
    Modality,
    PartResult,
    PartState,
    Restriction,
    RestrictionKind,
    Role,
    Verdict,
)

Item = tuple[PartResult, ...]


def as_strict(strict: Iterable[Restriction], wanted: Restriction) -> bool:
    """Written without the code under test: somebody bound by ``strict`` is bound by ``wanted``."""
    for held in strict:
        if held.kind is RestrictionKind.REMOVE:
            return True
        same_kind = held.kind is wanted.kind
        everywhere = not held.territories or (
            bool(wanted.territories) and set(wanted.territories) <= set(held.territories)
        )
        as_long = held.duration_s == 0 or 0 < wanted.duration_s <= held.duration_s
        if not (same_kind and everywhere and as_long):
            continue
        if held.kind is not RestrictionKind.AGE_GATE or int(held.param) >= int(wanted.param):
            return True
    return False


def assert_no_softer(before: Verdict, after: Verdict) -> None:
    assert after.action >= before.action
    for restriction in before.restrictions:
        assert as_strict(after.restrictions, restriction), restriction
    if before.review is not None and before.review.hold:
        removed = any(r.kind is RestrictionKind.REMOVE for r in after.restrictions)
        assert removed or (after.review is not None and after.review.hold)


@given(items, surfaces, contexts, st.data())
@settings(max_examples=300, deadline=None)
def test_raising_scores_never_softens(item: Item, surface: str, context: Context, data: st.DataObject) -> None:
    raised: list[PartResult] = []
    for part in item:
        lifted = [
            replace(score, score=max(score.score, data.draw(scores)) if data.draw(st.booleans()) else score.score)
            for score in part.scores
        ]
        raised.append(replace(part, scores=tuple(lifted)))
    assert_no_softer(evaluate(RICH, surface, context, item), evaluate(RICH, surface, context, raised))


@given(items, surfaces, contexts, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_order_of_parts_and_scores_changes_nothing(
    item: Item, surface: str, context: Context, shuffler: random.Random
) -> None:
    mixed = []
    for part in item:
        found, missing = list(part.scores), list(part.missing)
        shuffler.shuffle(found)
        shuffler.shuffle(missing)
        mixed.append(replace(part, scores=tuple(found), missing=tuple(missing)))
    shuffler.shuffle(mixed)
    assert evaluate(RICH, surface, context, mixed) == evaluate(RICH, surface, context, item)


@given(items, surfaces, contexts, parts("zz"))
@settings(max_examples=200, deadline=None)
def test_context_and_skipped_parts_change_nothing(
    item: Item, surface: str, context: Context, extra: PartResult
) -> None:
    plain = evaluate(RICH, surface, context, item)
    assert evaluate(RICH, surface, context, (replace(extra, role=Role.CONTEXT), *item)) == plain
    assert evaluate(RICH, surface, context, (*item, replace(extra, state=PartState.SKIPPED, missing=()))) == plain


@given(items, surfaces, contexts)
@settings(max_examples=200, deadline=None)
def test_same_input_gives_the_same_verdict(item: Item, surface: str, context: Context) -> None:
    assert evaluate(RICH, surface, context, item) == evaluate(RICH, surface, context, item)


@given(items, surfaces, contexts)
@settings(max_examples=200, deadline=None)
def test_restrictions_point_to_the_findings_they_stand_on(item: Item, surface: str, context: Context) -> None:
    verdict = evaluate(RICH, surface, context, item)
    for restriction in verdict.restrictions:
        assert 0 <= restriction.finding_index < len(verdict.findings)
    for outcome in verdict.market_outcomes:
        for restriction in outcome.restrictions:
            assert verdict.findings[restriction.finding_index].rule_id in outcome.rule_ids
    fired = {step.rule_id for step in verdict.steps if step.fired}
    assert {finding.rule_id for finding in verdict.findings} <= fired


@given(st.sampled_from(sorted(FEEDS)), scores, surfaces)
@settings(max_examples=200, deadline=None)
def test_a_head_out_of_competence_is_as_if_it_had_not_run(head: str, score: float, surface: str) -> None:
    modality = Modality.TEXT if head in ("words", "spare") else Modality.IMAGE
    found = tuple(FrameScore("p", 0, head, label, score, in_competence=False) for label in FEEDS[head])
    silent = PartResult("p", Role.MAIN, modality, PartState.JUDGED)
    spoken = replace(silent, scores=found)
    assert evaluate(RICH, surface, Context(), [spoken]) == evaluate(RICH, surface, Context(), [silent])


@given(scores, scores)
@settings(max_examples=200, deadline=None)
def test_a_missing_head_never_acts_as_zero(first: float, third: float) -> None:
    """Mean fusion: with one head missing the label's value is the other head's, not half of it."""
    alone = FrameScore("p", 0, "first", "sexual.nudity", first)
    part = PartResult("p", Role.MAIN, Modality.IMAGE, PartState.JUDGED, scores=(alone,))
    steps = [s for s in evaluate(RICH, "photo", Context(), [part]).steps if s.rule_id == "nudity/demote"]
    assert [step.value for step in steps] == [first]
    both = replace(part, scores=(alone, FrameScore("p", 0, "third", "sexual.nudity", third)))
    steps = [s for s in evaluate(RICH, "photo", Context(), [both]).steps if s.rule_id == "nudity/demote"]
    assert [step.value for step in steps] == [float(np.float32((first + third) / 2))]


row = st.tuples(
    st.dictionaries(st.sampled_from(["first", "second", "third"]), scores),
    st.sampled_from(["", "DE", "FR", "SA", "ZZ"]),
    surfaces,
    st.sampled_from(["", "minor", "adult"]),
)


@given(st.lists(row, min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_rows_give_bit_for_bit_what_items_give(
    rows: list[tuple[dict[str, float], str, str, str]],
) -> None:
    label = "sexual.explicit"
    raw = {
        head: np.array([entry[0].get(head, np.nan) for entry in rows], np.float32)
        for head in ("first", "second", "third")
    }
    values = calibrate_rows(RICH, label, raw)
    result = evaluate_rows(
        RICH,
        label,
        values,
        markets=[entry[1] for entry in rows],
        surfaces=[entry[2] for entry in rows],
        audiences=[entry[3] for entry in rows],
    )
    for index, (heads, market, surface, audience) in enumerate(rows):
        found = tuple(FrameScore("p", 0, head, label, score) for head, score in heads.items())
        part = PartResult("p", Role.MAIN, Modality.IMAGE, PartState.JUDGED, scores=found)
        context = Context(origin_market=market, viewer_audience=audience)
        verdict = evaluate(RICH, surface, context, [part])
        basis = [f for f in verdict.findings if f.label == label and f.basis is not None]
        if not heads:
            assert np.isnan(values[index])
            assert result.rung[index] == -2
        if not basis:
            assert result.rule[index] == -1
            continue
        finding = basis[0]
        assert finding.basis is not None
        assert result.rule_ids[result.rule[index]] == finding.rule_id
        assert values[index] == np.float32(finding.basis.calibrated)
        assert result.threshold[index] == np.float32(finding.basis.threshold)
        step = next(s for s in verdict.steps if s.fired and s.rule_id == finding.rule_id)
        assert step.margin is not None
        assert result.margin[index] == np.float32(step.margin)
        assert result.overrides[result.override[index]] == step.override
