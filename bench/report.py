"""The one form of a benchmark's result: figures by name, their units, the machine and the commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
_ATTEMPTS = 4

T = TypeVar("T")


class VoidRun(Exception):
    """What measured was itself too slow, so the run says nothing about what was measured."""


def again_while_void(measure: Callable[[], T]) -> T:
    """What ``measure`` returns; a void run is said and repeated, the last one raised."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return measure()
        except VoidRun as void:
            print(f"{void}: once more")
    return measure()


class NothingToMeasure(Exception):
    """This machine has not got what is measured; nothing was."""


@dataclass
class Report:
    """``figures`` and ``units`` have the same keys."""

    figures: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str) -> None:
        self.figures[name] = round(float(value), 6)
        self.units[name] = unit

    def write(self, folder: Path, name: str) -> Path:
        """Writes ``<name>.json`` into ``folder`` and returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        content = {"figures": self.figures, "units": self.units, "machine": machine(), "commit": commit()}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return path


def machine() -> str:
    """CPU model, cores, instruction sets that matter, and the system."""
    model, flags = platform.machine(), set[str]()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    sets = [name for name in ("avx2", "avx512f", "amx_bf16") if name in flags]
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores ({', '.join(sets)}), {platform.system()} {platform.release()}"


def commit() -> str:
    """The checked-out commit, marked when the working tree differs from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
