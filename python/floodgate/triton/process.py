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
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from floodgate.triton.install import TritonInstall
from floodgate.triton.libpython import PythonRuntime

_log = logging.getLogger("floodgate.triton")

_TETHER = Path(__file__).with_name("tether.py")
_RUNNER = Path(__file__).with_name("runner")
_GUARD = Path(__file__).with_name("guard")
RUNNER_BACKEND = "openvino_runner"
GUARD_BACKEND = "floodgate_guard"
OWN_BACKENDS = {RUNNER_BACKEND: _RUNNER, GUARD_BACKEND: _GUARD}
"""Back ends that heads of ours may name, and where they are."""
LOG_TAIL_LINES = 12
_IDLE_STOP_S = 4.0
_GROUP_END_S = 2.0
_GROUP_POLL_S = 0.005
# man 3 mallopt. By default a model's working memory is mapped, touched page by page and given back at every batch.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


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
        return shm_prefix_of(self.run_dir)


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
        await self._end_of_group()
        sweep_shared_memory(self._options.shm_prefix)
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with status {code}"

    async def _end_of_group(self) -> None:
        """Until the killed group has ended, which the signal does not wait for: a process deep in the kernel takes its
        time. Whoever is still there after ``_GROUP_END_S`` is named in the log."""
        until = time.monotonic() + _GROUP_END_S
        living = await asyncio.to_thread(_members, self.pid)
        while living := [pid for pid in living if _is_of(self.pid, pid)]:
            if time.monotonic() > until:
                _log.warning("processes %s of Triton %d do not end though they were killed", living, self.pid)
                return
            await asyncio.sleep(_GROUP_POLL_S)

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
            env=environment(
                install.python,
                options.run_dir,
                [install.libraries],
                options.precision,
                options.threads or len(os.sched_getaffinity(0)),
            ),
            start_new_session=True,
        )
    return TritonProcess(process, address, options)


def shm_prefix_of(run_dir: Path) -> str:
    """Start of the names that the model processes of the server in ``run_dir`` give their shared memory."""
    return f"floodgate_stub_{hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:12]}_"


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
            sweep_shared_memory(shm_prefix_of(run_dir))
            shutil.rmtree(run_dir, ignore_errors=True)
        finally:
            os.close(lock)


def _assemble_backends(install: TritonInstall, folder: Path) -> Path:
    """``python`` (Triton's own), our CPU runner and our guard side by side, as Triton wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in {"python": install.python_backend, **OWN_BACKENDS}.items():
        link = folder / name
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(target.resolve())
    return folder


def environment(
    python: PythonRuntime, run_dir: Path, libraries: Iterable[Path | str | None], precision: str, threads: int
) -> dict[str, str]:
    """What a Triton of ours runs with: this process's environment without what is Python's own, the Python that its
    model processes take, ``libraries`` on the loader's path, and the CPU runner's settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    binaries = python.lay_out(run_dir / "python")
    return {
        **_KEEP_MEMORY,
        **inherited,
        "PATH": os.pathsep.join((str(binaries), os.environ.get("PATH", "/usr/bin:/bin"))),
        "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in (*libraries, python.library.parent) if path),
        "FLOODGATE_RUNNER_PRECISION": precision,
        "FLOODGATE_RUNNER_THREADS": str(threads),
        # Heads of the plain Python backend (numpy) must not start a thread pool each.
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
    }


def _members(group: int) -> list[int]:
    """Processes of a group that have not ended. Looks at every process of the machine."""
    pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal())
    return [pid for pid in pids if _is_of(group, pid)]


def _is_of(group: int, pid: int) -> bool:
    """Whether a process is of a group and has not ended; one that only waits for its parent to collect it has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # man 5 proc: state, parent and group follow the name, which is in parentheses and may hold any byte.
    state, _, its_group = stat[stat.rindex(b")") + 1 :].split(maxsplit=3)[:3]
    return int(its_group) == group and state not in b"ZX"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))
