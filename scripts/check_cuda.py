"""Compiles the CUDA sources for every target with warnings as errors, and reports what the kernels use.

Fails when a kernel spills registers or has a stack frame. Needs nvcc, no GPU.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "cpp" / "src" / "cuda"
_TARGETS = re.compile(r"set\(FLOODGATE_CUDA_TARGETS ([^)]*)\)")
_FLAGS = ["-std=c++20", "-O3", "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror", "-Xptxas=-v,-Werror"]
_KERNEL = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<target>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?:.*?(?P<shared>\d+) bytes smem)?",
    re.S,
)


def targets() -> list[str]:
    """nvcc's options for the targets that the build names: machine code of each, and PTX of those without "-real"."""
    found = _TARGETS.search((SOURCES / "cuda.cmake").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit("cuda.cmake names no targets")
    options = []
    for target in found[1].split():
        number = target.removesuffix("-real")
        code = f"sm_{number}" if target.endswith("-real") else f"[sm_{number},compute_{number}]"
        options.append(f"-gencode=arch=compute_{number},code={code}")
    return options


def main() -> int:
    problems = 0
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(SOURCES.glob("*.cu")):
            out = Path(folder) / f"{source.stem}.o"
            command = ["nvcc", *_FLAGS, f"-I{ROOT / 'cpp/include'}", *targets(), "-c", str(source), "-o", str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(done.stdout + done.stderr, file=sys.stderr)
                return 1
            for kernel in _KERNEL.finditer(done.stdout + done.stderr):
                wasted = int(kernel["stack"]) + int(kernel["stores"]) + int(kernel["loads"])
                print(
                    f"{source.name} {kernel['target']}: {kernel['registers']} registers, {kernel['shared'] or 0} bytes "
                    f"of shared memory, {kernel['stack']} bytes of stack, "
                    f"{int(kernel['stores']) + int(kernel['loads'])} bytes spilled"
                )
                problems += wasted > 0
    if problems:
        print("a kernel spills registers or has a stack frame", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
