"""The simulated head behind Floodgate and behind Triton alone, under the load generator: the same scores from both."""

from __future__ import annotations

import numpy as np
import pytest

from bench.load import Flow, Outcomes, Traffic, generate
from bench.load.traffic import moderate_payloads
from bench.overload import PHOTOS, Photo, check_scores, small_photo
from bench.raw_triton import MODEL_INFER, infer_payload, raw_triton
from bench.server import serving
from bench.simulated_head import NAME, SimulatedHead, simulated_repository
from bench.stages import stage_seconds
from floodgate.v1 import moderation_pb2 as pb

HEAD = SimulatedHead(fixed_ms=5.0, per_row_ms=1.0, max_batch=4)
PATIENT_MS = 30_000.0

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    return [small_photo(name) for name in PHOTOS]


def sent(target: str, method: str, payloads: tuple[bytes, ...]) -> Outcomes:
    return generate(Traffic(target, (Flow("all", 40.0, PATIENT_MS, payloads, method),), 1.0, warm_up_s=0.0))


def test_floodgate_scores_what_the_head_is_told_to_and_says_that_it_is_simulated(photos: list[Photo]) -> None:
    payloads = moderate_payloads([photo.encoded for photo in photos], (), trace=True)
    with simulated_repository(HEAD) as settings, serving(settings) as server:
        run = sent(server.target, "/floodgate.v1.Moderation/Moderate", payloads)
        stages = stage_seconds(server.metrics_url)
    assert set(run.summary().statuses) == {"OK"}
    check_scores(run, photos)
    heads = {score.head for answer in run.answers for score in pb.ModerateResponse.FromString(answer).decision.scores}
    assert heads == {NAME} == {"simulated"}
    assert set(stages) == {"parse", "submit", "queue", "decode", "infer", "answer", "policy", "total"}


def test_triton_alone_batches_requests_and_answers_each_its_own(photos: list[Photo]) -> None:
    with raw_triton(HEAD, "max_queue_delay_microseconds: 20000") as target:
        run = sent(target, MODEL_INFER, tuple(infer_payload(photo.rows) for photo in photos))
    assert set(run.summary().statuses) == {"OK"}
    check_scores(run, photos)


def test_wrong_score_is_found_out(photos: list[Photo]) -> None:
    wrong = [Photo(photo.encoded, photo.rows, float(np.nextafter(np.float32(photo.score), 1))) for photo in photos]
    with raw_triton(HEAD, "") as target:
        run = sent(target, MODEL_INFER, tuple(infer_payload(photo.rows) for photo in photos))
    with pytest.raises(RuntimeError, match="should have been"):
        check_scores(run, wrong)


def test_capacity_is_that_of_full_batches() -> None:
    assert SimulatedHead(20.0, 10.0, 8).capacity_per_s == 80.0
    assert SimulatedHead(0.0, 0.0, 8).capacity_per_s == float("inf")
