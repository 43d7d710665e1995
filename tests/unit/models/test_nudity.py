"""The nudity head against the detector graph inside the published wheel, on equal pixels."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import generated
from PIL import Image, ImageOps

ov = pytest.importorskip("openvino", reason="the graphs run on OpenVINO (floodgate[models])")


def view(picture: Image.Image) -> np.ndarray[Any, Any]:
    """The head's declared view, uint8 [320, 320, 3]: scaled to fit, at the top left, on black, R-G-B."""
    framed = Image.new("RGB", (320, 320))
    framed.paste(ImageOps.contain(picture.convert("RGB"), (320, 320), Image.Resampling.BILINEAR))
    return np.asarray(framed)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    return np.stack([view(generated(seed)) for seed in range(6)])


@pytest.fixture(scope="module")
def model(nudity: Path) -> Any:
    core = ov.Core()
    return core.compile_model(core.read_model(nudity / "1" / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture(scope="module")
def published(nudity: Path, wheel_cache: Path, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The untouched graph's anchors, [n, 22, 2100]."""
    with zipfile.ZipFile(wheel_cache / "nudenet-3.4.2-py3-none-any.whl") as wheel:
        graph = io.BytesIO(wheel.read("nudenet/320n.onnx"))
    core = ov.Core()
    model = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / 255
    anchors: np.ndarray[Any, Any] = model([images])[0]
    return anchors


def test_each_class_scores_as_its_best_anchor(
    model: Any, published: np.ndarray[Any, Any], pixels: np.ndarray[Any, Any]
) -> None:
    np.testing.assert_allclose(model([pixels])["scores"], published[:, 4:].max(axis=2), rtol=0, atol=1e-4)


def test_each_box_is_its_best_anchors_box(
    model: Any, published: np.ndarray[Any, Any], pixels: np.ndarray[Any, Any]
) -> None:
    outputs = model([pixels])
    scores, boxes = outputs["scores"], outputs["boxes"]
    compared = 0
    for row, column in np.ndindex(scores.shape):
        ranked = np.sort(published[row, 4 + column])
        if ranked[-1] - ranked[-2] < 1e-3:
            continue  # two anchors are as good as each other; rounding decides which one is kept
        x, y, width, height = published[row, :4, published[row, 4 + column].argmax()]
        corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) / 320
        np.testing.assert_allclose(boxes[row, column], corners.clip(0, 1), atol=1e-3)
        compared += 1
    assert compared > 10


def test_boxes_lie_inside_the_view_and_are_not_inside_out(model: Any, pixels: np.ndarray[Any, Any]) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (3, 320, 320, 3), dtype=np.uint8)
    boxes = model([np.concatenate([pixels, noise])])["boxes"]
    assert boxes.shape == (9, 18, 4)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (boxes[..., :2] <= boxes[..., 2:]).all()


def test_a_row_does_not_depend_on_its_neighbours(model: Any, pixels: np.ndarray[Any, Any]) -> None:
    together = model([pixels])
    for row in range(len(pixels)):
        alone = model([pixels[row : row + 1]])
        np.testing.assert_array_equal(alone["scores"][0], together["scores"][row])
        np.testing.assert_array_equal(alone["boxes"][0], together["boxes"][row])
