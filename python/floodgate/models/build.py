"""Building heads for other platforms out of their locked weights.

    <version>/model.onnx ──> precision (16 bits, int8, fp8) ──> builder ──> <version>/<file> and its record

Files: ``model.plan`` (TensorRT), ``model.rtx.plan`` (TensorRT-RTX, which Triton cannot serve: it shows that a graph
parses and builds, on a machine without a GPU) and ``model.int8.onnx`` (OpenVINO).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from floodgate.errors import ModelError
from floodgate.models import tensorrt
from floodgate.models.edits.precision import parse_model, to_16_bits
from floodgate.models.gpu import Gpu, find_gpu
from floodgate.models.record import AHEAD_OF_TIME, BuildRecord, record_path, serialize
from floodgate.models.tensorrt import Profile, TensorRT, build_plan, load_builder
from floodgate.models.verify import verify
from floodgate.models.wheels import write_atomically
from floodgate.types import HeadSpec, ImageViewSpec

PRECISIONS = {
    "tensorrt": ("fp16", "bf16", "int8", "fp8", "fp32"),
    "tensorrt-rtx": ("fp16", "bf16", "int8", "fp8", "fp32"),
    "openvino": ("int8",),
}
"""Platform -> the precisions that can be built for it, the first by default."""

EIGHT_BITS = ("int8", "fp8")
"""The precisions that are calibrated."""

_FILES = {"tensorrt": "model.plan", "tensorrt-rtx": "model.rtx.plan", "openvino": "model.int8.onnx"}
_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """``precision``: one of ``PRECISIONS[platform]``. ``profile``: None: 1, half of and all of the head's largest
    batch. ``compute_capabilities``: for TensorRT-RTX; empty: its default. ``cache``: folder of timing caches.
    ``photos``: folder of pictures to calibrate 8 bits with, beyond those that come with packages."""

    platform: str
    precision: str
    profile: Profile | None = None
    compute_capabilities: tuple[str, ...] = ()
    cache: Path | None = None
    photos: Path | None = None

    def __post_init__(self) -> None:
        if self.platform not in PRECISIONS:
            raise ModelError(f"unknown platform {self.platform!r}; known are {', '.join(PRECISIONS)}")
        if self.precision not in PRECISIONS[self.platform]:
            able = ", ".join(PRECISIONS[self.platform])
            raise ModelError(f"{self.platform} is not built in {self.precision!r}; it is in {able}")
        if self.platform == "openvino" and self.profile is not None:
            raise ModelError("OpenVINO takes batches of any size: there is no profile to choose")
        if self.platform != "tensorrt-rtx" and self.compute_capabilities:
            raise ModelError("only TensorRT-RTX builds for chosen compute capabilities; TensorRT, for the GPU it is on")
        if self.photos is not None and self.precision not in EIGHT_BITS:
            raise ModelError(f"photos are to calibrate {' or '.join(EIGHT_BITS)} with, not {self.precision}")


@dataclass(frozen=True, slots=True)
class BuiltHead:
    """What ``build`` made for one head."""

    path: Path
    record: BuildRecord


@dataclass(frozen=True, slots=True)
class _Made:
    data: bytes
    builder: str
    version: str
    flags: tuple[str, ...] = ()


def build(repository: Path, heads: Sequence[HeadSpec], options: BuildOptions, report: Report) -> tuple[BuiltHead, ...]:
    """Builds ``heads`` one after the other and writes each file and its record into the head's version directory.

    ``report`` gets lines for a person. Raises ModelError for missing or different weights, a head that is not an ONNX
    graph, a missing builder, no GPU (TensorRT), or an operator that the builder does not know, naming the node. What
    was there before is replaced only by a finished build.
    """
    gpu = tensorrt.require_gpu(find_gpu(), options.precision) if options.platform == "tensorrt" else None
    module = load_builder(_MODULES[options.platform]) if options.platform in _MODULES else None
    return tuple(_build_head(repository, head, options, module, gpu, report) for head in heads)


def _build_head(
    repository: Path, head: HeadSpec, options: BuildOptions, module: TensorRT | None, gpu: Gpu | None, report: Report
) -> BuiltHead:
    profile = options.profile or Profile(1, max(1, head.max_batch // 2), head.max_batch)
    if module is not None and not profile.least <= 1 <= head.max_batch <= profile.most:
        raise ModelError(
            f"head {head.name!r} is served 1 to {head.max_batch} rows; the profile {profile} is not enough"
        )
    began = time.monotonic()
    weights = _locked_weights(repository, head)
    calibration = ""
    try:
        if options.precision in EIGHT_BITS:
            graph, calibration = _quantized(head, weights, options, report)
        else:
            graph = _narrowed(head.name, weights, options.precision)
        made = _run_builder(module, graph, profile, gpu, options)
    except ModelError as error:
        raise ModelError(f"head {head.name!r}: {error.message}") from error
    record = BuildRecord(
        head=head.name,
        file=_FILES[options.platform],
        platform=options.platform,
        precision=options.precision,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        graph_sha256=hashlib.sha256(graph).hexdigest(),
        sha256=hashlib.sha256(made.data).hexdigest(),
        size_bytes=len(made.data),
        builder=made.builder,
        builder_version=made.version,
        gpu=gpu.name if gpu else AHEAD_OF_TIME,
        compute_capabilities=(gpu.compute_capability,) if gpu else options.compute_capabilities,
        profile=(profile.least, profile.best, profile.most) if module is not None else (),
        flags=made.flags,
        calibration=calibration,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = repository / head.name / str(head.version) / record.file
    try:
        write_atomically(path, made.data)
        write_atomically(record_path(path), serialize(record))
    except OSError as error:
        raise ModelError(f"head {head.name!r}: cannot write {path}: {error}") from error
    report(
        f"{head.name}: wrote {path} ({record.size_bytes / 1e6:.1f} MB, {options.precision}, "
        f"{time.monotonic() - began:.0f} s)"
    )
    return BuiltHead(path, record)


def _locked_weights(repository: Path, head: HeadSpec) -> bytes:
    (finding,) = verify(repository, [head.name])
    if not finding.servable:
        raise ModelError(finding.message)
    path = repository / head.name / str(head.version) / "model.onnx"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"head {head.name!r} is not an ONNX graph ({path} is missing): it can only run as its config.pbtxt says"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error


def _narrowed(name: str, weights: bytes, precision: str) -> bytes:
    model = parse_model(weights, f"{name}'s model.onnx")
    if precision != "fp32":
        model = to_16_bits(model, precision)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _quantized(head: HeadSpec, weights: bytes, options: BuildOptions, report: Report) -> tuple[bytes, str]:
    from floodgate.models.calibration import describe, find_photos, views_of
    from floodgate.models.quantization import quantize

    if not isinstance(head.view, ImageViewSpec):
        raise ModelError(f"{options.precision} is calibrated with photos, and this head does not read pictures")
    photos = find_photos(options.photos)
    views = [view for photo in photos for view in views_of(photo, head.view)]
    report(f"{head.name}: calibrating {options.precision} with {len(views)} views of {len(photos)} photos")
    kind = "signed int8" if options.precision == "int8" and options.platform != "openvino" else options.precision
    return quantize(weights, views, head.name, kind), describe(photos, views)


def _run_builder(
    module: TensorRT | None, graph: bytes, profile: Profile, gpu: Gpu | None, options: BuildOptions
) -> _Made:
    if module is None:
        from floodgate.models.quantization import BUILDER, builder_version

        return _Made(graph, BUILDER, builder_version())
    cache = None
    if gpu is not None and options.cache is not None:
        cache = options.cache / f"tensorrt-{module.__version__}-sm{gpu.compute_capability.replace('.', '')}.timing"
    try:
        known = cache.read_bytes() if cache is not None and cache.is_file() else b""
    except OSError as error:
        raise ModelError(f"{cache}: cannot be read: {error}") from error
    plan = build_plan(
        module,
        graph,
        profile,
        compute_capabilities=options.compute_capabilities,
        timing_cache=known if cache is not None else None,
    )
    if cache is not None and plan.timing_cache != known:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(cache, plan.timing_cache)
        except OSError as error:
            raise ModelError(f"{cache}: cannot be written: {error}") from error
    return _Made(plan.data, _MODULES[options.platform], plan.version, plan.flags)
