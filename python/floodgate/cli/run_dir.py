"""A run-time folder of one process's own, so that several servers can share a state directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_run_dir(parent: Path) -> Iterator[Path]:
    """``<parent>/<pid>``, made empty. Folders of processes that are gone are removed first; this one stays when the
    block ends in an error, with the logs in it, and goes when it ends well."""
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.iterdir():
        if old.name.isdigit() and int(old.name) != os.getpid() and not Path(f"/proc/{old.name}").exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = parent / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
