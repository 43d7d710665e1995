"""Videos and animations on their way: who says how many frames, and what becomes of the core's answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from floodgate.decision import DecisionRecord, replay
from floodgate.errors import UnsupportedContent
from floodgate.pipeline import Pipeline, PolicySet
from floodgate.policy import load_policy
from floodgate.tickets import PartAnswer, RowAnswer
from floodgate.types import (
    Competence,
    Content,
    Context,
    Decision,
    DegradationKind,
    EnsembleSpec,
    HeadSpec,
    ImageViewSpec,
    Item,
    Lane,
    Modality,
    OutputSpec,
    Part,
    PartState,
    Role,
    Sampling,
    SamplingPlan,
    TensorSpec,
)

GOLDEN = Path(__file__).parents[2] / "golden"
CLIP = b"the bytes of a clip"
UNSAID = Sampling()
VIEW = ImageViewSpec(8, 8)
HEAD = HeadSpec(
    name="nsfw",
    version=1,
    digest="d",
    modality=Modality.IMAGE,
    view=VIEW,
    labels=("sexual.explicit",),
    outputs=(OutputSpec("scores", "scores", (1,)),),
    competence=Competence(min_side_px=64),
    licence="MIT",
    max_batch=8,
)
IMAGES = EnsembleSpec("image@1", "d", Modality.IMAGE, (HEAD,), (TensorSpec("image", VIEW),), 8)


def row(time_ms: int, score: float) -> RowAnswer:
    return RowAnswer(time_ms, None, {"nsfw__scores": (score,)}, {})


def video(**changes: Any) -> PartAnswer:
    fields: dict[str, Any] = {
        "media_format": "mp4",
        "width": 1080,
        "height": 1920,
        "rows": (row(0, 0.125), row(2_000, 0.875), row(4_500, 0.25)),
        "missing_reason": "failed",
        "queue_us": 1,
        "decode_us": 1,
        "infer_us": 1,
        "frames_sampled": 3,
        "frames_dropped": 1,
        "is_sequence": True,
        "duration_ms": 4_533,
        "codec": "h264",
    }
    return PartAnswer(**{**fields, **changes})


class Core:
    """Takes parts as the compiled core does, and answers at once with what the test says."""

    def __init__(self, answer: PartAnswer | Exception) -> None:
        self._answer = answer
        self.plans: list[SamplingPlan | None] = []
        self.taken: list[bytes] = []

    def submit(self, part: Part, ensembles: object, lane: object, deadline_ns: int, plan: SamplingPlan | None) -> Any:
        self.plans.append(plan)
        self.taken.append(part.content.data)
        if isinstance(self._answer, Exception):
            raise self._answer
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(self._answer)
        return Ticket(answer)


class Ticket:
    digests = False

    def __init__(self, answer: asyncio.Future[PartAnswer]) -> None:
        self.answer = answer

    def cancel(self) -> None:
        pass


class Ready:
    def ready(self) -> bool:
        return True


class Records:
    def __init__(self) -> None:
        self.records: list[DecisionRecord] = []

    def append(self, record: DecisionRecord) -> bool:
        self.records.append(record)
        return True


def item(*parts: Part) -> Item:
    return Item("r", "c", "", "", "UPLOAD", parts, Context(), Lane.STANDARD, "", True, "ENFORCE", "default")


def clip(sampling: Sampling = UNSAID, modality: Modality = Modality.VIDEO) -> Part:
    return Part("p", Role.MAIN, modality, Content(CLIP), sampling=sampling)


async def judged(
    core: Core, *parts: Part, policy: str = "accepted", most: int = 256
) -> tuple[Decision, DecisionRecord]:
    heads = {"nsfw": ("sexual.explicit",)}
    path = GOLDEN / "policy" / f"{policy}.yaml"
    policies = PolicySet(path, (), lambda file: load_policy(file, GOLDEN / "taxonomy.yaml", heads))
    records = Records()
    pipeline = Pipeline(
        core=core,  # type: ignore[arg-type]
        backend=Ready(),  # type: ignore[arg-type]
        policies=policies,
        ensembles=[IMAGES],
        records=records,
        server_version="0",
        preprocessing_digest="",
        sampling=Sampling(16, 500),
        max_frames=most,
    )
    decision = await pipeline.moderate(item(*parts), 0, 1 << 62)
    return decision, records.records[0]


@pytest.mark.parametrize(
    ("wish", "policy", "most", "frames", "interval_ms"),
    [
        (Sampling(), "accepted", 256, 16, 500),
        (Sampling(), "sampling_accepted", 256, 32, 0),
        (Sampling(5), "sampling_accepted", 256, 5, 0),
        (Sampling(0, 250), "sampling_accepted", 256, 32, 250),
        (Sampling(0, 0), "accepted", 256, 16, 0),
        (Sampling(1000, 1), "sampling_accepted", 256, 256, 1),
        (Sampling(), "sampling_accepted", 8, 8, 0),
    ],
)
async def test_the_request_wins_over_the_policy_over_the_configuration_and_the_limit_over_all(
    wish: Sampling, policy: str, most: int, frames: int, interval_ms: int
) -> None:
    core = Core(video())
    await judged(core, clip(wish), policy=policy, most=most)
    (plan,) = core.plans
    assert plan is not None
    assert (plan.max_frames, plan.min_interval_ms) == (frames, interval_ms)


async def test_every_part_gets_a_seed_of_its_own_whatever_its_bytes() -> None:
    core = Core(video())
    await judged(core, *(Part(str(n), Role.MAIN, Modality.VIDEO, Content(CLIP)) for n in range(64)))
    seeds = {plan.seed for plan in core.plans if plan is not None}
    assert len(seeds) == 64
    assert all(0 < seed < 1 << 64 for seed in seeds)
    assert max(seeds) >= 1 << 60, "64 seeds of 64 bits, none of which has a high bit, are no random ones"


async def test_bytes_are_let_go_once_the_core_has_them_and_the_record_knows_them_still() -> None:
    part = clip()
    core = Core(video())
    _, record = await judged(core, part)
    assert core.taken == [CLIP]
    with pytest.raises(ValueError, match="released"):
        _ = part.content.data
    assert (record.parts[0].sha256, record.parts[0].size_bytes) == (Content(CLIP).sha256, len(CLIP))


async def test_bytes_that_the_core_refuses_are_let_go_too() -> None:
    part = clip()
    decision, record = await judged(Core(UnsupportedContent("a video without a picture")), part)
    assert decision.parts[0].state is PartState.UNREADABLE
    assert record.parts[0].sha256 == Content(CLIP).sha256
    with pytest.raises(ValueError, match="released"):
        _ = part.content.data


async def test_findings_point_at_the_frame_that_decided() -> None:
    decision, _ = await judged(Core(video()), clip())
    assert [score.time_ms for score in decision.parts[0].scores] == [0, 2_000, 4_500]
    (finding,) = decision.verdict.findings
    assert finding.rule_id == "explicit/high"
    assert [evidence.time_ms for evidence in finding.evidence] == [2_000]


@pytest.mark.parametrize("declared", [Modality.IMAGE, Modality.VIDEO])
async def test_what_a_part_is_declared_to_be_changes_no_verdict(declared: Modality) -> None:
    decision, _ = await judged(Core(video()), clip(modality=declared))
    assert [finding.rule_id for finding in decision.verdict.findings] == ["explicit/high"]


async def test_the_record_holds_what_it_takes_to_find_the_frames_again() -> None:
    core = Core(video(note="high dynamic range was mapped to standard range"))
    decision, record = await judged(core, clip())
    (plan,) = core.plans
    again = DecisionRecord.from_json(record.to_json_line())
    assert again == record
    assert again.parts[0].result.plan == plan
    media = again.parts[0].media
    assert media is not None
    assert (media.format, media.codec, media.width, media.height) == ("mp4", "h264", 1080, 1920)
    assert media.frame_times_ms == (0, 2_000, 4_500)
    assert again.parts[0].result.note == decision.parts[0].note == "high dynamic range was mapped to standard range"
    assert replay(again).parts == decision.parts


async def test_frames_not_reached_in_time_degrade_the_decision_and_are_said() -> None:
    missed = RowAnswer(0, None, {}, {"nsfw": "deadline"})
    answer = video(rows=(row(0, 0.125), missed), frames_sampled=1, frames_missed=11, missing_reason="deadline")
    decision, record = await judged(Core(answer), clip())
    assert [(each.kind, each.missing) for each in decision.degraded] == [(DegradationKind.DEADLINE, ("p/nsfw",))]
    assert "11 of up to 13 planned frames were not judged in time" in decision.parts[0].note
    assert decision.parts[0].partial
    assert decision.parts[0].state is PartState.JUDGED
    assert record.parts[0].media is not None
    assert record.parts[0].media.frame_times_ms == (0,)


async def test_a_still_keeps_no_plan_and_no_seed() -> None:
    answer = video(media_format="jpeg", rows=(row(0, 0.125),), is_sequence=False, codec="", duration_ms=0)
    decision, record = await judged(Core(answer), clip(modality=Modality.IMAGE))
    assert decision.parts[0].plan is None
    assert "sampling" not in record.to_json_line()


async def test_competence_goes_by_the_size_that_viewers_see() -> None:
    small = video(width=40, height=400)
    decision, _ = await judged(Core(small), clip())
    assert {score.competence_reason for score in decision.parts[0].scores} == {"smallest side 40 px is under 64 px"}


async def test_a_partial_video_meets_the_rules_for_partial_parts() -> None:
    cut = video(rows=(row(0, 0.125),), partial=True, note="the data ends early")
    decision, _ = await judged(Core(cut), clip(), policy="sampling_accepted")
    assert [finding.rule_id for finding in decision.verdict.findings] == ["partial"]
    (silent, _) = await judged(Core(cut), clip(), policy="accepted")
    assert silent.verdict.findings == ()
    assert silent.parts[0].partial
