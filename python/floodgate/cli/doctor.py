"""``floodgate doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.table import Table

from floodgate.cli import settings
from floodgate.cli.table import console_for_tables
from floodgate.config import Config, available_cores, split_cores
from floodgate.core import codecs
from floodgate.errors import FloodgateError, ModelError
from floodgate.models import State, list_heads, verify
from floodgate.policy import check
from floodgate.triton.install import locate
from floodgate.triton.repository import load_heads

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
    yield _triton(config)
    yield from _models(config)
    yield _policy(config)
    yield from gpu_findings(shutil.which, _load_library)


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
    workers, threads = split_cores(config)
    fact = f"{available_cores()} usable: {workers} decode workers, {threads} inference threads"
    if workers + threads > available_cores() + 1:
        return Finding("cores", _NOTE, fact, "more threads than cores: lower core.decode_workers or triton.threads")
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
    for finding in findings:
        if finding.servable:
            yield Finding(f"head {finding.head}", _OK, finding.message or finding.state.value)
        elif finding.state is State.BROKEN:
            yield Finding(f"head {finding.head}", _BAD, finding.message, "floodgate models list shows the heads")
        else:
            yield Finding(f"head {finding.head}", _BAD, finding.message, f"floodgate models pull {finding.head}")


def _policy(config: Config) -> Finding:
    try:
        heads = {head.name: head.labels for head in load_heads(config.model_repository, config.heads)}
        known = {card.name: card.labels for card in list_heads(config.model_repository)}
        result = check(config.policy, config.taxonomy, heads, known)
    except FloodgateError as error:
        return Finding("policy", _BAD, f"not checked: {error}", "mend the models first")
    if result.policy is None:
        return Finding("policy", _BAD, f"{config.policy} is refused", f"floodgate policy check {config.policy}")
    return Finding("policy", _OK, f"{result.policy.id.name} {result.policy.id.revision}")


def _load_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def gpu_findings(which: Callable[[str], str | None], loads: Callable[[str], bool]) -> Iterator[Finding]:
    """What there is of a GPU: the driver's library decides, then the compiler. ``which`` finds a program's path,
    ``loads`` says whether a shared library can be loaded."""
    driver = loads("libcuda.so.1")
    nvcc = which("nvcc")
    if driver:
        yield Finding(
            "gpu", _NOTE, "an NVIDIA driver is here", "this version runs on the CPU only; the GPU is not used"
        )
    elif nvcc:
        yield Finding("gpu", _NOTE, f"nvcc at {nvcc}, but no driver", "CUDA code can be compiled here, not run")
    else:
        yield Finding("gpu", _OK, "none: everything runs on the CPU")
