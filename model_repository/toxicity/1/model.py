"""Triton's side of the toxicity head; the arithmetic is in word_scores."""

import ctypes
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from word_scores import WordScores, score_rows

_set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_set_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]
_set_destructor.restype = ctypes.c_int


def output_tensor(name, array):
    """A Triton tensor over ``array`` through DLPack. Triton renames the capsule and frees what it holds; numpy's own
    destructor would then print a traceback at every call, so the capsule goes without one."""
    capsule = array.__dlpack__()
    _set_destructor(capsule, None)
    return pb_utils.Tensor.from_dlpack(name, capsule)


class TritonPythonModel:
    """Inputs ``text`` uint8 [n, L] (UTF-8, zero-padded) and ``length`` int32 [n, 1] (bytes used of each row).

    Outputs ``scores`` and ``known_share``, float32 [n, 1]. A row whose length is outside 0..L or whose bytes
    are not UTF-8 gets NaN in both: it has no score, and its neighbours keep theirs.
    """

    def initialize(self, args):
        here = Path(__file__).resolve().parent
        self._scores = WordScores(here / "model.npz", here / "stop_words.txt")

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        # DLPack both ways. With numpy >= 2, this Triton's `as_numpy` repeats the first element everywhere and
        # `pb_utils.Tensor(name, array)` sends no bytes, and neither says so.
        text = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "text"))
        length = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "length"))
        scores, known_share = score_rows(self._scores, text, length)
        return pb_utils.InferenceResponse(
            [
                output_tensor("scores", scores),
                output_tensor("known_share", known_share),
            ]
        )
