"""Columns folded into channels: the same numbers, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

ov = pytest.importorskip("openvino")

from openvino import opset13 as ops  # noqa: E402

from floodgate.triton.runner.folding import fold_columns, folding_pays  # noqa: E402

NHWC = [0, 3, 1, 2]


def convolution(
    *,
    width: int = 12,
    channels: int = 3,
    kernel: tuple[int, int] = (7, 7),
    strides: tuple[int, int] = (2, 2),
    begin: tuple[int, int] = (3, 3),
    end: tuple[int, int] = (3, 3),
    dilation: int = 1,
    order: list[int] = NHWC,
    rows: int = 2,
) -> Any:
    """pixels [rows, 10, width, channels] -> one convolution to five channels, and a sum after it."""
    shape = [rows, 10, width, channels] if order == NHWC else [rows, channels, 10, width]
    pixels = ops.parameter(shape, np.uint8, name="pixels")
    moved = ops.subtract(ops.convert(pixels, "f32"), ops.constant(np.float32(100)))
    planes = ops.transpose(moved, ops.constant(np.array(order)))
    weights = np.random.default_rng(3).normal(size=(5, channels, *kernel)).astype(np.float32)
    done = ops.convolution(planes, ops.constant(weights), list(strides), list(begin), list(end), [dilation] * 2)
    done.set_friendly_name("first")
    return ov.Model([ops.add(done, ops.constant(np.float32(1)))], [pixels], "one")


def outcome(graph: Any) -> np.ndarray[Any, Any]:
    shape = list(graph.inputs[0].shape)
    pixels = np.random.default_rng(4).integers(0, 256, shape, np.uint8)
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    return np.array(compiled(pixels)[0])


@pytest.mark.parametrize("columns", range(1, 8))
@pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 1), (2, 3), (3, 2), (3, 3), (4, 5)])
def test_folded_convolution_gives_the_same_numbers(columns: int, left: int, right: int) -> None:
    shape: dict[str, Any] = {"kernel": (5, columns), "begin": (2, left), "end": (1, right)}
    expected = outcome(convolution(**shape))
    graph = convolution(**shape)
    fold_columns(graph)
    result = outcome(graph)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-2)
    assert "first" in {node.get_friendly_name() for node in graph.get_ordered_ops()}


@pytest.mark.parametrize(
    ("columns", "left", "right"), [(7, 3, 3), (7, 2, 3), (3, 1, 1), (3, 0, 1), (6, 2, 2), (5, 2, 2), (2, 0, 0)]
)
def test_usual_first_convolutions_are_folded(columns: int, left: int, right: int) -> None:
    assert fold_columns(convolution(kernel=(5, columns), begin=(2, left), end=(2, right))) == 1


@pytest.mark.parametrize(
    ("flags", "pays"), [("avx512f avx512_bf16", True), ("avx512_bf16 amx_bf16", False), ("avx512f", False)]
)
def test_folding_pays_where_it_was_measured_to(monkeypatch: pytest.MonkeyPatch, flags: str, pays: bool) -> None:
    facts = f"processor\t: 0\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda path, **kwargs: facts)
    assert folding_pays("bf16") is pays
    assert not folding_pays("f32")


def test_rows_steps_and_channels_may_be_others() -> None:
    for shape in (
        {"rows": 1},
        {"rows": -1},
        {"strides": (1, 2)},
        {"strides": (3, 2)},
        {"channels": 4},
        {"channels": 1},
    ):
        assert fold_columns(convolution(**shape)) == 1, shape  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "shape",
    [
        {"strides": (2, 1)},
        {"strides": (2, 3)},
        {"width": 13},
        {"width": -1},
        {"channels": 5},
        {"dilation": 2, "kernel": (3, 3)},
        {"order": [0, 1, 2, 3]},
    ],
    ids=str,
)
def test_others_are_left_alone(shape: dict[str, Any]) -> None:
    graph = convolution(**shape)
    before = [node.get_name() for node in graph.get_ordered_ops()]
    assert fold_columns(graph) == 0
    assert [node.get_name() for node in graph.get_ordered_ops()] == before
