"""What a server's answer is worth: outputs that are what was asked for, and whose fault a failure is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.utils import InferenceServerException

from floodgate.types import HeadFailure, HeadSpec

Scores = dict[str, npt.NDArray[np.float32]]

# gRPC codes that the transport may have made up: they do not say that the server answered.
_TRANSPORT = frozenset(("UNAVAILABLE", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "ABORTED", ""))
# Triton's own words under UNAVAILABLE: it turned the request away before it looked at its memory.
_TURNED_AWAY = ("Request for unknown model", "Server not ready", "stopped accepting new inference requests")
_NOT_LOADED = ("is not healthy", "is not at ready state", "has no available versions", "is not found")
_UNKNOWN_REGION = re.compile(r"Unable to find shared memory region: '([^']*)'")
_MESSAGE_LIMIT = 300
FAILED_BITS = 0x7FC0FA11
"""The NaN that fills the outputs of a head that failed: see ``guard/model.py`` and ``runner/model.py``."""


def status_of(error: InferenceServerException) -> str:
    """The gRPC code's name, "INTERNAL"; "" when there is none."""
    return str(error.status() or "").rpartition(".")[2]


def is_answer(error: InferenceServerException) -> bool:
    """Whether the server itself refused or failed the request, so that it is done with its memory."""
    return status_of(error) not in _TRANSPORT or is_turned_away(error)


def is_turned_away(error: InferenceServerException) -> bool:
    """Whether the server itself said UNAVAILABLE: the model is not loaded, or the server is stopping."""
    return status_of(error) == "UNAVAILABLE" and any(words in str(error.message()) for words in _TURNED_AWAY)


def blames_request(error: InferenceServerException) -> bool:
    """Whether the server found the request wrong; that says nothing about the head's health."""
    return status_of(error) == "INVALID_ARGUMENT"


def needs_loading(error: InferenceServerException) -> bool:
    """Whether the head must be loaded again: its model process died, which Triton 2.51 does not start again by itself,
    or somebody unloaded it."""
    return any(words in str(error.message()) for words in _NOT_LOADED)


def unknown_region(error: InferenceServerException) -> str:
    """The name of the shared memory region that the server says it does not know; "" when it says something else. It
    looks all regions of a request up before it runs anything, so it has read none of them."""
    found = _UNKNOWN_REGION.search(str(error.message()))
    return found.group(1) if found else ""


def message_of(error: InferenceServerException) -> str:
    """The server's message on one line, cut to a length fit for logs."""
    text = " ".join(str(error.message()).split())
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def attribute(error: InferenceServerException, heads: Sequence[HeadSpec]) -> HeadSpec | None:
    """The one head that an ensemble's error names (as ``'<head>'`` or its instance ``'<head>_<n>'``), if any.

    Text that a head itself wrote may name another head, so only Triton's own words before ``message:`` count.
    """
    text = str(error.message()).partition("message:")[0]
    named = [head for head in heads if re.search(rf"'{re.escape(head.name)}(_\d+)*'", text)]
    return named[0] if len(named) == 1 else None


def decode(response: Any, head: HeadSpec, names: Mapping[str, str], rows: int) -> Scores | HeadFailure:
    """One head's outputs out of a ModelInferResponse.

    ``names``: the head's output name -> the name it has in this response and gets in the result. Every
    output must be there as FP32 [rows, *shape] with all its bytes; otherwise the whole head is a
    ``bad_output``.
    """
    found = {tensor.name: index for index, tensor in enumerate(response.outputs)}
    scores: Scores = {}
    for output in head.outputs:
        index = found.get(names[output.name])
        if index is None:
            return _bad(head, f"output {output.name} is missing")
        tensor, expected = response.outputs[index], [rows, *output.shape]
        if tensor.datatype != "FP32":
            return _bad(head, f"output {output.name} is {tensor.datatype}, not FP32")
        if list(tensor.shape) != expected:
            return _bad(head, f"output {output.name} has shape {list(tensor.shape)}, not {expected}")
        content = response.raw_output_contents[index] if index < len(response.raw_output_contents) else b""
        if len(content) != rows * output.elements * 4:
            return _bad(head, f"output {output.name} has {len(content)} bytes, not {rows * output.elements * 4}")
        values = np.frombuffer(content, np.float32)
        if values.size and bool((values.view(np.uint32) == FAILED_BITS).all()):
            return HeadFailure("failed", f"head {head.name} failed; what it said is in Triton's log")
        scores[names[output.name]] = values.reshape(rows, output.elements)
    return scores


def _bad(head: HeadSpec, problem: str) -> HeadFailure:
    return HeadFailure("bad_output", f"head {head.name}: {problem}")
