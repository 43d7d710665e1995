"""What the shipped policy says about the cases it was written for."""

from __future__ import annotations

from pathlib import Path

import pytest

from floodgate.errors import InvalidRequest
from floodgate.policy import CompiledPolicy, check, check_context, evaluate
from floodgate.types import (
    Action,
    ConditionKind,
    Context,
    FrameScore,
    MissingHead,
    Modality,
    PartResult,
    PartState,
    RestrictionKind,
    Role,
)

POLICIES = Path(__file__).parents[3] / "policies"
NUDITY = tuple(
    f"sexual.nudity.{name}_exposed"
    for name in ("female_genitalia", "male_genitalia", "anus", "female_breast", "buttocks")
)
BUILT_IN = {"nsfw": ("sexual.explicit",), "toxicity": ("harassment.toxicity",)}
KNOWN = {**BUILT_IN, "nudity": NUDITY}


def load(heads: dict[str, tuple[str, ...]]) -> CompiledPolicy:
    result = check(POLICIES / "default.yaml", POLICIES / "taxonomy.yaml", heads, KNOWN)
    assert result.rendered == ""
    assert result.policy is not None
    return result.policy


DEFAULT = load(BUILT_IN)


def picture(score: float | None, role: Role = Role.MAIN) -> PartResult:
    found = () if score is None else (FrameScore("picture", 0, "nsfw", "sexual.explicit", score),)
    return PartResult("picture", role, Modality.IMAGE, PartState.JUDGED, scores=found)


def words(score: float, role: Role = Role.COMMENT, *, in_competence: bool = True) -> PartResult:
    found = FrameScore("words", 0, "toxicity", "harassment.toxicity", score, in_competence=in_competence)
    return PartResult("words", role, Modality.TEXT, PartState.JUDGED, scores=(found,))


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (0.0, Action.ALLOW),
        (0.44, Action.ALLOW),
        (0.45, Action.AGE_RESTRICT),
        (0.7, Action.LIMIT),
        (0.9, Action.REMOVE),
        (1.0, Action.REMOVE),
    ],
)
def test_photo_climbs_the_ladder(score: float, action: Action) -> None:
    assert evaluate(DEFAULT, "photo", Context(), [picture(score)]).action is action


def test_unscored_photo_is_held_and_reviewed() -> None:
    verdict = evaluate(DEFAULT, "photo", Context(), [picture(None)])
    assert verdict.action is Action.ALLOW
    assert verdict.review is not None
    assert verdict.review.hold
    assert [finding.condition for finding in verdict.findings] == [ConditionKind.UNSCORED]


def test_photo_whose_only_head_was_late_is_unscored_and_not_clean() -> None:
    late = PartResult(
        "picture",
        Role.MAIN,
        Modality.IMAGE,
        PartState.JUDGED,
        missing=(MissingHead("picture", "nsfw", "deadline"),),
    )
    assert evaluate(DEFAULT, "photo", Context(), [late]).review is not None


def test_unreadable_part_is_held_whatever_it_is() -> None:
    for role in Role:
        broken = PartResult("b", role, Modality.TEXT, PartState.UNREADABLE, "truncated", "INVALID_CONTENT")
        verdict = evaluate(DEFAULT, "photo", Context(), [picture(0.0), broken])
        if role is Role.CONTEXT:
            assert verdict.findings == ()
        else:
            assert verdict.review is not None
            assert verdict.review.hold
            assert verdict.findings[0].evidence[0].part_id == "b"


def test_comment_in_a_language_nobody_knows_passes_without_a_reviewer() -> None:
    verdict = evaluate(DEFAULT, "comment", Context(), [words(0.03, in_competence=False)])
    assert verdict.action is Action.ALLOW
    assert verdict.review is None
    assert [step.condition for step in verdict.steps if not step.rule_id] == ["words unscored"]


def test_high_score_out_of_competence_restricts_nobody() -> None:
    assert evaluate(DEFAULT, "comment", Context(), [words(0.99, in_competence=False)]).action is Action.ALLOW


def test_comments_are_stricter_than_captions() -> None:
    for score in (0.5, 0.75, 0.95):
        comment = evaluate(DEFAULT, "comment", Context(), [words(score)])
        caption = evaluate(DEFAULT, "photo", Context(), [words(score, Role.CAPTION)])
        assert (comment.action, len(comment.restrictions)) > (caption.action, len(caption.restrictions))


