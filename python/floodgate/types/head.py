"""Classifiers as their configuration declares them, and the ensembles made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from floodgate.types.item import Modality, Role

BUILT_FILES = {
    "model.plan": "--platform tensorrt",
    "model.rtx.plan": "--platform tensorrt-rtx",
    "model.int8.onnx": "--platform openvino --precision int8",
}
"""Files of a version directory that ``floodgate models build`` makes of the weights, each with a record beside it, and
the options that make them. They are part of a head only when its configuration names one as
``default_model_filename``."""

RECORD_SUFFIX = ".build.json"
"""What a built file's record is called beyond the file's own name."""


@dataclass(frozen=True, slots=True)
class ImageViewSpec:
    """Mirror of ``floodgate::ImageView`` (cpp/include/floodgate/view.h); same meanings and names."""

    width: int
    height: int
    mode: str = "stretch"  # stretch | contain | cover
    filter: str = "bilinear"  # bilinear | bicubic | lanczos | box | hamming
    crop_width: int = 0
    crop_height: int = 0
    pad_anchor: str = "center"  # center | top_left
    pad_color: tuple[int, int, int] = (0, 0, 0)
    color: str = "rgb"  # rgb | bgr
    layout: str = "nhwc"  # nhwc | nchw
    background: tuple[int, int, int] = (255, 255, 255)  # what alpha is composited on: red, green, blue
    ignore_alpha: bool = False  # the colours under the alpha, as stored
    ignore_orientation: bool = False  # the picture as stored, not turned upright


@dataclass(frozen=True, slots=True)
class TextViewSpec:
    """Mirror of ``floodgate::TextView``: row lengths in bytes, ascending."""

    buckets: tuple[int, ...]
    normalization: str = "none"


ViewSpec = ImageViewSpec | TextViewSpec


@dataclass(frozen=True, slots=True)
class Competence:
    """What a head can judge. A score outside it is reported, and is *unscored* for policy.

    ``languages``: BCP 47 primary subtags the head understands; empty: not language-bound.
    ``roles``: part roles it is meant for; empty: all.
    ``min_side_px``: smallest picture side it can judge; 0: any.
    ``min_known_share``: for text of no declared language, the least share [0, 1] of its words that the head
    must know (the head's ``known_share`` output); 0: not checked.
    """

    languages: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    min_side_px: int = 0
    min_known_share: float = 0.0


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One float32 output of a head: ``name`` in the head's config, ``elements`` a row (product of its dims).

    ``kind``: "scores" (one column a label), "boxes" (labels x 4: x0, y0, x1, y1 in [0, 1] of the view),
    or "known_share" (1: see ``Competence``).
    """

    name: str
    kind: str
    shape: tuple[int, ...]  # without the batch dimension

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) if self.shape else 1


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A classifier as its ``config.pbtxt`` declares it.

    ``labels[i]`` is what column i of the "scores" output feeds. ``digest`` is the SHA-256 (hex) over the
    config and the weights, so it changes whenever the scores may. ``model_file`` is the one file that is served, or ""
    when that is all of the version directory but what was built. ``config_name``: of ``configs/<name>.pbtxt`` where the
    head is served by that, "" where by its ``config.pbtxt``.
    """

    name: str
    version: int
    digest: str
    modality: Modality
    view: ViewSpec
    labels: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    competence: Competence
    licence: str
    max_batch: int
    devices: frozenset[str] = frozenset()  # what it runs on: "cpu", "gpu:0", …, "gpu": all; empty: not said
    model_file: str = ""
    config_name: str = ""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input tensor of an ensemble: a view and the name it goes by. Heads with equal views share one."""

    name: str
    view: ViewSpec


@dataclass(frozen=True, slots=True)
class EnsembleSpec:
    """``name`` is ``<modality>@<digest8>`` over its heads' versions and digests.

    Text ensembles have exactly one TensorSpec, sent as ``<name>`` uint8[n, L] and ``<name>_length`` int32[n, 1].
    An ensemble's output is called ``<head>__<output>``.
    """

    name: str
    digest: str
    modality: Modality
    heads: tuple[HeadSpec, ...]
    tensors: tuple[TensorSpec, ...]
    max_batch: int
    device: str = ""  # ensembles with the same one share its time

    def tensor_of(self, head: HeadSpec) -> str:
        """The name of the tensor that ``head`` reads."""
        return next(tensor.name for tensor in self.tensors if tensor.view == head.view)


def output_name(head: str, output: str) -> str:
    """The ensemble's name for one head's output."""
    return f"{head}__{output}"
