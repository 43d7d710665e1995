"""Adding a head is adding a directory: its score reaches decisions with no change to the code."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from specimens import JPEG

from bench.report import ROOT
from bench.server import Server, serving
from floodgate import Client
from floodgate.v1 import moderation_pb2 as pb

FLOODGATE = str(Path(sys.executable).with_name("floodgate"))
SIDE = 16

CARD = """---
title: Brightness
licence: CC0-1.0
source: made by this test
labels: [scene.bright]
judges: How bright a picture is.
cannot_judge: Anything else.
---
# brightness
"""

CONFIG = """
name: "brightness"
backend: "openvino_runner"
max_batch_size: 8
input {{ name: "image" data_type: TYPE_UINT8 dims: [{side}, {side}, 3] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [1] }}
instance_group {{ kind: KIND_CPU count: 1 }}
parameters {{ key: "view" value {{ string_value: '{view}' }} }}
parameters {{ key: "labels" value {{ string_value: '["scene.bright"]' }} }}
parameters {{ key: "competence" value {{ string_value: '{{"roles": ["MAIN"], "min_side_px": 32}}' }} }}
parameters {{ key: "licence" value {{ string_value: "CC0-1.0" }} }}
parameters {{ key: "output_kinds" value {{ string_value: '{{"scores": "scores"}}' }} }}
"""

TAXONOMY = """
taxonomy: small
revision: "1"
labels:
  scene.bright: {description: A bright picture, clause: "S-1"}
  sexual.nudity.face_female: {description: A woman's face, clause: "S-2"}
surfaces: {photo: A photo post}
audiences: {adult: Grown up}
queues: {people: Whoever is there}
markets: {known: [DE], groups: {}}
"""

POLICY = """
policy: small
revision: "new-head"
guidelines: "S"
defaults:
  unscored: {default: none}
  unreadable: {default: {id: unreadable/review, review: {queue: people, priority: 1, hold: false}}}
labels:
"""

BRIGHT = """
  scene.bright:
    roles: [MAIN]
    modalities: [image]
    heads: {brightness: {combine: max}}
    ladder: [{id: bright/label, at: 0.2, restrict: [{kind: LABEL, param: glare}]}]
"""

FACE = """
  sexual.nudity.face_female:
    roles: [MAIN]
    modalities: [image]
    heads: {nudity: {combine: max}}
    ladder: [{id: face/label, at: 0.4, restrict: [{kind: LABEL, param: portrait}]}]
"""


def mean_of_pixels() -> onnx.ModelProto:
    """uint8 [n, 16, 16, 3] -> float32 [n, 1]: the mean of a picture's bytes, of 255."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["share"]),
        helper.make_node("Unsqueeze", ["share", "last"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1])],
        [
            helper.make_tensor("full", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, and a taxonomy of its own, in one folder."""
    folder = tmp_path_factory.mktemp("new-head")
    shutil.copytree(ROOT / "model_repository", folder / "models")
    (folder / "taxonomy.yaml").write_text(TAXONOMY)
    return folder


def settings(folder: Path, policy: str, heads: str) -> dict[str, str]:
    (folder / "policy.yaml").write_text(POLICY + policy)
    return {
        "FLOODGATE_MODEL_REPOSITORY": str(folder / "models"),
        "FLOODGATE_TAXONOMY": str(folder / "taxonomy.yaml"),
        "FLOODGATE_POLICY": str(folder / "policy.yaml"),
        "FLOODGATE_HEADS": heads,
        "FLOODGATE_PRECISION": "f32",
    }


@pytest.fixture(scope="module")
def with_brightness(small_files: Path) -> Iterator[Server]:
    head = small_files / "models" / "brightness"
    (head / "1").mkdir(parents=True)
    view = {"kind": "image", "width": SIDE, "height": SIDE, "mode": "stretch", "filter": "box", "layout": "nhwc"}
    (head / "config.pbtxt").write_text(CONFIG.format(side=SIDE, view=json.dumps(view)))
    (head / "card.md").write_text(CARD)
    onnx.save(mean_of_pixels(), head / "1" / "model.onnx")
    with serving(settings(small_files, BRIGHT, "nsfw,brightness,toxicity")) as running:
        yield running


def test_a_new_directory_gives_a_new_score_and_policy_acts_on_it(with_brightness: Server) -> None:
    pixels = Image.open(io.BytesIO(JPEG)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    expected = float(np.asarray(pixels).mean() / 255)
    assert expected > 0.2
    with Client(with_brightness.target) as client:
        decision = client.moderate(image=JPEG, trace=True, timeout=60)
    scores = {score.label: score for score in decision.scores}
    assert scores["scene.bright"].score == pytest.approx(expected, abs=1e-6)
    assert scores["scene.bright"].head == "brightness"
    assert decision.action == pb.ACTION_LABEL
    assert [finding.rule_id for finding in decision.findings] == ["bright/label"]
    assert {model.name for model in decision.models} == {"nsfw", "brightness"}


def test_a_new_head_changes_no_other_heads_score(with_brightness: Server, client: Client) -> None:
    def explicit(judge: Client) -> list[float]:
        decision = judge.moderate(image=JPEG, trace=True, timeout=60)
        return [score.score for score in decision.scores if score.label == "sexual.explicit"]

    with Client(with_brightness.target) as beside:
        assert explicit(beside) == explicit(client)


def test_the_new_heads_competence_is_kept(with_brightness: Server) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(buffer, "PNG")
    with Client(with_brightness.target) as client:
        decision = client.moderate(image=buffer.getvalue(), trace=True, timeout=60)
    (score,) = [score for score in decision.scores if score.head == "brightness"]
    assert (score.score, score.in_competence) == (1.0, False)
    assert "20 px" in score.competence_reason
    assert decision.action == pb.ACTION_ALLOW


@pytest.fixture(scope="module")
def with_nudity(small_files: Path) -> Iterator[Server]:
    """The opt-in detector, pulled into the copy; wheels are kept in the state directory."""
    pulled = subprocess.run(
        [FLOODGATE, "models", "pull", "nudity"],
        cwd=ROOT,
        env={**os.environ, "FLOODGATE_MODEL_REPOSITORY": str(small_files / "models")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if pulled.returncode:
        pytest.skip(f"the nudity head cannot be pulled here: {pulled.stderr.strip().splitlines()[-1]}")
    with serving(settings(small_files, FACE, "nsfw,nudity,toxicity")) as running:
        yield running


def test_the_opt_in_detector_scores_body_parts_and_says_where(with_nudity: Server, photo: bytes) -> None:
    with Client(with_nudity.target) as client:
        decision = client.moderate(image=photo, trace=True, timeout=60)
    scores = {score.label: score.score for score in decision.scores}
    assert "sexual.explicit" in scores
    parts = [label for label in scores if label.startswith("sexual.nudity.")]
    assert len(parts) == 18
    assert scores["sexual.nudity.face_female"] > 0.4
    assert scores["sexual.nudity.male_genitalia_exposed"] < 0.2
    (finding,) = decision.findings
    assert (finding.rule_id, finding.score.head) == ("face/label", "nudity")
    box = finding.evidence[0].box
    # The astronaut's face, between her hairline, chin and ears, in fractions of the photo.
    assert box.x0 < 0.43 < box.x1 < 0.65
    assert box.y0 < 0.22 < box.y1 < 0.5
    assert 0 <= box.x0 < box.x1 <= 1
    assert 0 <= box.y0 < box.y1 <= 1
