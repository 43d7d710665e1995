"""Finds and runs benchmarks: every module of this package with a ``run() -> Report``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from bench.report import NothingToMeasure, Report, VoidRun

HERE = Path(__file__).parent
NOT_BENCHMARKS = {
    "__main__",
    "bare_jpeg",
    "decode_stream",
    "echo",
    "load",
    "faults",
    "inspection",
    "locustfile",
    "processes",
    "python_steps",
    "raw_triton",
    "report",
    "server",
    "simulated_head",
    "video_clip",
}


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(HERE)]) if module.name not in NOT_BENCHMARKS)


def main(arguments: list[str]) -> int:
    if not arguments:
        for name in names():
            summary = (importlib.import_module(f"bench.{name}").__doc__ or "").strip().splitlines()[0]
            print(f"{name:12} {summary}")
        print("run one with: make bench NAME=<name>")
        return 0
    (name,) = arguments
    if name not in names():
        print(f"error: there is no benchmark {name!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    try:
        report: Report = importlib.import_module(f"bench.{name}").run()
    except NothingToMeasure as nothing:
        print(nothing)
        return 0
    except VoidRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written: {report.write(HERE / 'out', name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