def test_gulf_states_block_what_others_gate() -> None:
    verdict = evaluate(DEFAULT, "photo", Context(origin_market="FR", markets=("SA", "FR")), [picture(0.5)])
    assert verdict.action is Action.AGE_RESTRICT
    (outcome,) = verdict.market_outcomes
    assert outcome.market == "SA"
    assert [r.kind for r in outcome.restrictions] == [RestrictionKind.GEO_BLOCK]
    assert verdict.findings[outcome.restrictions[0].finding_index].rule_id == "sexual.explicit/gcc-block"


def test_unknown_market_uses_the_default_and_is_reported() -> None:
    verdict = evaluate(DEFAULT, "photo", Context(origin_market="SA", markets=("ZZ",)), [picture(0.5)])
    assert verdict.unknown_markets == ("ZZ",)
    (outcome,) = verdict.market_outcomes
    assert not outcome.known
    assert outcome.action is Action.AGE_RESTRICT


def test_unknown_origin_market_is_judged_by_the_default() -> None:
    plain = evaluate(DEFAULT, "photo", Context(), [picture(0.5)])
    verdict = evaluate(DEFAULT, "photo", Context(origin_market="ZZ"), [picture(0.5)])
    assert verdict.restrictions == plain.restrictions
    assert verdict.unknown_markets == ("ZZ",)


def test_message_to_a_minor_is_stricter_than_to_an_adult() -> None:
    minor, adult = (
        evaluate(DEFAULT, "message", Context(viewer_audience=audience), [picture(0.7)])
        for audience in ("minor", "adult")
    )
    assert minor.action is Action.REMOVE
    assert adult.action is Action.LABEL


def test_strikes_alone_restrict_nobody() -> None:
    context = Context(signals={"creator_strikes": 9.0})
    assert evaluate(DEFAULT, "comment", context, [words(0.1)]).restrictions == ()
    assert "harassment.repeated" in {
        finding.rule_id for finding in evaluate(DEFAULT, "comment", context, [words(0.6)]).findings
    }


def test_review_of_several_findings_takes_the_most_urgent_queue_and_any_hold() -> None:
    verdict = evaluate(DEFAULT, "photo", Context(), [picture(0.75), words(0.95, Role.CAPTION)])
    assert verdict.review is not None
    assert verdict.review.queue == "harassment"
    assert verdict.review.priority == 75
    assert verdict.review.hold
    assert verdict.review.reasons == (
        "sexual.explicit/limit",
        "harassment.toxicity/limit",
        "harassment.sexual",
    )


def test_nudity_labels_wake_up_with_their_head() -> None:
    assert set(DEFAULT.inactive) == set(NUDITY)
    awake = load(KNOWN)
    assert awake.inactive == ()
    assert awake.id == DEFAULT.id
    score = FrameScore("picture", 0, "nudity", NUDITY[0], 0.8)
    part = PartResult("picture", Role.MAIN, Modality.IMAGE, PartState.JUDGED, scores=(*picture(0.1).scores, score))
    assert evaluate(awake, "photo", Context(), [part]).action is Action.LIMIT
    assert evaluate(DEFAULT, "photo", Context(), [part]).action is Action.ALLOW


def test_score_that_is_no_number_is_no_score() -> None:
    assert evaluate(DEFAULT, "photo", Context(), [picture(float("nan"))]) == evaluate(
        DEFAULT, "photo", Context(), [picture(None)]
    )


@pytest.mark.parametrize(
    ("surface", "context", "field"),
    [
        ("billboard", Context(), "surface"),
        ("photo", Context(viewer_audience="martian"), "context.viewer_audience"),
        ("photo", Context(declared_labels=("x",)), "context.declared_labels"),
        ("photo", Context(signals={"creator_strikes": True}), "context.signals[creator_strikes]"),
        ("photo", Context(signals={"creator_verified": "yes"}), "context.signals[creator_verified]"),
    ],
)
def test_word_the_taxonomy_lacks_is_an_invalid_request(surface: str, context: Context, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_context(DEFAULT, surface, context)
    assert caught.value.field == field


def test_signal_that_no_policy_reads_is_let_through() -> None:
    check_context(DEFAULT, "photo", Context(signals={"retired_signal": "x"}))
