"""Static int8 and fp8 by NNCF: the graph comes back with QuantizeLinear and DequantizeLinear around its layers with
weights, which OpenVINO and TensorRT both read.

Weights are quantised by channel and symmetrically, activations by tensor and symmetrically, as TensorRT wants. OpenVINO
gets unsigned activations where they cannot be negative, which has one bit more; TensorRT knows signed ones only. fp8
(E4M3) is the same graph with the same ranges in 8-bit floating point.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from floodgate.errors import ModelError
from floodgate.models.edits.precision import middle, parse_model

BUILDER = "nncf"
IMAGE_INPUT = "image"

_FP8_MAX = 448.0  # of E4M3, IEEE-like without infinities ("FN")
_FP8_OPSET = 19  # the first in which QuantizeLinear knows it


def builder_version() -> str:
    """Of the NNCF that is installed."""
    return importlib.metadata.version(BUILDER)


def quantize(weights: bytes, views: Sequence[npt.NDArray[np.uint8]], name: str, kind: str) -> bytes:
    """The ONNX graph ``weights`` in 8 bits between its first and its last layer with weights.

    ``views``: uint8, one head's view each, without a batch; activations' ranges are taken from them. ``kind``: "int8"
    (activations unsigned where they can be), "signed int8" or "fp8". Raises ModelError when NNCF is missing or the
    graph is not one with the input ``image``.
    """
    model = parse_model(weights, f"{name}'s model.onnx")
    if [value.name for value in model.graph.input] != [IMAGE_INPUT]:
        raise ModelError(f"{name}'s model.onnx does not take pictures: its input should be {IMAGE_INPUT!r}")
    nncf = _load_nncf()
    subsample_first(model)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    inside = middle(model.graph.node)
    outside = [node.name for index, node in enumerate(model.graph.node) if index not in inside]
    quantized = nncf.quantize(
        model,
        nncf.Dataset([{IMAGE_INPUT: pixels[np.newaxis]} for pixels in views]),
        subset_size=len(views),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=outside, validate=False),
    )
    if kind == "signed int8":
        _make_signed(quantized)
    elif kind == "fp8":
        quantized = _make_fp8(quantized)
    del quantized.graph.value_info[:]  # says what types inner tensors had before
    serialized: bytes = quantized.SerializeToString(deterministic=True)
    return serialized


def subsample_first(model: Any) -> None:
    """Gives every 1 x 1 convolution that steps over its input a subsampled one to walk over, shared by those that read
    the same tensor: the same numbers. Left as they are, OpenVINO moves their steps up the graph, past the quantisation,
    and the layers around them run in 16 bits."""
    from onnx import helper

    sides = {tensor.name: tuple(tensor.dims[2:]) for tensor in model.graph.initializer}
    nodes: list[Any] = []
    made: set[str] = set()
    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        steps = tuple(attributes["strides"].ints) if "strides" in attributes else ()
        pads = tuple(attributes["pads"].ints) if "pads" in attributes else ()
        one_by_one = node.op_type == "Conv" and sides.get(node.input[1]) == (1, 1)
        if one_by_one and any(step > 1 for step in steps) and not any(pads) and "auto_pad" not in attributes:
            fewer = f"{node.input[0]}__every_{'_'.join(map(str, steps))}"
            if fewer not in made:
                made.add(fewer)
                nodes.append(
                    helper.make_node(
                        "MaxPool", [node.input[0]], [fewer], name=fewer, kernel_shape=[1, 1], strides=steps
                    )
                )
            node.input[0] = fewer
            attributes["strides"].ints[:] = [1] * len(steps)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _load_nncf() -> Any:
    # NNCF reports its use to its makers unless this is set before it is imported.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ImportError as error:
        raise ModelError(
            f"8 bits need the Python package {error.name!r}, which is not installed; install floodgate[int8]"
        ) from error
    nncf.set_log_level(logging.WARNING)
    return nncf


def _make_signed(model: Any) -> None:
    """Turns uint8 scales with the zero point 0 into int8 ones over the same range."""
    from onnx import TensorProto, numpy_helper

    done: set[str] = set()
    for _, scale, zero in _quantizers(model):
        if zero.data_type == TensorProto.UINT8:
            _rescale(scale, 255 / 127, done)
            zero.CopyFrom(numpy_helper.from_array(np.zeros(list(zero.dims), np.int8), zero.name))


def _make_fp8(model: Any) -> Any:
    """The int8 graph in E4M3: the largest number of a tensor's range becomes E4M3's largest, 448."""
    from onnx import TensorProto, helper, numpy_helper, version_converter

    model = version_converter.convert_version(model, _FP8_OPSET)
    fp8 = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    for node, scale, zero in _quantizers(model):
        if zero.data_type != TensorProto.FLOAT8E4M3FN:
            _rescale(scale, (255 if zero.data_type == TensorProto.UINT8 else 127) / _FP8_MAX, done)
            zero.CopyFrom(numpy_helper.from_array(np.zeros(list(zero.dims), fp8), zero.name))
        weights = stored.get(node.input[0])
        if weights is not None and weights.name not in done:
            done.add(weights.name)
            wide = numpy_helper.to_array(weights).astype(np.float32) * (_FP8_MAX / 127)
            weights.CopyFrom(numpy_helper.from_array(wide.astype(fp8), weights.name))
    return model


def _quantizers(model: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Each QuantizeLinear and DequantizeLinear with its scale and zero point, which must be 0. Raises ModelError."""
    from onnx import numpy_helper

    initialisers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = initialisers[node.input[1]], initialisers[node.input[2]]
            if numpy_helper.to_array(zero).astype(np.float32).any():
                raise ModelError(f"node {node.name!r} is quantised asymmetrically, which TensorRT does not take")
            yield node, scale, zero


def _rescale(scale: Any, factor: float, done: set[str]) -> None:
    """Multiplies a scale once, however many nodes share it."""
    from onnx import numpy_helper

    if scale.name not in done:
        done.add(scale.name)
        values = (numpy_helper.to_array(scale) * factor).astype(np.float32)
        scale.CopyFrom(numpy_helper.from_array(values, scale.name))
