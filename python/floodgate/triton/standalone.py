"""A Triton that serves a Floodgate elsewhere: in a container of its own, beside Floodgate or far from it.

It offers the heads and nothing else: Floodgate uploads its generated ensembles. Either this process becomes
``tritonserver`` (``prepare``), so that whoever started it (a container runtime, systemd) signals Triton itself; or all
that a Triton of somebody else's needs is written into a folder (``write_out``).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from floodgate.errors import StartupError
from floodgate.triton.ensemble import build_ensembles, write_heads
from floodgate.triton.libpython import find_python_runtime
from floodgate.triton.process import OWN_BACKENDS, environment, shm_prefix_of, sweep_shared_memory
from floodgate.types import HeadSpec

PLANS_NEED = "tensorrt"
"""Name of the back end that loads ``model.plan``."""


@dataclass(frozen=True, slots=True)
class StandaloneOptions:
    """``server`` is the program, ``backends`` the folder with its back ends, ``libraries`` what it needs on the
    loader's path, if anything. ``address`` is HOST:PORT of its gRPC port. ``allow_client_shm``: pass the flag of that
    name, without which servers from 2026 on refuse shared memory and which older ones do not know. ``threads``,
    ``precision``: of the CPU runner."""

    run_dir: Path
    server: Path
    backends: Path
    address: str
    libraries: Path | None = None
    allow_client_shm: bool = False
    threads: int = 1
    precision: str = "auto"
    exit_timeout_s: int = 30


def prepare(
    options: StandaloneOptions, repository: Path, heads: Sequence[HeadSpec], extra: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Lays out repository and back ends in ``run_dir``; the command and the environment to run. ``extra`` arguments go
    to tritonserver as they are. Raises StartupError for a server or back ends that are not there, for back ends that
    ``heads`` need, and for a folder that cannot be written."""
    if not (options.server.is_file() and os.access(options.server, os.X_OK)):
        raise StartupError(f"{options.server}: there is no such program; --server names tritonserver")
    if not (options.backends / "python").is_dir():
        raise StartupError(
            f"{options.backends}: has no Python backend; --backends names tritonserver's backends folder"
        )
    if (plans := _with_plans(heads)) and not (options.backends / PLANS_NEED).is_dir():
        raise StartupError(
            f"{options.backends}: has no TensorRT back end, which {', '.join(plans)} needs; use NVIDIA's Triton "
            "(--server, --backends), or another triton.platform"
        )
    folder, backends = options.run_dir / "repository", options.run_dir / "backends"
    try:
        _take(options.run_dir)
        write_heads(folder, repository, build_ensembles(heads))
        backends.mkdir()
        found = {path.name: path for path in options.backends.iterdir() if path.is_dir()}
        for name, path in {**found, **OWN_BACKENDS}.items():
            (backends / name).symlink_to(path.resolve())
    except OSError as error:
        raise StartupError(f"state_dir: cannot write to {options.run_dir}: {error.strerror}") from error
    host, _, port = options.address.rpartition(":")
    command = [
        str(options.server),
        f"--model-repository={folder}",
        f"--backend-directory={backends}",
        *_arguments(heads),
        f"--grpc-address={host}",
        f"--grpc-port={port}",
        "--allow-http=false",
        "--allow-metrics=false",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix_of(options.run_dir)}",
        *(["--allow-client-shm=true"] if options.allow_client_shm else []),
        *extra,
    ]
    return command, _environment(options)


def write_out(folder: Path, repository: Path, heads: Sequence[HeadSpec]) -> list[str]:
    """Copies what a Triton of somebody else's needs into ``folder``: ``models/``, the heads as they are served here,
    and ``backends/``, the back ends that they need beyond Triton's own. The arguments that tritonserver needs besides
    the places. Nothing in it refers to this machine. Raises StartupError when the folder has anything in it or cannot
    be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StartupError(f"{folder}: is not empty; name a new folder")
        write_heads(folder / "models", repository, build_ensembles(heads), copy=True)
        for name, path in OWN_BACKENDS.items():
            shutil.copytree(path, folder / "backends" / name, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise StartupError(f"{folder}: cannot be written: {error.strerror}") from error
    return _arguments(heads)


def _arguments(heads: Sequence[HeadSpec]) -> list[str]:
    return [
        "--model-control-mode=explicit",
        *(f"--load-model={head.name}" for head in heads),
        "--disable-auto-complete-config",
    ]


def _with_plans(heads: Sequence[HeadSpec]) -> list[str]:
    return [head.name for head in heads if head.model_file == "model.plan"]


def _take(run_dir: Path) -> None:
    """Clears a folder for one server, and its shared memory, which outlives a container. The lock on it is inherited by
    the program that this process becomes."""
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StartupError(
            f"{run_dir}: another `floodgate triton serve` runs from it; give each a state_dir of its own"
        ) from None
    os.set_inheritable(lock, True)
    sweep_shared_memory(shm_prefix_of(run_dir))
    for name in ("repository", "backends", "python"):
        shutil.rmtree(run_dir / name, ignore_errors=True)


def _environment(options: StandaloneOptions) -> dict[str, str]:
    try:
        python = find_python_runtime()
    except LookupError as error:
        raise StartupError(str(error)) from error
    libraries = [options.libraries, os.environ.get("LD_LIBRARY_PATH")]
    return environment(python, options.run_dir, libraries, options.precision, options.threads)
