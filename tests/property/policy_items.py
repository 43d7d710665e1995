"""Random items for the policies under test: any part, any role, any score, present or missing."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from floodgate.policy import load_policy
from floodgate.policy.combination import float32
from floodgate.types import (
    Box,
    Context,
    FrameScore,
    MissingHead,
    Modality,
    PartResult,
    PartState,
    Role,
    SamplingPlan,
)

TESTS = Path(__file__).parents[1]
FEEDS = {
    "first": ("sexual.explicit", "sexual.nudity"),
    "second": ("sexual.explicit",),
    "third": ("sexual.explicit", "sexual.nudity"),
    "words": ("harassment.toxicity",),
    "spare": ("harassment.toxicity",),
}
RICH = load_policy(TESTS / "property" / "rich_policy.yaml", TESTS / "golden" / "taxonomy.yaml", FEEDS)

# Thresholds and their neighbours are where comparisons go wrong.
scores = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.55, 0.8, 0.9, 1.0]).map(float32),
)
boxes = st.builds(Box, st.just(0.0), st.just(0.25), scores, st.just(1.0))


plans = st.builds(SamplingPlan, st.integers(1, 1024), st.integers(0, 5000), st.integers(1, (1 << 64) - 1))


@st.composite
def parts(draw: st.DrawFn, part_id: str) -> PartResult:
    modality = draw(st.sampled_from(Modality))
    names = ["words", "spare"] if modality is Modality.TEXT else ["first", "second", "third"]
    found: list[FrameScore] = []
    missing: list[MissingHead] = []
    for head in names:
        if draw(st.integers(0, 3)) == 0:
            missing.append(MissingHead(part_id, head, "deadline"))
            continue
        for time_ms in draw(st.lists(st.integers(0, 6).map(lambda t: t * 500), min_size=1, max_size=6)):
            competent = draw(st.integers(0, 5)) > 0
            found.extend(
                FrameScore(
                    part_id,
                    time_ms,
                    head,
                    label,
                    draw(scores),
                    in_competence=competent,
                    competence_reason="" if competent else "language",
                    box=draw(st.none() | boxes) if modality is Modality.IMAGE else None,
                    span=(0, 9) if modality is Modality.TEXT else None,
                )
                for label in FEEDS[head]
            )
    state = draw(st.sampled_from([PartState.JUDGED, PartState.JUDGED, PartState.JUDGED, *PartState]))
    judged = state is PartState.JUDGED
    return PartResult(
        part_id=part_id,
        role=draw(st.sampled_from(Role)),
        modality=modality,
        state=state,
        reason="" if judged else "truncated",
        reason_code="" if judged else "INVALID_CONTENT",
        scores=tuple(found) if judged else (),
        missing=tuple(missing) if judged else (),
        frames_sampled=len(found),
        frames_missed=draw(st.integers(0, 2)),
        duration_ms=draw(st.sampled_from([0, 61_000])),
        media_format=draw(st.sampled_from(["", "mp4"])) if modality.kind is Modality.IMAGE else "",
        note=draw(st.sampled_from(["", "the data ends early"])),
        partial=draw(st.booleans()),
        plan=draw(st.none() | plans),
    )


items = st.integers(1, 4).flatmap(lambda n: st.tuples(*(parts(f"p{index}") for index in range(n))))
surfaces = st.sampled_from(["photo", "comment", "message"])
audiences = st.sampled_from(["", "minor", "adult"])
markets = st.sampled_from(["", "DE", "FR", "SA", "US", "ZZ"])
contexts = st.builds(
    Context,
    origin_market=markets,
    markets=st.lists(markets.filter(bool), unique=True, max_size=4).map(tuple),
    viewer_audience=audiences,
    creator_id=st.sampled_from(["", "c-1"]),
    signals=st.fixed_dictionaries(
        {},
        optional={
            "strikes": st.floats(0, 5),
            "verified": st.booleans(),
            "origin": st.text(max_size=4),
            "undeclared": st.just("x"),
        },
    ),
    declared_labels=st.sampled_from([(), ("sexual.nudity",)]),
)
