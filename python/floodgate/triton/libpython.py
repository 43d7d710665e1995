"""Which Python the server's model processes run.

Triton's Python backend starts a *stub*: a program with an embedded interpreter that needs
``libpython<X.Y>.so`` on the loader's path. An interpreter built without a shared library (many pyenv
and conda builds) has none; then the distribution's library of the same X.Y stands in, with the
distribution's standard library, so that interpreter core and standard library always match.
"""

from __future__ import annotations

import ctypes.util
import os
import site
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PythonRuntime:
    """``version`` is "X.Y"; ``library`` the shared libpython; ``home`` the prefix of its standard library;
    ``packages`` the folders with this environment's packages (numpy, openvino)."""

    version: str
    library: Path
    home: Path
    packages: tuple[Path, ...]

    def lay_out(self, folder: Path) -> Path:
        """Make ``folder`` a virtual environment of this runtime and return its ``bin``, to be first on PATH.

        The stub's interpreter ignores PYTHONHOME and PYTHONPATH and takes its prefix from the first
        ``python3`` on PATH, so that is the way to tell it, independent of any active environment, where its
        packages are.
        """
        packages = folder / "lib" / f"python{self.version}" / "site-packages"
        packages.mkdir(parents=True, exist_ok=True)
        lines = [f"import site; site.addsitedir({str(path)!r})\n" for path in self.packages]
        (packages / "floodgate.pth").write_text("".join(lines), encoding="utf-8")
        binaries = folder / "bin"
        binaries.mkdir(exist_ok=True)
        (folder / "pyvenv.cfg").write_text(
            f"home = {self.home / 'bin'}\ninclude-system-site-packages = false\n", encoding="utf-8"
        )
        link = binaries / "python3"
        link.unlink(missing_ok=True)
        link.symlink_to(self.home / "bin" / f"python{self.version}")
        return binaries


def find_python_runtime(system_folders: Sequence[Path] | None = None) -> PythonRuntime:
    """The runtime that goes with the running interpreter.

    ``system_folders`` are searched when the interpreter has no shared library of its own; the default is the
    usual places of Debian and Red Hat systems. Raises LookupError naming the Debian package that is missing.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    soname = f"libpython{version}.so.1.0"
    packages = tuple(dict.fromkeys(Path(path) for path in _package_folders()))
    own = Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix) / soname
    if own.is_file() and not _is_system(own):
        return PythonRuntime(version, own, Path(sys.base_prefix), packages)
    folders = system_folders if system_folders is not None else _system_folders()
    for folder in folders:
        if (folder / soname).is_file():
            home = Path("/usr/local") if folder.is_relative_to("/usr/local") else Path("/usr")
            return PythonRuntime(version, folder / soname, home, packages)
    raise LookupError(
        f"Triton's Python backend needs {soname}, which this interpreter ({sys.executable}) does not have; "
        f"install the package libpython{version} (apt-get install libpython{version})"
    )


def _package_folders() -> list[str]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return folders if sys.prefix != sys.base_prefix else folders + site.getsitepackages()


def _is_system(library: Path) -> bool:
    return library.parent in _system_folders()


def _system_folders() -> tuple[Path, ...]:
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    folders = [Path("/usr/lib") / triplet, Path("/usr/lib64"), Path("/usr/lib"), Path("/usr/local/lib")]
    located = ctypes.util.find_library(f"python{sys.version_info.major}.{sys.version_info.minor}")
    if located is not None and Path(located).is_absolute():
        folders.append(Path(located).parent)
    return tuple(folders)
