"""A head of one convolution, small enough to build in a second, and graphs that no builder takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from floodgate.triton.repository import load_head
from floodgate.types import HeadSpec

SIDE = 8

_CONFIG = f"""
name: "small"
backend: "openvino_runner"
max_batch_size: 8
input {{ name: "image" data_type: TYPE_UINT8 dims: [{SIDE}, {SIDE}, 3] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [1] }}
parameters {{ key: "view" value {{ string_value: '{{"kind": "image", "width": {SIDE}, "height": {SIDE}}}' }} }}
parameters {{ key: "labels" value {{ string_value: '["test.small"]' }} }}
parameters {{ key: "competence" value {{ string_value: '{{}}' }} }}
parameters {{ key: "licence" value {{ string_value: "CC0-1.0" }} }}
parameters {{ key: "output_kinds" value {{ string_value: '{{"scores": "scores"}}' }} }}
"""


def graph(*, before_scores: list[Any] | None = None, domain: str = "") -> bytes:
    """``image`` uint8 [n, 8, 8, 3] -> ``scores`` float32 [n, 1]: cast, two convolutions, mean, sigmoid.

    ``before_scores``: nodes that make ``scores`` of ``mean`` instead of the sigmoid. ``domain``: one more operator set.
    """
    random = np.random.default_rng(7)
    weights = {
        "w1": random.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32),
        "w2": random.normal(0, 0.3, (1, 16, 3, 3)).astype(np.float32),
        "full": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["wide", "full"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        *(before_scores or [helper.make_node("Sigmoid", ["mean"], ["scores"])]),
    ]
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1])],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])],
        ir_version=9,
    )
    serialized: bytes = made.SerializeToString()
    return serialized


def write_head(repository: Path, weights: bytes | None = None) -> HeadSpec:
    """The head ``small`` in ``repository``, with its weights and no lock entry."""
    folder = repository / "small"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG)
    (folder / "1" / "model.onnx").write_bytes(graph() if weights is None else weights)
    return load_head(repository, "small")
