"""Heads that do as they are told while the server runs, beside the real ones in a repository made for one test.

An unruly head reads the pictures that *nsfw* reads and answers the mean of their bytes / 255. What else it does is told
by its *order file* (one word): ``ok``, ``raise``, ``nan``, ``shape``, ``memory`` (wants more than it may have),
``slow`` (answers once the word changes), ``stuck`` (never answers this request). Its initialisation obeys ``hang`` and
``refuse`` in the same file.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.report import ROOT

_VIEW = {
    "kind": "image",
    "width": 256,
    "height": 256,
    "mode": "stretch",
    "filter": "bilinear",
    "crop_width": 224,
    "crop_height": 224,
    "color": "bgr",
    "layout": "nhwc",
}

_MODEL = """
import ctypes, resource, time
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils

ORDER = Path({order!r})

def tensor(name, array):
    capsule = np.ascontiguousarray(array).__dlpack__()
    drop = ctypes.pythonapi.PyCapsule_SetDestructor
    drop.argtypes = [ctypes.py_object, ctypes.c_void_p]
    drop(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)

class TritonPythonModel:
    def initialize(self, arguments):
        while ORDER.read_text() == "hang":
            time.sleep(0.01)
        if ORDER.read_text() == "refuse":
            raise RuntimeError("this head was told not to start")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        while ORDER.read_text() == "slow":
            time.sleep(0.002)
        order = ORDER.read_text()
        while order == "stuck":
            time.sleep(1)
        rows = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "image"))
        scores = rows.reshape(len(rows), -1).mean(1, dtype=np.float32, keepdims=True) / np.float32(255)
        if order == "raise":
            raise RuntimeError("this head was told to fail")
        if order == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
            try:
                rows = np.repeat(rows, 1000, 0)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if order == "nan":
            scores[:] = np.float32("nan")
        if order == "shape":
            scores = np.repeat(scores, 2, 1)
        return pb_utils.InferenceResponse(output_tensors=[tensor("scores", scores)])
"""


class UnrulyHead:
    """One head in ``repository``, which scores ``label``; obeys ``order``."""

    def __init__(self, repository: Path, name: str, label: str) -> None:
        self.name = name
        self._order = repository.parent / f"{name}.order"
        folder = repository / name
        folder.unlink(missing_ok=True)  # the project's own head of this name
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(_config(name, label))
        (folder / "card.md").write_text((ROOT / "model_repository" / "nsfw" / "card.md").read_text())
        (folder / "1" / "model.py").write_text(_MODEL.format(order=str(self._order)))
        self.order = "ok"

    @property
    def order(self) -> str:
        return self._order.read_text()

    @order.setter
    def order(self, word: str) -> None:
        scratch = self._order.with_suffix(".new")
        scratch.write_text(word)
        scratch.replace(self._order)


def repository_in(folder: Path) -> Path:
    """A repository in ``folder`` that holds the project's own heads."""
    repository = folder / "repository"
    repository.mkdir()
    for config in (ROOT / "model_repository").glob("*/config.pbtxt"):
        (repository / config.parent.name).symlink_to(config.parent)
    return repository


def _config(name: str, label: str) -> str:
    parameters = {
        "view": json.dumps(_VIEW),
        "labels": json.dumps([label]),
        "competence": "{}",
        "licence": "Apache-2.0",
        "output_kinds": json.dumps({"scores": "scores"}),
    }
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        "max_batch_size: 8",
        'input [{ name: "image" data_type: TYPE_UINT8 dims: [224, 224, 3] }]',
        'output [{ name: "scores" data_type: TYPE_FP32 dims: [1] }]',
        "instance_group [{ kind: KIND_CPU count: 1 }]",
    ]
    for key, value in parameters.items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}')
    return "\n".join(lines) + "\n"
