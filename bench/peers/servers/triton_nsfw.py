"""Triton's Python backend around the head, batched by Triton's dynamic batcher. Installed as model.py."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.environ["PEER_SERVERS"])
from classifier import Classifier, setup

from floodgate.triton import runner

sys.path.insert(0, runner.__path__[0])  # where the runner looks for its own parts
from floodgate.triton.runner.model import output_tensor


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.model = Classifier(setup().batch)

    def execute(self, requests: list[Any]) -> list[Any]:
        # Not as_numpy(): this Triton's is broken under numpy 2.
        rows = [np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "image")) for request in requests]
        scores = np.array(self.model.scores(rows[0] if len(rows) == 1 else np.concatenate(rows)), np.float32)
        answers, done = [], 0
        for each in rows:
            own = scores[done : done + len(each)].reshape(-1, 1)
            answers.append(pb_utils.InferenceResponse([output_tensor("scores", own)]))
            done += len(each)
        return answers
