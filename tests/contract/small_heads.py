"""Small heads made on the fly: real Triton Python models whose scores are arithmetic on their rows.

A head reads image rows uint8 [2, 2, 3] and answers, per row, (sum of its bytes) / 4096. What else it does
is told by its *fault file* (one word), so a test can break and mend it while it runs:
``ok``, ``raise``, ``empty``, ``short``, ``dtype``, ``nan``, ``numpy``, ``exit``, ``wait`` (until the file
changes).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

VIEW = {"kind": "image", "width": 2, "height": 2}
ROW_SHAPE = (2, 2, 3)

_MODEL = """
import ctypes, os, time
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils

FAULT = Path({fault!r})
HELD = Path({held!r})

def tensor(name, array):
    capsule = np.ascontiguousarray(array).__dlpack__()
    drop = ctypes.pythonapi.PyCapsule_SetDestructor
    drop.argtypes = [ctypes.py_object, ctypes.c_void_p]
    drop(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        while FAULT.read_text() == "wait":
            HELD.touch()
            time.sleep(0.002)
        fault = FAULT.read_text()
        rows = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "image"))
        flat = rows.reshape(len(rows), -1).astype(np.float32)
        scores = flat.sum(1, keepdims=True) / np.float32(4096)
        if fault == "raise":
            raise RuntimeError("this head was told to fail")
        if fault == "exit":
            os._exit(3)
        outputs = {{
            "ok": lambda: [tensor("scores", scores)],
            "empty": lambda: [],
            "short": lambda: [tensor("scores", scores[:-1])],
            "dtype": lambda: [tensor("scores", scores.astype(np.float64))],
            "nan": lambda: [tensor("scores", np.concatenate([scores[:1] * np.float32("nan"), scores[1:]]))],
            "numpy": lambda: [pb_utils.Tensor("scores", scores)],
        }}[fault]()
        return pb_utils.InferenceResponse(output_tensors=outputs)
"""


class SmallHead:
    """One head in a repository, with its fault file."""

    def __init__(self, repository: Path, name: str) -> None:
        self.name = name
        self._fault = repository.parent / f"{name}.fault"
        self.held = repository.parent / f"{name}.held"
        folder = repository / name
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config(name))
        (folder / "1" / "model.py").write_text(_MODEL.format(fault=str(self._fault), held=str(self.held)))
        self.fault = "ok"

    @property
    def fault(self) -> str:
        return self._fault.read_text()

    @fault.setter
    def fault(self, word: str) -> None:
        scratch = self._fault.with_suffix(".new")
        scratch.write_text(word)
        scratch.replace(self._fault)
        if word != "wait":
            self.held.unlink(missing_ok=True)


def config(name: str, **changes: object) -> str:
    """The ``config.pbtxt`` of a small head; ``changes`` replace JSON parameters."""
    parameters = {
        "view": VIEW,
        "labels": [f"test.{name}"],
        "competence": {},
        "licence": "Apache-2.0",
        "output_kinds": {"scores": "scores"},
        **changes,
    }
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        "max_batch_size: 8",
        'input [{ name: "image" data_type: TYPE_UINT8 dims: [2, 2, 3] }]',
        'output [{ name: "scores" data_type: TYPE_FP32 dims: [1] }]',
        "instance_group [{ kind: KIND_CPU count: 1 }]",
    ]
    for key, value in parameters.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(text)} }} }}')
    return "\n".join(lines) + "\n"


def rows(*values: int) -> npt.NDArray[np.uint8]:
    """One row per value, filled with it."""
    return np.stack([np.full(ROW_SHAPE, value, np.uint8) for value in values])


def expected(*values: int) -> npt.NDArray[np.float32]:
    """What a healthy head says to ``rows(*values)``."""
    return np.array([[value * 12 / 4096] for value in values], np.float32)
