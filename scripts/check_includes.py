"""Holds the C++ layers: status, clock, tensor <- media, view, memory, text, hash, batch rule <- scheduler <- bind.

No header of a layer includes one above it, only cpp/bind includes pybind11 or Python, only cpp/src/cuda includes
CUDA, and the core prints nothing and aborts nowhere.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "cpp"
PUBLIC_LAYER = {
    **dict.fromkeys(("status", "clock", "tensor"), 0),
    **dict.fromkeys(("media", "decode", "sequence", "view"), 1),
}
FOLDER_LAYER = {
    "media": 1,
    "view": 1,
    "memory": 1,
    "text": 1,
    "hash": 1,
    "cuda": 1,
    "rpc": 1,
    "worker": 2,
    "batch": 2,
    "acceptor": 2,
}
TOP_HEADERS = ("scheduler", "job", "decode_worker", "batch", "stats", "acceptor_hub", "acceptor_link")
_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
_FORBIDDEN = re.compile(r"\b(std::cout|std::cerr|std::abort|abort\(|printf\(|exit\(|throw\b)")


def layer_of(path: str) -> int:
    """The layer of a header or source, by its path under cpp/ or its include path."""
    name = Path(path).stem
    if path.startswith(("include/floodgate/", "floodgate/")):
        if name in PUBLIC_LAYER:
            return PUBLIC_LAYER[name]
        return 2 if name in TOP_HEADERS else 1
    parts = Path(path).parts
    if parts[0] in ("bind", "decoder"):
        return 3
    folder = parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0]
    return FOLDER_LAYER.get(folder, 0)


def problems() -> list[str]:
    """One line a violation."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
            continue
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        for include in _INCLUDE.findall(text):
            if include.startswith("floodgate/") and layer_of(include) > layer_of(name):
                found.append(f"cpp/{name}: includes {include} of a higher layer")
            if not name.startswith("bind/") and include.startswith(("pybind11", "Python.h")):
                found.append(f"cpp/{name}: includes {include}; only cpp/bind may")
            if not name.startswith("src/cuda/") and include.startswith(("cuda", "nvjpeg")):
                found.append(f"cpp/{name}: includes {include}; only cpp/src/cuda may")
        if not name.startswith("bind/"):
            code = re.sub(r"//[^\n]*|\"(\\.|[^\"\\])*\"", "", text)
            found += [f"cpp/{name}: the core may not use {hit.group(1)}" for hit in _FORBIDDEN.finditer(code)]
    return found


if __name__ == "__main__":
    lines = problems()
    print("\n".join(lines), file=sys.stderr)
    sys.exit(1 if lines else 0)
