"""What nobody scored is never waved through as if it had scored zero."""

from __future__ import annotations

from pathlib import Path

from floodgate.models import list_heads
from floodgate.policy import evaluate, load_policy
from floodgate.types import Action, Context, MissingHead, Modality, PartResult, PartState, Role

POLICIES = Path(__file__).resolve().parents[3] / "policies"
HEADS = {"nsfw": ("sexual.explicit",), "toxicity": ("harassment.toxicity",)}
KNOWN = {card.name: card.labels for card in list_heads(POLICIES.parent / "model_repository")}


def test_a_photo_whose_heads_were_all_late_is_held_for_review() -> None:
    policy = load_policy(POLICIES / "default.yaml", POLICIES / "taxonomy.yaml", HEADS, KNOWN)
    late = MissingHead("p", "nsfw", "deadline")
    part = PartResult("p", Role.MAIN, Modality.IMAGE, PartState.SKIPPED, reason_code="DEADLINE", missing=(late,))
    verdict = evaluate(policy, "", Context(), (part,))
    assert verdict.review is not None
    assert verdict.review.hold


def test_a_part_that_no_configured_head_judges_has_no_effect() -> None:
    policy = load_policy(POLICIES / "default.yaml", POLICIES / "taxonomy.yaml", HEADS, KNOWN)
    part = PartResult("p", Role.MAIN, Modality.IMAGE, PartState.SKIPPED, reason_code="NO_HEAD")
    verdict = evaluate(policy, "", Context(), (part,))
    assert (verdict.action, verdict.review) == (Action.ALLOW, None)
