"""A graph's first convolution made cheaper for bf16, with the same result.

Pictures come as rows of RGB pixels, and a first convolution often steps two columns at a time. Vector units multiply
bf16 numbers in pairs along the channels, of which three leave a part idle. Two neighbouring columns are one column with
twice the channels, in the same memory; over those the convolution steps one at a time, with its kernel's columns, and a
column of zeros where they are odd, in pairs too. So open_nsfw's first convolution takes a fifth less CPU, which is 3%
of the whole (AVX-512 with bf16, one thread). With f32 it takes 5% more, and with AMX, which multiplies tiles, it is
unmeasured: there it is left as it is.

Runs inside Triton's stub process, where Floodgate is not imported.
"""

from pathlib import Path
from typing import Any

import numpy as np
from openvino import opset13 as ops

_STEP = 2
_MOST_CHANNELS = 4  # more fill a vector unit by themselves
_NHWC_TO_NCHW = [0, 3, 1, 2]


def folding_pays(precision: str) -> bool:
    """Whether a graph of that precision is known to take less CPU folded, on this machine."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = next((line for line in facts.splitlines() if line.startswith("flags")), "").split()
    return precision == "bf16" and "avx512_bf16" in flags and "amx_bf16" not in flags


def fold_columns(graph: Any) -> int:
    """Changes ``graph`` (an ``openvino.Model``) and returns how many convolutions it changed: those that step two
    columns over an NHWC picture of few channels, of known and even width, with constant weights."""
    folded = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Convolution" and (cheaper := _folded(node)) is not None:
            cheaper.set_friendly_name(node.get_friendly_name())
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(cheaper.output(0))
            folded += 1
    if folded:
        graph.validate_nodes_and_infer_types()
    return folded


def _folded(convolution: Any) -> Any:
    """What does the same as ``convolution``; None where it is none of ours."""
    attributes = convolution.get_attributes()
    transpose, weights = (convolution.input_value(place).get_node() for place in (0, 1))
    if transpose.get_type_name() != "Transpose" or weights.get_type_name() != "Constant":
        return None
    order = transpose.input_value(1).get_node()
    pixels = transpose.input_value(0)
    dims = list(pixels.get_partial_shape())[1:]
    if order.get_type_name() != "Constant" or order.get_data().tolist() != _NHWC_TO_NCHW:
        return None
    if any(side.is_dynamic for side in dims) or attributes["auto_pad"] != "explicit":
        return None
    (down, across), dilations = attributes["strides"], attributes["dilations"]
    height, width, channels = (side.get_length() for side in dims)
    if across != _STEP or list(dilations) != [1, 1] or channels > _MOST_CHANNELS or width % _STEP:
        return None
    (above, left), (below, right) = attributes["pads_begin"], attributes["pads_end"]
    kernel = weights.get_data()
    columns = kernel.shape[3]
    steps = (width + left + right - columns) // _STEP + 1
    pairs_left = -(-left // _STEP)
    zeros = pairs_left * _STEP - left  # columns of the first pair that come before the kernel
    pairs = -(-(zeros + columns) // _STEP)
    pairs_right = steps - 1 + pairs - width // _STEP - pairs_left
    spread = np.zeros((*kernel.shape[:3], pairs * _STEP), kernel.dtype)
    spread[..., zeros : zeros + columns] = kernel
    # [out, channel, row, pair, column of the pair] -> [out, column of the pair and channel, row, pair]
    paired = spread.reshape(*kernel.shape[:3], pairs, _STEP).transpose(0, 4, 1, 2, 3)
    paired = paired.reshape(len(kernel), _STEP * channels, kernel.shape[2], pairs)
    rows = ops.reshape(pixels, ops.constant(np.array([0, height, width // _STEP, _STEP * channels])), True)
    planes = ops.transpose(rows, ops.constant(np.array(_NHWC_TO_NCHW)))
    before, after = [above, pairs_left], [below, pairs_right]
    return ops.convolution(planes, ops.constant(np.ascontiguousarray(paired)), [down, 1], before, after, [1, 1])
