"""A simulated head: a Triton model that takes ``a + b n`` ms for n rows without using a processor.

It imitates a classifier on a GPU that this machine does not have: the time is slept, one batch after another, and the
"score" of a picture is the mean of its bytes / 255, so that answers can be checked. Whatever is measured with it is
marked *simulated*. In a Floodgate repository it is a head like others (``add_to``), with Triton alone a model with
dynamic batching (``raw_config``).

    .venv/bin/python -m bench.simulated_head

serves Floodgate with it, at 127.0.0.1:50051 or ``FLOODGATE_ADDRESS``, for load tools to talk to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.report import ROOT
from floodgate.types import ImageViewSpec

NAME = "simulated"
SIDE_PX = 64
LABEL = "sexual.explicit"

VIEW = ImageViewSpec(width=SIDE_PX, height=SIDE_PX)
_VIEW = {"kind": "image", "width": SIDE_PX, "height": SIDE_PX, "mode": VIEW.mode, "filter": VIEW.filter}

_CARD = """---
title: Simulated head
licence: Apache-2.0
source: bench/simulated_head.py
labels: [{label}]
judges: Nothing. It takes the time that a model would take.
cannot_judge: Anything.
---
# simulated

Not a classifier. A stand-in for a GPU in benchmarks: it sleeps {fixed_ms:g} + {per_row_ms:g} n ms for a batch of n rows
and answers the mean of a picture's bytes / 255. Nothing that it says is about content.
"""

_MODEL = '''"""Simulated: sleeps instead of computing. Written by bench/simulated_head.py."""

import ctypes
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils

FIXED_S, PER_ROW_S, HOLD = {fixed_s!r}, {per_row_s!r}, {hold!r}

keep = ctypes.pythonapi.PyCapsule_SetDestructor
keep.argtypes = [ctypes.py_object, ctypes.c_void_p]


def tensor(name, array):
    capsule = np.ascontiguousarray(array).__dlpack__()
    keep(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)


class TritonPythonModel:
    def execute(self, requests):
        begun_s = time.monotonic()
        batches = [np.from_dlpack(pb_utils.get_input_tensor_by_name(each, "image")) for each in requests]
        # One batch to the device, however many requests Triton has put into it.
        service_s = FIXED_S + PER_ROW_S * sum(map(len, batches))
        scores = [rows.reshape(len(rows), -1).mean(1, dtype=np.float64, keepdims=True) / 255 for rows in batches]
        time.sleep(max(0.0, begun_s + service_s - time.monotonic()))
        while HOLD and os.path.exists(HOLD):
            time.sleep(0.002)
        answers = [tensor("scores", each.astype(np.float32)) for each in scores]
        return [pb_utils.InferenceResponse(output_tensors=[each]) for each in answers]
'''


@dataclass(frozen=True)
class SimulatedHead:
    """``fixed_ms`` a batch and ``per_row_ms`` a row; ``max_batch`` rows a batch at most. While there is a file
    ``hold``, no batch is done."""

    fixed_ms: float = 20.0
    per_row_ms: float = 5.0
    max_batch: int = 8
    hold: str = ""

    @property
    def capacity_per_s(self) -> float:
        """Rows a second in full batches, one after another without a gap; infinite where nothing is slept."""
        batch_ms = self.fixed_ms + self.per_row_ms * self.max_batch
        return 1000 * self.max_batch / batch_ms if batch_ms else float("inf")

    def __str__(self) -> str:
        return f"simulated head: {self.fixed_ms:g} + {self.per_row_ms:g} n ms, at most {self.max_batch} rows a batch"

    def add_to(self, repository: Path) -> None:
        """Puts the head into a Floodgate model repository, as ``simulated``."""
        self._write(repository / NAME, self._config(self._floodgate_members()))

    def add_raw_to(self, repository: Path, dynamic_batching: str) -> None:
        """Puts the same model into a repository for Triton alone. ``dynamic_batching``: the members of that block."""
        self._write(repository / NAME, self._config(f"dynamic_batching {{ {dynamic_batching} }}\n"))

    def _write(self, folder: Path, config: str) -> None:
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(config)
        (folder / "card.md").write_text(_CARD.format(label=LABEL, fixed_ms=self.fixed_ms, per_row_ms=self.per_row_ms))
        model = _MODEL.format(fixed_s=self.fixed_ms / 1e3, per_row_s=self.per_row_ms / 1e3, hold=self.hold)
        (folder / "1" / "model.py").write_text(model)

    def _config(self, rest: str) -> str:
        return (
            f"# {self}\n"
            f'name: "{NAME}"\n'
            'backend: "python"\n'
            f"max_batch_size: {self.max_batch}\n"
            f'input [{{ name: "image" data_type: TYPE_UINT8 dims: [{SIDE_PX}, {SIDE_PX}, 3] }}]\n'
            'output [{ name: "scores" data_type: TYPE_FP32 dims: [1] }]\n'
            "instance_group [{ kind: KIND_CPU count: 1 }]\n"
        ) + rest

    @staticmethod
    def _floodgate_members() -> str:
        parameters = {
            "view": json.dumps(_VIEW),
            "labels": json.dumps([LABEL]),
            "competence": "{}",
            "licence": "Apache-2.0",
            "output_kinds": json.dumps({"scores": "scores"}),
        }
        return "".join(
            f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}\n'
            for key, value in parameters.items()
        )


@contextmanager
def simulated_repository(head: SimulatedHead) -> Iterator[Mapping[str, str]]:
    """Settings (FLOODGATE_* variables) for a server whose pictures go to the simulated head and whose texts go to the
    project's own, under the default policy with the one picture head in the other's place."""
    with tempfile.TemporaryDirectory(prefix="floodgate-simulated-") as scratch:
        repository = Path(scratch) / "repository"
        for config in (ROOT / "model_repository").glob("*/config.pbtxt"):
            repository.mkdir(exist_ok=True)
            (repository / config.parent.name).symlink_to(config.parent)
        head.add_to(repository)
        policy = Path(scratch) / "policy.yaml"
        default = (ROOT / "policies" / "default.yaml").read_text(encoding="utf-8")
        policy.write_text(default.replace("      nsfw: {", f"      {NAME}: {{"), encoding="utf-8")
        yield {
            "FLOODGATE_MODEL_REPOSITORY": str(repository),
            "FLOODGATE_HEADS": f"{NAME},toxicity",
            "FLOODGATE_POLICY": str(policy),
        }


def main() -> int:
    """Serves until it is told to stop."""
    head = SimulatedHead()
    print(f"{head}; {head.capacity_per_s:.0f} pictures/s", flush=True)
    with simulated_repository(head) as settings:
        command = [str(Path(sys.executable).with_name("floodgate")), "serve"]
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings})
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.terminate())  # it drains, then this ends too
        return server.wait()


if __name__ == "__main__":
    sys.exit(main())
