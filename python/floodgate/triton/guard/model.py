"""Runs a head's own ``model.py`` so that its failures come back as marked outputs instead of errors.

A composing model that answers an ensemble's request with an error while Triton is still handing out the request's
other steps deadlocks Triton 2.51: the thread that enqueues holds the gRPC handler's lock and wants the ensemble's, the
thread that fails holds the ensemble's and wants the handler's. Every later call of the ensemble then hangs too. So a
failing head answers OK, with every output filled with one NaN whose bits say "failed"
(``floodgate.triton.answers.FAILED_BITS``), and its words go to Triton's log. That also spares the healthy heads a
second call.

Triton loads this file for every model whose config says ``backend: "floodgate_guard"``, which the run-time repository
puts in place of ``backend: "python"``.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

FAILED_BITS = 0x7FC0FA11

_set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]
_set_destructor.restype = ctypes.c_int


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._name = config["name"]
        self._input = config["input"][0]["name"]
        self._outputs = [(tensor["name"], [int(side) for side in tensor["dims"]]) for tensor in config["output"]]
        folder = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(folder))
        spec = importlib.util.spec_from_file_location("head_model", folder / "model.py")
        if spec is None or spec.loader is None:
            raise ValueError(f"{folder} has no model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._head = module.TritonPythonModel()
        if hasattr(self._head, "initialize"):
            self._head.initialize(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        try:
            responses = self._head.execute(requests)
        except Exception as error:
            return [self._failed(request, error) for request in requests]
        return [
            self._failed(request, response.error().message()) if response.has_error() else response
            for request, response in zip(requests, responses, strict=True)
        ]

    def finalize(self) -> None:
        if hasattr(self._head, "finalize"):
            self._head.finalize()

    def _failed(self, request: Any, error: object) -> Any:
        pb_utils.Logger.log_error(f"head {self._name} failed: {error}")
        return failed_response(request, self._input, self._outputs)


def failed_response(request: Any, input_name: str, outputs: list[tuple[str, list[int]]]) -> Any:
    """A response whose outputs all say "failed"."""
    rows = len(np.from_dlpack(pb_utils.get_input_tensor_by_name(request, input_name)))
    tensors = []
    for name, dims in outputs:
        capsule = np.full((rows, *dims), FAILED_BITS, np.uint32).view(np.float32).__dlpack__()
        # As in the runner: Triton frees what the capsule holds, and numpy's destructor would complain.
        _set_destructor(capsule, None)
        tensors.append(pb_utils.Tensor.from_dlpack(name, capsule))
    return pb_utils.InferenceResponse(output_tensors=tensors)
