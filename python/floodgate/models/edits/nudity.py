"""NudeNet 320n: a YOLOv8 detector's raw anchors become one score and one box for each of its 18 classes.

The detector's output is [n, 22, 2100]: for each of 2100 anchors a box (centre x, centre y, width, height in
pixels of the 320 x 320 view) and 18 class probabilities. A moderation score is "is there one anywhere", so
each class keeps its best anchor; nothing is suppressed and no threshold is built in.
"""

from __future__ import annotations

from collections.abc import Mapping

from floodgate.models.edits.graph import expect, parse, rebuild

SIDE = 320
CLASSES = 18


def edit(members: Mapping[str, bytes]) -> bytes:
    """``image`` uint8 [n, 320, 320, 3] (R, G, B) -> ``scores`` float32 [n, 18] and ``boxes`` float32 [n, 18,
    4].

    ``scores[:, c]`` is the largest probability of class c over all anchors; ``boxes[:, c]`` is that anchor's
    box as x0, y0, x1, y1 in fractions of the view, clipped to [0, 1]. Raises ModelError when the member is
    not the expected graph.
    """
    model = parse(members)
    expect(model, input_name="images", output_name="output0", opset=17)

    import numpy as np
    from onnx import TensorProto, helper

    return rebuild(
        model,
        before=[
            helper.make_node("Cast", ["image"], ["image_f32"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["image_f32", "full_scale"], ["image_unit"]),
            helper.make_node("Transpose", ["image_unit"], ["images"], perm=[0, 3, 1, 2]),
        ],
        after=[
            helper.make_node("Split", ["output0", "parts"], ["centres", "sizes", "probabilities"], axis=1),
            helper.make_node("ReduceMax", ["probabilities"], ["scores"], axes=[2], keepdims=0),
            helper.make_node("ArgMax", ["probabilities"], ["best"], axis=2, keepdims=0),
            helper.make_node("Unsqueeze", ["best", "axis_1"], ["best_row"]),
            # [n, 1, 18] -> [n, 2, 18]: one index for x and one for y.
            helper.make_node("Concat", ["best_row", "best_row"], ["best_rows"], axis=1),
            helper.make_node("GatherElements", ["centres", "best_rows"], ["centre"], axis=2),
            helper.make_node("GatherElements", ["sizes", "best_rows"], ["size"], axis=2),
            helper.make_node("Mul", ["size", "half"], ["reach"]),
            helper.make_node("Sub", ["centre", "reach"], ["low"]),
            helper.make_node("Add", ["centre", "reach"], ["high"]),
            helper.make_node("Concat", ["low", "high"], ["corners_px"], axis=1),
            helper.make_node("Div", ["corners_px", "side"], ["corners"]),
            helper.make_node("Clip", ["corners", "zero", "one"], ["corners_clipped"]),
            helper.make_node("Transpose", ["corners_clipped"], ["boxes"], perm=[0, 2, 1]),
        ],
        constants={
            "full_scale": np.array(255, dtype=np.float32),
            "parts": np.array([2, 2, CLASSES], dtype=np.int64),
            "axis_1": np.array([1], dtype=np.int64),
            "half": np.array(0.5, dtype=np.float32),
            "side": np.array(SIDE, dtype=np.float32),
            "zero": np.array(0, dtype=np.float32),
            "one": np.array(1, dtype=np.float32),
        },
        image_shape=(SIDE, SIDE, 3),
        outputs={"scores": (CLASSES,), "boxes": (CLASSES, 4)},
        name="nudity",
    )
