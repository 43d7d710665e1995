"""open_nsfw: from float32, mean-subtracted BGR in and two probabilities out, to uint8 BGR in and one score
out.
"""

from __future__ import annotations

from collections.abc import Mapping

from floodgate.models.edits.graph import expect, parse, rebuild

MEAN_BGR = (104.0, 117.0, 123.0)
"""Mean pixel of the training set, as in Yahoo's published Caffe preprocessing (``classify_nsfw.py``)."""

NSFW_COLUMN = 1
"""The graph's softmax is over (safe, not safe)."""


def edit(members: Mapping[str, bytes]) -> bytes:
    """``image`` uint8 [n, 224, 224, 3] (B, G, R) -> ``scores`` float32 [n, 1], the probability of *not safe*.

    Raises ModelError when the member is not the expected graph.
    """
    model = parse(members)
    expect(model, input_name="input:0", output_name="outputs", opset=9)

    import numpy as np
    from onnx import TensorProto, helper

    return rebuild(
        model,
        before=[
            helper.make_node("Cast", ["image"], ["image_f32"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["image_f32", "mean_bgr"], ["input:0"]),
        ],
        after=[helper.make_node("Gather", ["outputs", "nsfw_column"], ["scores"], axis=1)],
        constants={
            "mean_bgr": np.array(MEAN_BGR, dtype=np.float32),
            "nsfw_column": np.array([NSFW_COLUMN], dtype=np.int64),
        },
        image_shape=(224, 224, 3),
        outputs={"scores": (1,)},
        name="nsfw",
    )
