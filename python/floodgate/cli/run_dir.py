"""A run-time folder of one process's own, so that several servers can share a state directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floodgate.errors import StartupError
from floodgate.triton.process import clear_run_dir


@contextmanager
def own_run_dir(parent: Path) -> Iterator[Path]:
    """``<parent>/<pid>``, made empty. What processes that are gone left behind, their inference server's shared memory
    included, is removed first; this one stays when the block ends in an error, with the logs in it, and goes when it
    ends well. Raises StartupError where nothing can be written."""
    folder = parent / str(os.getpid())
    try:
        _make(folder)
    except OSError as error:
        raise StartupError(f"state_dir: cannot write to {parent}: {error.strerror}") from None
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _make(folder: Path) -> None:
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.iterdir():
        if old.name.isdigit() and (old == folder or not Path(f"/proc/{old.name}").exists()):
            clear_run_dir(old)
    folder.mkdir()
