"""What is read of pictures and videos, and how: the compiled core's options and limits, and doors for people to what
the heads see. Stateless; the server itself decodes through ``core`` only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import floodgate._core as _core
from floodgate.errors import ContentError, InvalidRequest, StartupError, Unavailable
from floodgate.types import EnsembleSpec, ImageViewSpec, SamplingPlan, ViewSpec

log = logging.getLogger(__name__)

# Where NVIDIA's packages for CUDA 13 and 12 put nvJPEG.
_NVJPEG_FOLDERS = ("nvidia.cu13", "nvidia.nvjpeg")

# Raised whenever the core makes another tensor of the same bytes and view.
_VIEW_ARITHMETIC = 1

# The core's names of limits, as they stand in its messages, and what an operator calls them.
_SETTING_OF = {
    "max_bytes": "limits.image_bytes",
    "max_video_bytes": "limits.video_bytes",
    "max_pixels": "limits.pixels",
    "max_side_px": "limits.side_px",
    "max_duration_ms": "limits.duration_s",
    "max_animation_frames": "limits.animation_frames",
    "max_scans": "limits.scans",
    "max_coefficient_bytes": "limits.coefficient_bytes",
    "max_cpu_ms": "limits.cpu_ms",
    "decoder_memory_bytes": "media.worker_memory_mb",
}
_LIMIT_NAME = re.compile(rf"\b({'|'.join(_SETTING_OF)})\b")

DECODER_PROGRAM = Path(_core.__file__).parent / "bin" / "floodgate-decoder"
"""What runs in a sandboxed decode worker; installed beside the compiled core."""


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """The GPU that decodes baseline JPEGs. ``required`` False: the CPU does it where there is none."""

    required: bool
    ordinal: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """What is read of pictures and videos and how; see ``config.MediaSettings`` and ``config.Limits``. ``decode_min``
    0: exact views. ``decoder`` None: decode on threads of this process."""

    image_bytes: int
    video_bytes: int
    pixels: int
    side_px: int
    duration_ms: int
    animation_frames: int
    scans: int
    coefficient_bytes: int
    cpu_ms: int
    decode_min: int = 0
    decoder: Path | None = None
    worker_memory_bytes: int = 1 << 30
    hang_ms: int = 5000
    faults: bool = False
    device: DeviceOptions | None = None

    def limits(self) -> _core.MediaLimits:
        """The core's own form of the limits."""
        return _core.MediaLimits(
            max_bytes=self.image_bytes,
            max_video_bytes=self.video_bytes,
            max_pixels=self.pixels,
            max_side_px=self.side_px,
            max_duration_ms=self.duration_ms,
            max_animation_frames=self.animation_frames,
            max_scans=self.scans,
            max_coefficient_bytes=self.coefficient_bytes,
            max_cpu_ms=self.cpu_ms,
        )


def in_settings(message: str) -> str:
    """A message of the core with its limits called by the settings' names."""
    return _LIMIT_NAME.sub(lambda found: _SETTING_OF[found[1]], message)


def compiled_view(spec: ViewSpec) -> _core.ImageView | _core.TextView:
    """A declared view in the core's own form. Raises InvalidRequest for one that cannot be."""
    if isinstance(spec, ImageViewSpec):
        return _core.ImageView(**asdict(spec))
    return _core.TextView(spec.buckets)


def render_view(data: bytes, spec: ImageViewSpec, decode_min: int = 0) -> bytes:
    """Decodes a picture and renders one view: exactly the uint8 pixels that a head sees.

    Returns out_height x out_width x 3 bytes for "nhwc", 3 x out_height x out_width for "nchw". Raises ContentError, or
    InvalidRequest for a view that cannot be. For tests and for people; the server never calls it.
    """
    return _core.render_views(data, [_core.ImageView(**asdict(spec))], decode_min=decode_min)[0]


def codecs() -> Mapping[str, str]:
    """Versions of the codec libraries in use."""
    return _core.codecs()


def video_codecs() -> Sequence[str]:
    """Names of the video codecs that are decoded."""
    return _core.video_codecs()


