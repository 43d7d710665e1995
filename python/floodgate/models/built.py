"""Whether a built file may be served: it is whole, made of the weights that the lock names, and for this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from floodgate.errors import ModelError
from floodgate.models.gpu import Gpu
from floodgate.models.lock import LockedHead, read_lock
from floodgate.models.record import AHEAD_OF_TIME, BuildRecord, read_record
from floodgate.models.verify import Finding, State
from floodgate.models.wheels import sha256_of
from floodgate.types import BUILT_FILES, HeadSpec

_PLATFORM_OF = {"model.plan": "tensorrt", "model.rtx.plan": "tensorrt-rtx", "model.int8.onnx": "openvino"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the file will run. ``gpu`` and ``tensorrt`` are None and "" where they cannot be known, as when Triton runs
    elsewhere: Triton itself then refuses what does not fit."""

    gpu: Gpu | None = None
    tensorrt: str = ""


def verify_built(repository: Path, heads: Sequence[HeadSpec], machine: Machine) -> tuple[Finding, ...]:
    """One finding for each of ``heads`` that serves a built file, in order. Raises ModelError when the lock cannot be
    read."""
    locked = read_lock(repository)
    return tuple(
        check_built(repository / head.name, head, locked.get(head.name), machine)
        for head in heads
        if head.model_file in BUILT_FILES
    )


def check_built(directory: Path, head: HeadSpec, entry: LockedHead | None, machine: Machine) -> Finding:
    """How ``head.model_file`` stands; the message names what differs and how to build it anew."""
    path = directory / str(head.version) / head.model_file
    platform = _PLATFORM_OF[head.model_file]
    again = f"run `floodgate models build {BUILT_FILES[head.model_file]} {head.name}`"
    if not path.is_file():
        return Finding(head.name, State.MISSING, f"{path} is missing; {again}")
    try:
        record = read_record(path)
        found = sha256_of(path)
        weights = _weights_sha256(path, entry)
    except ModelError as error:
        return Finding(head.name, State.DIFFERENT, f"{error}; {again}")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    size = path.stat().st_size
    if size < record.size_bytes:
        return Finding(
            head.name, State.DIFFERENT, f"{path} is truncated: {size} of {record.size_bytes} bytes are there; {again}"
        )
    if found != record.sha256:
        return Finding(
            head.name,
            State.DIFFERENT,
            f"{path} is not the file of its record: expected SHA-256 {record.sha256}, found {found}; {again}",
        )
    if wrong := _stale(record, head, weights):
        return Finding(head.name, State.STALE, f"{path} is stale: {wrong}; {again}")
    if wrong := _foreign(record, platform, machine):
        return Finding(head.name, State.FOREIGN, f"{path} is foreign: {wrong}; {again} on the machine that serves it")
    return Finding(head.name, State.OK, f"{path} is what its record says, built of the locked weights")


def _weights_sha256(path: Path, entry: LockedHead | None) -> str:
    """What the weights hash to now: the lock's word, else the file's; "" when neither is here."""
    if entry is not None:
        return entry.output_sha256
    weights = path.with_name("model.onnx")
    return sha256_of(weights) if weights.is_file() else ""


def _stale(record: BuildRecord, head: HeadSpec, weights_sha256: str) -> str:
    if record.head != head.name:
        return f"it was built for the head {record.head!r}"
    if weights_sha256 and record.weights_sha256 != weights_sha256:
        return f"it was built of weights with SHA-256 {record.weights_sha256}, and they are {weights_sha256} now"
    if record.profile and not record.profile[0] <= 1 <= head.max_batch <= record.profile[-1]:
        return (
            f"its profile takes {record.profile[0]} to {record.profile[-1]} rows, and the head is served 1 to "
            f"{head.max_batch}"
        )
    return ""


def _foreign(record: BuildRecord, platform: str, machine: Machine) -> str:
    if record.platform != platform:
        return f"it was built by {record.builder} for {record.platform}, which {platform} cannot load"
    if platform != "tensorrt":
        return ""
    if record.gpu == AHEAD_OF_TIME:
        return f"it was built {AHEAD_OF_TIME}, and TensorRT loads only plans of the GPU that it runs on"
    if machine.gpu is not None:
        built_for = (record.gpu, record.compute_capabilities)
        if built_for != (machine.gpu.name, (machine.gpu.compute_capability,)):
            return (
                f"it was built for {record.gpu} (compute capability {', '.join(record.compute_capabilities)}), and "
                f"this machine has {machine.gpu.name} ({machine.gpu.compute_capability})"
            )
    if machine.tensorrt and _release(record.builder_version) != _release(machine.tensorrt):
        return f"it was built by TensorRT {record.builder_version}, and TensorRT {machine.tensorrt} is here"
    return ""


def _release(version: str) -> list[str]:
    """Major, minor and patch: plans go with exactly these, while builds of one release share them."""
    return version.split(".")[:3]
