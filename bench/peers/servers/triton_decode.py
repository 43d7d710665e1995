"""Triton's Python backend as a preprocessing model: encoded bytes in, the head's view out. Installed as model.py."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["PEER_SERVERS"])
from classifier import decoder, setup

from floodgate.triton import runner

sys.path.insert(0, runner.__path__[0])  # where the runner looks for its own parts
from floodgate.triton.runner.model import output_tensor


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.decode = decoder(setup().decode)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        # Not as_numpy(): this Triton's is broken under numpy 2.
        encoded = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "encoded"))
        return pb_utils.InferenceResponse([output_tensor("image", self.decode(encoded.tobytes())[None])])
