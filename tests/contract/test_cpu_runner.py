"""The shared CPU runner inside the real Triton, over a small ONNX graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from region import Region, make_batch
from small_heads import config, rows

from floodgate.errors import ModelError
from floodgate.triton.backends import embedded
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.install import TritonInstall
from floodgate.triton.process import ServerOptions
from floodgate.triton.repository import load_heads

pytestmark = pytest.mark.triton


def write_onnx_head(repository: Path, output: str = "scores") -> None:
    """scores[n, 1] = mean of the row's bytes / 255."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    folder = repository / "mean"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config("mean").replace('"python"', '"openvino_runner"', 1))
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["cast"], to=kinds.FLOAT),
            helper.make_node("Flatten", ["cast"], ["flat"], axis=1),
            helper.make_node("ReduceMean", ["flat", "axes"], ["mean"], keepdims=1),
            helper.make_node("Div", ["mean", "most"], [output]),
        ],
        "mean",
        [helper.make_tensor_value_info("image", kinds.UINT8, ["n", 2, 2, 3])],
        [helper.make_tensor_value_info(output, kinds.FLOAT, ["n", 1])],
        [
            helper.make_tensor("axes", kinds.INT64, [1], [1]),
            helper.make_tensor("most", kinds.FLOAT, [1], [255.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "1" / "model.onnx")


@pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-6), ("auto", 1e-2)])
async def test_onnx_head_scores_every_row_whatever_its_neighbours(
    triton_install: TritonInstall, tmp_path: Path, precision: str, tolerance: float
) -> None:
    repository = tmp_path / "repository"
    write_onnx_head(repository)
    (ensemble,) = build_ensembles(load_heads(repository, ["mean"]))
    options = ServerOptions(tmp_path / "run", threads=1, precision=precision)
    backend = embedded(triton_install, options, repository)
    region = Region(64 * 1024)
    try:
        await backend.load(1, [ensemble])
        values = (0, 51, 102, 255, 7)
        tensor = ensemble.tensors[0].name
        together = await backend.infer(make_batch(ensemble.name, region, {tensor: rows(*values)}))
        scores = together.outputs["mean__scores"]
        np.testing.assert_allclose(scores[:, 0], np.array(values) / 255, atol=tolerance)
        for index, value in enumerate(values):
            alone = await backend.infer(make_batch(ensemble.name, region, {tensor: rows(value)}))
            np.testing.assert_array_equal(alone.outputs["mean__scores"], scores[index : index + 1])
    finally:
        await backend.close()
        region.close()


async def test_graph_without_the_declared_output_is_refused_by_name(
    triton_install: TritonInstall, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    write_onnx_head(repository, output="probability")
    backend = embedded(triton_install, ServerOptions(tmp_path / "run"), repository)
    with pytest.raises(ModelError, match="no output scores; it has probability"):
        await backend.load(1, build_ensembles(load_heads(repository, ["mean"])))
    await backend.close()
