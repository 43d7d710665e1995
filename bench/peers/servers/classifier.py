"""What every peer serves: the nsfw head's own ONNX file through OpenVINO, and the ways to turn a JPEG into its view.

The OpenVINO settings are those of Floodgate's runner, over one graph of open batch, as people compile it; Floodgate's
own runner compiles graphs of fixed sizes. The view is the head's: 256 x 256 stretched, bilinear, of which the middle
224 x 224, BGR.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import openvino as ov
from PIL import Image

VIEW_PX = 256
CROP_PX = 224
_EDGE_PX = (VIEW_PX - CROP_PX) // 2

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Setup:
    """``decode``: "full" (Pillow), "draft" (Pillow's reduced decode) or "opencv" (OpenCV's). ``workers``: processes or
    threads that decode. ``batch``: rows of a batch at most; ``wait_ms``: how long the framework may wait to fill it."""

    decode: str
    workers: int
    batch: int
    wait_ms: float
    fast_transport: bool = False


def setup() -> Setup:
    """The setup that this server was started with."""
    return Setup(**json.loads(os.environ["PEER_SETUP"]))


def port() -> int:
    """Where to listen, on loopback."""
    return int(os.environ["PEER_PORT"])


def decoder(name: str) -> Callable[[bytes], Pixels]:
    """JPEG bytes to uint8 (224, 224, 3) BGR, in one of the ways of ``Setup.decode``."""
    cv2.setNumThreads(1)
    return {"full": _full, "draft": _draft, "opencv": _opencv}[name]


def _full(data: bytes) -> Pixels:
    return _fit(Image.open(io.BytesIO(data)).convert("RGB"))


def _draft(data: bytes) -> Pixels:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (VIEW_PX, VIEW_PX))
    return _fit(image.convert("RGB"))


def _fit(image: Image.Image) -> Pixels:
    image = image.resize((VIEW_PX, VIEW_PX), Image.Resampling.BILINEAR)
    image = image.crop((_EDGE_PX, _EDGE_PX, _EDGE_PX + CROP_PX, _EDGE_PX + CROP_PX))
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _opencv(data: bytes) -> Pixels:
    width, height = Image.open(io.BytesIO(data)).size  # reads the header only
    least = min(width, height)
    reduced = [
        (8, cv2.IMREAD_REDUCED_COLOR_8),
        (4, cv2.IMREAD_REDUCED_COLOR_4),
        (2, cv2.IMREAD_REDUCED_COLOR_2),
        (1, cv2.IMREAD_COLOR),
    ]
    flag = next((flag for scale, flag in reduced if least >= scale * VIEW_PX), cv2.IMREAD_COLOR)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if image is None:
        raise ValueError("OpenCV cannot decode the picture")
    image = cv2.resize(image, (VIEW_PX, VIEW_PX), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[_EDGE_PX : _EDGE_PX + CROP_PX, _EDGE_PX : _EDGE_PX + CROP_PX])


class Classifier:
    """The head. Thread rule: one thread at a time."""

    def __init__(self, largest_batch: int) -> None:
        core = ov.Core()
        graph = core.read_model(os.environ["PEER_MODEL"])
        graph.reshape({"image": ov.PartialShape([-1, CROP_PX, CROP_PX, 3])})
        precision = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}[os.environ["PEER_PRECISION"]]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": int(os.environ["PEER_THREADS"]),
        }
        self._request = core.compile_model(graph, "CPU", settings).create_infer_request()
        # The first run of a batch size prepares its kernels, which no request should pay for.
        for rows in range(1, largest_batch + 1):
            self.scores(np.zeros((rows, CROP_PX, CROP_PX, 3), np.uint8))

    def scores(self, rows: Pixels) -> list[float]:
        """Scores of uint8 (n, 224, 224, 3)."""
        self._request.infer({"image": rows}, share_inputs=True)
        return [float(score) for score in self._request.get_tensor("scores").data[:, 0]]
