"""The runner's fixed graphs: how a batch is cut into pieces, and that rows get the same scores in each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from floodgate.triton.runner.graphs import Graphs, sizes


@pytest.mark.parametrize(
    ("max_batch", "threads", "expected"),
    [(16, 1, (4, 2, 1)), (16, 2, (8, 4, 2, 1)), (16, 64, (16, 8, 4, 2, 1)), (3, 1, (2, 1)), (1, 8, (1,))],
)
def test_sizes_are_powers_of_two_that_fit_batch_and_threads(
    max_batch: int, threads: int, expected: tuple[int, ...]
) -> None:
    assert sizes(max_batch, threads) == expected


def sums_of_rows(file: Path, length: int | str) -> None:
    """scores[n, 1] = sum of the row's bytes, as ONNX."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["row"], ["cast"], to=kinds.FLOAT),
            helper.make_node("ReduceSum", ["cast", "axes"], ["scores"], keepdims=1),
        ],
        "sums",
        [helper.make_tensor_value_info("row", kinds.UINT8, ["n", length])],
        [helper.make_tensor_value_info("scores", kinds.FLOAT, ["n", 1])],
        [helper.make_tensor("axes", kinds.INT64, [1], [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)


@pytest.mark.parametrize("length", [3, -1])
def test_every_row_of_every_batch_gets_its_own_score(tmp_path: Path, length: int) -> None:
    openvino = pytest.importorskip("openvino")
    sums_of_rows(tmp_path / "model.onnx", length if length > 0 else "length")
    graphs = Graphs(
        openvino.Core(),
        tmp_path / "model.onnx",
        inputs={"row": (np.uint8, [length])},
        outputs=["scores"],
        max_batch=11,
        threads=1,
        settings={"INFERENCE_PRECISION_HINT": openvino.Type.f32},
    )
    rows = np.random.default_rng(1).integers(0, 256, (11, 3), np.uint8)
    for count in range(1, 12):
        scores = graphs.infer({"row": rows[:count]})["scores"]
        np.testing.assert_array_equal(scores, rows[:count].sum(axis=1, keepdims=True, dtype=np.float32))


def test_a_name_that_the_graph_does_not_have_is_said(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    sums_of_rows(tmp_path / "model.onnx", 3)
    with pytest.raises(ValueError, match="no output probability; it has scores"):
        Graphs(
            openvino.Core(),
            tmp_path / "model.onnx",
            inputs={"row": (np.uint8, [3])},
            outputs=["probability"],
            max_batch=1,
            threads=1,
            settings={},
        )
