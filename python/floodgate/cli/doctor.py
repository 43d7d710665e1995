"""``floodgate doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from floodgate.cli import settings
from floodgate.cli.media import media_options, require_small_views
from floodgate.cli.served import check_files, is_triton_here, served_heads
from floodgate.cli.table import console_for_tables
from floodgate.config import Config
from floodgate.core import try_sandbox
from floodgate.cores import split_cores
from floodgate.errors import FloodgateError, ModelError
from floodgate.media import codecs, look_for_device, video_codecs
from floodgate.models import State, list_heads, verify
from floodgate.policy import check
from floodgate.triton.install import locate
from floodgate.types import BUILT_FILES

_OK, _NOTE, _BAD = "ok", "note", "bad"
_MARK = {_OK: "[green]ok[/]", _NOTE: "[yellow]note[/]", _BAD: "[red]bad[/]"}
_SHM_BYTES_WANTED = 512 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """``state``: ok, note (works, worth knowing) or bad (serving would fail). ``advice``: what to do next, or ""."""

    topic: str
    state: str
    fact: str
    advice: str = ""


def command(config: settings.ConfigOption = None) -> None:
    """Shows what works here: CPU, memory, codecs, Triton, models, policy, GPU. Exit code 1 if serving would fail."""
    chosen = settings.read(config)
    findings = list(examine(chosen))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "found", "next step"):
        table.add_column(heading)
    for finding in findings:
        table.add_row(_MARK[finding.state], finding.topic, finding.fact, finding.advice)
    console_for_tables().print(table)
    if any(finding.state == _BAD for finding in findings):
        raise typer.Exit(1)


def examine(config: Config) -> Iterator[Finding]:
    """Every finding, in the order of the way through."""
    yield _cpu(config)
    yield _cores(config)
    yield _shared_memory()
    yield Finding("codecs", _OK, ", ".join(f"{name} {version}" for name, version in codecs().items()))
    yield Finding("video", _OK, ", ".join(video_codecs()))
    yield _sandbox(config)
    yield _media(config)
    yield _triton(config)
    yield from _models(config)
    yield _policy(config)
    yield from gpu_findings(shutil.which("nvcc"), look_for_device(config.media.device_ordinal), config.media.device)


def _cpu(config: Config) -> Finding:
    flags: set[str] = set()
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            flags = set(value.split())
        elif key.strip() == "model name":
            model = value.strip()
    sets = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags]
    fact = f"{model}; {', '.join(sets) or 'no AVX2'}"
    fast = {"amx_bf16", "avx512_bf16"} & flags
    if config.precision == "bf16" and not fast:
        return Finding("cpu", _NOTE, fact, "precision bf16 is configured, this CPU has none: inference runs in f32")
    if not fast:
        return Finding("cpu", _NOTE, fact, "no bf16: inference runs in f32, about 4 times slower than with AMX")
    return Finding("cpu", _OK, fact)


def _cores(config: Config) -> Finding:
    split = split_cores(config)
    acceptors = (
        f"{split.acceptors} acceptors (gRPC and Python)"
        if split.acceptors
        else "no acceptors (gRPC and Python are the scheduler's process, on a core of either)"
    )
    host = os.cpu_count() or split.cores
    usable = f"{split.cores} usable" if host == split.cores else f"{split.cores} of {host} usable (mask, cpuset, quota)"
    fact = f"{usable}: {split.decode_workers} decode workers, {split.inference_threads} inference threads, {acceptors}"
    if split.decode_workers + split.inference_threads + split.acceptors > split.cores + 1:
        advice = "more threads than cores: lower acceptors, core.decode_workers or triton.threads"
        return Finding("cores", _NOTE, fact, advice)
    return Finding("cores", _OK, fact)


def _shared_memory() -> Finding:
    try:
        stats = os.statvfs("/dev/shm")
    except OSError as error:
        return Finding("shared memory", _BAD, f"/dev/shm: {error.strerror}", "mount a tmpfs at /dev/shm")
    free = stats.f_bavail * stats.f_frsize
    fact = f"/dev/shm has {free >> 20} MiB free"
    if free < _SHM_BYTES_WANTED:
        return Finding("shared memory", _NOTE, fact, "docker: --shm-size=1g; Kubernetes: an emptyDir of medium Memory")
    return Finding("shared memory", _OK, fact)


def _sandbox(config: Config) -> Finding:
    if not config.media.sandbox:
        fact = "media.sandbox is false: decoding runs on threads of the server"
        return Finding("sandbox", _NOTE, fact, "a codec's crash is the server's: set media.sandbox to true")
    try:
        try_sandbox(media_options(config))
    except FloodgateError as error:
        return Finding("sandbox", _BAD, str(error), "see the message")
    memory = f"{config.media.worker_memory_mb} MiB, {config.limits.cpu_ms} ms of CPU a part"
    return Finding("sandbox", _OK, f"a decode worker starts in its sandbox ({memory})")


def _media(config: Config) -> Finding:
    media, limits = config.media, config.limits
    views = f"fast views from {media.decode_min} px" if media.views == "fast" else "exact views"
    fact = (
        f"{views}; {media.max_frames} frames a video, {media.min_interval_ms} ms apart, at most {limits.frames}; "
        f"pictures to {limits.image_bytes >> 20} MiB, videos to {limits.video_bytes >> 20} MiB and "
        f"{limits.duration_s} s, {limits.pixels / 1e6:g} megapixels"
    )
    try:
        require_small_views(served_heads(config), media_options(config).decode_min)
    except ModelError:
        return Finding("media", _OK, fact)  # the models' own finding says it
    except FloodgateError as error:
        return Finding("media", _BAD, str(error), "see the message")
    if limits.message_bytes < limits.video_bytes:
        return Finding(
            "media", _NOTE, fact, "limits.message_bytes is less than limits.video_bytes: no such video arrives"
        )
    return Finding("media", _OK, fact)


def _triton(config: Config) -> Finding:
    if config.triton.address:
        return Finding("triton", _NOTE, f"remote, at {config.triton.address}", "it is tried when the server starts")
    try:
        install = locate(config.state_dir)
    except FloodgateError as error:
        return Finding("triton", _BAD, str(error), "see the message")
    if install is None:
        return Finding("triton", _BAD, f"not under {config.state_dir}", "floodgate triton install")
    return Finding("triton", _OK, f"embedded, {install.version} in {install.root}")


def _models(config: Config) -> Iterator[Finding]:
    try:
        findings = verify(config.model_repository, config.heads)
    except ModelError as error:
        yield Finding("models", _BAD, str(error), "check model_repository in the configuration")
        return
    built: set[str] = set()
    if config.triton.platform != "cpu" or config.triton.platforms:
        try:
            heads = served_heads(config)
            built = {head.name for head in heads if head.model_file in BUILT_FILES}
            findings = check_files(config, heads, on_this_machine=is_triton_here(config))
        except ModelError as error:
            yield Finding("models", _BAD, str(error), f"see the message; triton.platform is {config.triton.platform}")
            return
    for finding in findings:
        if finding.servable:
            yield Finding(f"head {finding.head}", _OK, finding.message or finding.state.value)
        elif finding.state is State.BROKEN:
            yield Finding(f"head {finding.head}", _BAD, finding.message, "floodgate models list shows the heads")
        elif finding.head in built:
            yield Finding(f"head {finding.head}", _BAD, finding.message, "build it anew, as the message says")
        else:
            yield Finding(f"head {finding.head}", _BAD, finding.message, f"floodgate models pull {finding.head}")


def _policy(config: Config) -> Finding:
    try:
        heads = {head.name: head.labels for head in served_heads(config)}
        known = {card.name: card.labels for card in list_heads(config.model_repository)}
        result = check(config.policy, config.taxonomy, heads, known)
    except FloodgateError as error:
        return Finding("policy", _BAD, f"not checked: {error}", "mend the models first")
    if result.policy is None:
        return Finding("policy", _BAD, f"{config.policy} is refused", f"floodgate policy check {config.policy}")
    return Finding("policy", _OK, f"{result.policy.id.name} {result.policy.id.revision}")


def gpu_findings(nvcc: str | None, facts: Mapping[str, Any], device: str) -> Iterator[Finding]:
    """What there is of a GPU and what it is used for. ``nvcc``: path of the compiler; ``facts``: as
    ``look_for_device``; ``device``: the setting ``media.device``."""
    missing = _BAD if device == "cuda" else _NOTE
    without = "" if device == "cpu" else ", or set media.device to cpu"
    if not facts["built"]:
        if nvcc:
            yield Finding("gpu", missing, f"nvcc at {nvcc}, but the core was built without CUDA", _BUILD + without)
        elif device == "cpu":
            yield Finding("gpu", _OK, "none: everything runs on the CPU")
        else:
            yield Finding(
                "gpu", missing, "the core was built without CUDA", f"install a CUDA toolkit, {_BUILD}{without}"
            )
    elif facts["problem"]:
        fact = f"CUDA {_version(facts['toolkit'])} is built in, but {facts['problem']}"
        yield Finding("gpu", missing, fact, f"{_REMEDY.get(facts['problem'], 'see to the driver')}{without}")
    else:
        yield from _device_findings(facts, device, missing)


def _device_findings(facts: Mapping[str, Any], device: str, missing: str) -> Iterator[Finding]:
    major, minor = facts["compute_capability"]
    found = (
        f"{facts['name']}, compute capability {major}.{minor}, {facts['memory_bytes'] >> 20} MiB, driver for CUDA"
        f" {_version(facts['driver'])}"
    )
    if device == "cpu":
        yield Finding("gpu", _NOTE, f"{found}; not used", "`media.device: auto` decodes JPEGs on it")
    else:
        yield Finding("gpu", _OK, found)
    if facts["jpeg"]:
        yield Finding("nvjpeg", _OK, facts["jpeg"])
    else:
        package = "nvidia-nvjpeg" if facts["driver"] >= _CUDA_13 else "nvidia-nvjpeg-cu12"
        yield Finding("nvjpeg", missing, facts["jpeg_problem"], f"pip install {package}")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


_CUDA_13 = 13000
_BUILD = "build again with FLOODGATE_CUDA=ON"
_REMEDY = {
    "there is no NVIDIA driver": "CUDA code can be compiled here, not run; install NVIDIA's driver to use a GPU",
    "there is no CUDA device": "check that the GPU is handed to this container or machine",
}