def jpeg_library() -> str:
    """Path of the nvJPEG that a Python package brought (``nvidia-nvjpeg``), or "": as the loader finds it."""
    for folder in _NVJPEG_FOLDERS:
        spec = importlib.util.find_spec(folder) if importlib.util.find_spec("nvidia") else None
        for place in spec.submodule_search_locations or () if spec else ():
            if found := sorted((Path(place) / "lib").glob("libnvjpeg.so.*")):
                return str(found[-1])
    return ""


def look_for_device(ordinal: int) -> Mapping[str, Any]:
    """What there is of a GPU; see ``_core.look_for_device``."""
    return _core.look_for_device(ordinal=ordinal, jpeg_library=jpeg_library())


def open_device(options: DeviceOptions | None) -> _core.Device | None:
    """The GPU to decode on; None: the CPU does it, as it was asked to, or because there is none and none is required,
    which is then said once. Raises StartupError when one is required and cannot be had."""
    if options is None:
        return None
    try:
        device = _core.Device(ordinal=options.ordinal, memory_bytes=options.memory_bytes, jpeg_library=jpeg_library())
    except (InvalidRequest, Unavailable) as error:
        if options.required:
            raise StartupError(
                f"media.device is cuda, but {error.message}; `floodgate doctor` says more, and `media.device: cpu` does"
                " without"
            ) from None
        log.warning("pictures are decoded on the CPU: %s", error.message)
        return None
    log.info("baseline JPEGs are decoded on %s (nvJPEG %s)", device.name, device.jpeg_version)
    return device


def preprocessing_digest(ensembles: Sequence[EnsembleSpec], decode_min: int, device: str = "") -> str:
    """SHA-256, hex, over all that stands between bytes and tensors: views, how small a JPEG may be decoded for them
    (``decode_min``, px; 0: exact views), codec versions, and the nvJPEG that decodes on a GPU (``device``; "": none).
    Equal digests mean equal tensors for equal bytes; with a GPU, for those that the same of both decoders read."""
    views = {
        f"{spec.modality.value}/{tensor.name}": asdict(tensor.view) for spec in ensembles for tensor in spec.tensors
    }
    content = {
        "views": views,
        "mode": "fast" if decode_min else "exact",
        "decode_min": decode_min,
        "codecs": dict(codecs()),
        "arithmetic": _VIEW_ARITHMETIC,
    }
    if device:
        content["device"] = device
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that was looked at, upright: ``rgb`` is packed, 3 * width * height bytes. ``time_ms`` 0 for a still."""

    time_ms: int
    width: int
    height: int
    rgb: bytes


@dataclass(frozen=True, slots=True)
class Frames:
    """What the server looks at of a file. ``similar`` frames were left out as near copies; ``planned`` is what the plan
    came to. Empty ``codec``: a still."""

    frames: tuple[Frame, ...]
    media_format: str
    codec: str
    width: int
    height: int
    duration_ms: int
    planned: int
    similar: int
    note: str


def sample_frames(data: bytes, plan: SamplingPlan, limits: _core.MediaLimits | None = None) -> Frames:
    """Exactly the frames that the server looks at under ``plan``, of a video or a picture. Raises ContentError.

    For people who ask what was seen; the server never calls it.
    """
    limits = limits or _core.MediaLimits()
    try:
        info = _core.probe(data, limits)
        if not (info.is_video or (info.is_sequence and plan.max_frames > 1)):
            width, height, rgb = _core.decode_picture(data, limits)
            still = Frame(0, width, height, rgb)
            return Frames((still,), info.format, "", width, height, 0, 1, 0, "")
        found, facts = _core.sample_frames(data, plan.max_frames, plan.min_interval_ms, plan.seed, limits)
    except ContentError as error:
        raise type(error)(in_settings(error.message)) from None
    return Frames(
        frames=tuple(Frame(*frame) for frame in found),
        media_format=info.format,
        codec=facts["codec"],
        width=facts["width"],
        height=facts["height"],
        duration_ms=facts["duration_ms"],
        planned=facts["planned"],
        similar=facts["similar"],
        note=facts["notes"],
    )
