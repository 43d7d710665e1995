"""The middle of a graph in 16 bits: TensorRT's networks are strongly typed, so the precision is the graph's own.

Only what lies between the first and the last layer with weights changes. What prepares pixels before it, and what
turns the last layer's numbers into scores and boxes after it, stays float32: a softmax or a box's corner in 16 bits
costs digits and saves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from floodgate.errors import ModelError

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that have weights, and so most of the work."""

# Inputs that ONNX wants in float32 whatever the type of the data: roi and scales.
_FLOAT32_ONLY = {("Resize", 1), ("Resize", 2)}
OPSET = 17
"""Graphs older than this are brought up to it first: bfloat16 and quantisation by channel need at least 13."""


def parse_model(weights: bytes, name: str) -> Any:
    """``weights`` as an ``onnx.ModelProto`` of opset ``OPSET`` or later. Raises ModelError naming ``name``."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import version_converter

    try:
        model = onnx.load_model_from_string(weights)
    except DecodeError as error:
        raise ModelError(f"{name} is not an ONNX model: {error}") from error
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not model.graph.node or opset == 0:
        raise ModelError(f"{name} is not an ONNX model: it has no nodes or no operator set")
    if opset >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # whatever a converter of another language throws
        raise ModelError(f"{name} cannot be brought from opset {opset} to {OPSET}: {error}") from error


def to_16_bits(model: Any, precision: str) -> Any:
    """``model`` with its middle in ``precision`` ("fp16" or "bf16"); inputs and outputs keep their names and types.

    Raises ModelError for a graph with nothing to change, as no layer in it has weights.
    """
    import onnx
    from onnx import TensorProto

    kind = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    _Narrowing(edited.graph, _float_tensors(edited), kind, precision).apply()
    onnx.checker.check_model(edited)
    return edited


def _float_tensors(model: Any) -> set[str]:
    """Names of all float32 tensors."""
    import onnx
    from onnx import TensorProto

    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    names = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def middle(nodes: Iterable[Any]) -> set[int]:
    """Positions of the nodes that lie between weighted ones, these included. REQUIRES: topological order, as ONNX
    does."""
    nodes = list(nodes)
    after: set[int] = set()
    reached: set[str] = set()
    for index, node in enumerate(nodes):
        if node.op_type in WEIGHTED or reached.intersection(node.input):
            after.add(index)
            reached.update(node.output)
    before: set[int] = set()
    needed: set[str] = set()
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if node.op_type in WEIGHTED or needed.intersection(node.output):
            before.add(index)
            needed.update(node.input)
    return after & before


class _Narrowing:
    """One pass over one graph. ``floats``: names of its float32 tensors."""

    def __init__(self, graph: Any, floats: set[str], kind: int, suffix: str) -> None:
        self._graph = graph
        self._floats = floats
        self._kind = kind
        self._suffix = suffix
        self._initialisers = {tensor.name: tensor for tensor in graph.initializer}
        self._narrow: set[str] = set()  # names as they were of the tensors that are 16 bits wide now
        self._nodes: list[Any] = []
        self._made: set[str] = set()

    def apply(self) -> None:
        inside = middle(self._graph.node)
        if not inside:
            raise ModelError("the graph has no convolution or matrix product that could run in 16 bits")
        for index, node in enumerate(list(self._graph.node)):
            if index in inside:
                self._narrow_node(node)
            else:
                self._widen_inputs(node.input)
                self._nodes.append(node)
        self._widen_inputs([value.name for value in self._graph.output])
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._drop_unused()

    def _narrow_node(self, node: Any) -> None:
        for position, name in enumerate(node.input):
            if name not in self._floats:
                continue
            if (node.op_type, position) in _FLOAT32_ONLY:
                self._widen_inputs([name])
            else:
                node.input[position] = self._narrowed(name)
        if node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and node.output[0] in self._floats:
                    attribute.i = self._kind
        for position, name in enumerate(node.output):
            if name in self._floats:
                self._narrow.add(name)
                node.output[position] = self._named(name)
        self._nodes.append(node)

    def _narrowed(self, name: str) -> str:
        """The tensor in 16 bits: made so already, or converted here."""
        import onnx
        from onnx import numpy_helper

        short = self._named(name)
        if name in self._narrow or short in self._made:
            return short
        self._made.add(short)
        if name in self._initialisers:
            wide = numpy_helper.to_array(self._initialisers[name])
            values = wide.astype(onnx.helper.tensor_dtype_to_np_dtype(self._kind))
            self._graph.initializer.append(numpy_helper.from_array(values, short))
        else:
            self._nodes.append(onnx.helper.make_node("Cast", [name], [short], to=self._kind, name=f"{short}_cast"))
        return short

    def _widen_inputs(self, names: Iterable[str]) -> None:
        """Makes the float32 tensors of these names again where they have become narrow ones."""
        import onnx

        for name in names:
            if name in self._narrow and name not in self._made:
                self._made.add(name)
                cast = onnx.helper.make_node(
                    "Cast", [self._named(name)], [name], to=onnx.TensorProto.FLOAT, name=f"{name}_{self._suffix}_back"
                )
                self._nodes.append(cast)

    def _named(self, name: str) -> str:
        return f"{name}__{self._suffix}"

    def _drop_unused(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        del self._graph.value_info[:]
