"""The one CPU runner: serves any head that is an ONNX graph with uint8 (or int32) inputs and float32 outputs.

Triton's Python backend loads this file for every model whose config says ``backend: "openvino_runner"``;
the head directory then holds only its config and ``<version>/model.onnx``, or what ``default_model_filename``
names instead. Names, types and shapes come from the config and must match the graph's. Rows are independent;
``graphs.py`` says how a batch runs.

Settings: environment FLOODGATE_RUNNER_PRECISION (auto, f32, bf16) and FLOODGATE_RUNNER_THREADS (0: all), each
overridden by the model's own config parameter ``precision``.
"""

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils
from folding import fold_columns, folding_pays  # type: ignore[import-not-found]  # beside this file, where Triton's stub looks
from graphs import Graphs  # type: ignore[import-not-found]

_DTYPES = {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32, "TYPE_FP32": np.float32}
_PRECISIONS = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}

# floodgate.triton.answers.FAILED_BITS
FAILED_BITS = 0x7FC0FA11

_set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]
_set_destructor.restype = ctypes.c_int


def output_tensor(name: str, array: "np.ndarray[Any, Any]") -> Any:
    """A Triton tensor over ``array``, under numpy 1 and 2 alike.

    ``pb_utils.Tensor(name, array)`` sends zero bytes under numpy 2, so the way is DLPack. Triton consumes the
    capsule and frees what it holds, but under a name of its own, at which numpy's destructor of the emptied
    capsule prints a traceback for every call; the capsule therefore goes without one.
    """
    capsule = np.ascontiguousarray(array).__dlpack__()
    _set_destructor(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)


def choose_precision(wanted: str, capabilities: list[str]) -> str:
    """ "f32" or "bf16". OpenVINO lists BF16 among the optimisations of a CPU with avx512_bf16 or amx_bf16."""
    if wanted not in ("auto", "f32", "bf16"):
        raise ValueError(f"precision must be auto, f32 or bf16, not {wanted!r}")
    if wanted == "f32":
        return "f32"
    return "bf16" if "BF16" in capabilities else "f32"


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        core = ov.Core()
        wanted = parameters.get("precision") or os.environ.get("FLOODGATE_RUNNER_PRECISION", "auto")
        capabilities = list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        precision = choose_precision(wanted, capabilities)
        file = folder / (config.get("default_model_filename") or "model.onnx")
        threads = int(os.environ.get("FLOODGATE_RUNNER_THREADS", "0")) or len(os.sched_getaffinity(0))
        self._name = config["name"]
        self._inputs = {
            tensor["name"]: (_DTYPES[tensor["data_type"]], [int(side) for side in tensor["dims"]])
            for tensor in config["input"]
        }
        self._outputs = {tensor["name"]: [int(side) for side in tensor["dims"]] for tensor in config["output"]}
        self._graphs = Graphs(
            core,
            file,
            inputs=self._inputs,
            outputs=tuple(self._outputs),
            max_batch=max(1, int(config["max_batch_size"])),
            threads=threads,
            settings={
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            },
            rewrite=fold_columns if folding_pays(precision) else None,
        )
        pb_utils.Logger.log_info(f"{self._name}: {precision}, {threads} threads, {file}")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            feeds = {
                name: np.ascontiguousarray(self._input(request, name), dtype)
                for name, (dtype, _) in self._inputs.items()
            }
            tensors = [output_tensor(name, scores) for name, scores in self._graphs.infer(feeds).items()]
        except Exception as error:
            # Not an error to Triton, which would deadlock: see guard/model.py.
            pb_utils.Logger.log_error(f"head {self._name} failed: {error}")
            rows = len(self._input(request, next(iter(self._inputs))))
            tensors = [
                output_tensor(name, np.full((rows, *dims), FAILED_BITS, np.uint32).view(np.float32))
                for name, dims in self._outputs.items()
            ]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    @staticmethod
    def _input(request: Any, name: str) -> "np.ndarray[Any, Any]":
        # Not as_numpy(): under numpy 2 it repeats the first element everywhere, silently.
        return np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
