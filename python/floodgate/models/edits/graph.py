"""Reading and writing ONNX graphs, for the edits of image heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from floodgate.errors import ModelError

BATCH = "n"
"""The symbolic name of the batch dimension in every edited graph."""


def parse(members: Mapping[str, bytes]) -> Any:
    """The only member as an ``onnx.ModelProto``. Raises ModelError when it is not one."""
    import onnx
    from google.protobuf.message import DecodeError

    if len(members) != 1:
        raise ModelError(f"a graph edit takes exactly one member, not {len(members)}")
    (name, data), *_ = members.items()
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"{name} is not an ONNX model: {error}") from error
    return model


def expect(model: Any, *, input_name: str, output_name: str, opset: int) -> None:
    """Raises ModelError unless the graph has exactly this input and output and this default opset.

    An edit rewires by name; on any other graph it would silently build nonsense.
    """
    initialised = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in initialised]
    outputs = [value.name for value in model.graph.output]
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    found = (inputs, outputs, opsets.get(""))
    if found != ([input_name], [output_name], opset):
        raise ModelError(
            f"this is not the graph the edit was written for: inputs {inputs}, outputs {outputs}, "
            f"opset {opsets.get('')}; expected {[input_name]}, {[output_name]}, {opset}"
        )


def rebuild(
    model: Any,
    *,
    before: Sequence[Any],
    after: Sequence[Any],
    constants: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    outputs: Mapping[str, tuple[int, ...]],
    name: str,
) -> bytes:
    """The graph with nodes put before and after it, as checked and serialised ONNX.

    The new input is ``image`` uint8 [n, *image_shape]; ``outputs`` (name -> shape without the batch) are
    float32. ``constants`` (name -> numpy array) become initialisers. Shapes recorded for inner values are
    dropped: they belong to the old input. Deterministic: nodes and initialisers keep their order.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [*before, *model.graph.node, *after],
        name,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [BATCH, *image_shape])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, [BATCH, *shape])
            for output, shape in outputs.items()
        ],
        [
            *model.graph.initializer,
            *(numpy_helper.from_array(array, constant) for constant, array in constants.items()),
        ],
    )
    edited = helper.make_model(graph, opset_imports=model.opset_import, producer_name="floodgate")
    edited.ir_version = model.ir_version
    onnx.checker.check_model(edited)
    serialised: bytes = edited.SerializeToString(deterministic=True)
    return serialised
