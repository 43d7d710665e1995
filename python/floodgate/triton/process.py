"""One embedded ``tritonserver``: its command line, its life and its death.

It listens on a free loopback port, writes its log to a file, and cannot outlive us (``tether.py``). Death is
certain when ``wait`` returns: the process was reaped, its model processes (same process group) were killed,
and their shared memory was removed. Client regions are mapped by the server process alone: the model
processes see copies, so nothing reads a batch's memory after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from floodgate.triton.install import TritonInstall

_TETHER = Path(__file__).with_name("tether.py")
_RUNNER = Path(__file__).with_name("runner")
_GUARD = Path(__file__).with_name("guard")
RUNNER_BACKEND = "openvino_runner"
GUARD_BACKEND = "floodgate_guard"
LOG_TAIL_LINES = 12
_IDLE_STOP_S = 4.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to run the server. ``run_dir`` is this server's alone: repository, back ends and log lie in it.

    ``threads``: inference threads of the CPU runner, 0: one per CPU this process may use. ``precision``:
    "auto", "f32" or "bf16". ``start_timeout_s`` bounds start and model loading; ``stop_timeout_s`` is how
    long in-flight work may take at a stop; ``liveness_timeout_s``: a process that is alive but silent, or
    leaves a batch unanswered, for this long is killed.
    """

    run_dir: Path
    threads: int = 0
    precision: str = "auto"
    start_timeout_s: float = 120.0
    stop_timeout_s: float = 10.0
    liveness_timeout_s: float = 30.0
    liveness_interval_s: float = 1.0
    extra_arguments: tuple[str, ...] = field(default=())

    @property
    def repository(self) -> Path:
        return self.run_dir / "repository"

    @property
    def log(self) -> Path:
        return self.run_dir / "triton.log"

    @property
    def shm_prefix(self) -> str:
        """Start of the names that this server's model processes give their shared memory."""
        name = hashlib.sha256(str(self.run_dir.resolve()).encode()).hexdigest()[:12]
        return f"floodgate_stub_{name}_"


class TritonProcess:
    """A started server. Thread rule: the event loop that started it."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, options: ServerOptions) -> None:
        self._process = process
        self._options = options
        self.address = address
        self.pid = process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> str:
        """Until the process is dead and nothing of it is left. Returns how it ended, for a person."""
        code = await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        sweep_shared_memory(self._options.shm_prefix)
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with status {code}"

    def kill(self) -> None:
        """SIGKILL to the server and its model processes. ``wait`` tells when they are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self, *, idle: bool = False) -> None:
        """SIGTERM, which lets in-flight requests end; SIGKILL when that takes too long. ``idle``: there are none to
        wait for, so it may take less long (Triton 2.51 waits in vain for a model whose ensemble once failed)."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._process.terminate()
                # A stopped process gets SIGTERM only when it goes on, and ends only when its model processes do.
                os.killpg(self.pid, signal.SIGCONT)
        try:
            patience_s = self._options.stop_timeout_s + 2.0
            await asyncio.wait_for(self.wait(), min(_IDLE_STOP_S, patience_s) if idle else patience_s)
        except TimeoutError:
            self.kill()
            await self.wait()


async def spawn(install: TritonInstall, options: ServerOptions) -> TritonProcess:
    """Start a server over ``options.repository`` with no model loaded. It may die at once: watch ``wait``."""
    options.repository.mkdir(parents=True, exist_ok=True)
    sweep_shared_memory(options.shm_prefix)
    backends = _assemble_backends(install, options.run_dir / "backends")
    address = f"127.0.0.1:{_free_port()}"
    command = [
        *(sys.executable, "-I", str(_TETHER), str(os.getpid())),
        str(install.server),
        f"--model-repository={options.repository}",
        f"--backend-directory={backends}",
        "--model-control-mode=explicit",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={address.rpartition(':')[2]}",
        "--allow-http=false",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={max(1, round(options.stop_timeout_s))}",
        f"--backend-config=python,shm-region-prefix-name={options.shm_prefix}",
        *options.extra_arguments,
    ]
    _rotate(options.log)
    with options.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(install, options),
            start_new_session=True,
        )
    return TritonProcess(process, address, options)


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a server's log that are not plain information, or "" when it has none."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 64 * 1024))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    telling = [line for line in text.splitlines() if line.strip() and line[0] not in "I+|"]
    return "\n".join(telling[-lines:])


def sweep_shared_memory(prefix: str) -> None:
    """Remove what a dead server's model processes left in /dev/shm. REQUIRES: no live server has
    ``prefix``."""
    with contextlib.suppress(OSError):
        for entry in os.scandir("/dev/shm"):
            if entry.name.startswith(prefix):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def clear_run_dir(run_dir: Path) -> None:
    """Removes the run directory of a server whose owner is gone, and the shared memory that goes with it; leaves it
    alone while somebody holds its lock (an owner that another process namespace hides)."""
    with contextlib.suppress(OSError):
        lock = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sweep_shared_memory(ServerOptions(run_dir).shm_prefix)
            shutil.rmtree(run_dir, ignore_errors=True)
        finally:
            os.close(lock)


def _assemble_backends(install: TritonInstall, folder: Path) -> Path:
    """``python`` (Triton's own), our CPU runner and our guard side by side, as Triton wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in (("python", install.python_backend), (RUNNER_BACKEND, _RUNNER), (GUARD_BACKEND, _GUARD)):
        link = folder / name
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(target.resolve())
    return folder


def _environment(install: TritonInstall, options: ServerOptions) -> dict[str, str]:
    threads = options.threads or len(os.sched_getaffinity(0))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    binaries = install.python.lay_out(options.run_dir / "python")
    library_path = [str(install.libraries), str(install.python.library.parent)]
    return {
        **inherited,
        "PATH": os.pathsep.join((str(binaries), os.environ.get("PATH", "/usr/bin:/bin"))),
        "LD_LIBRARY_PATH": os.pathsep.join(library_path),
        "FLOODGATE_RUNNER_PRECISION": options.precision,
        "FLOODGATE_RUNNER_THREADS": str(threads),
        # Heads of the plain Python backend (numpy) must not start a thread pool each.
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
    }


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))
