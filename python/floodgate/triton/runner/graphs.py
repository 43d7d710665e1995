"""A head's graph, compiled for a few fixed numbers of rows that together make up any batch.

OpenVINO plans a graph whose shapes are all known much better than one whose number of rows is open: with bf16 on AMX
and one thread, open_nsfw takes about a quarter less CPU a row. A piece is cheapest when its activations fit the cores'
caches. So a batch of 15 rows runs as 4 + 4 + 4 + 2 + 1 on one thread. Rows are independent: each gets the same bits
whatever piece it is in.

Runs inside Triton's stub process, where Floodgate is not imported.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

ROWS_A_THREAD = 4

Arrays = dict[str, "np.ndarray[Any, Any]"]


def sizes(max_batch: int, threads: int) -> tuple[int, ...]:
    """The numbers of rows to compile for, descending: powers of two up to ``ROWS_A_THREAD`` a thread."""
    most = max(1, min(max_batch, ROWS_A_THREAD * threads))
    return tuple(1 << power for power in reversed(range(most.bit_length())))


class Graphs:
    """``inputs``: name -> (dtype, dims without the batch; -1 is open). ``outputs``: names. ``rewrite`` may change each
    graph once its shapes are known.

    A graph with an open dim besides the batch is compiled once, for any number of rows. Every graph runs once here: the
    first run of a shape prepares its kernels, tens of milliseconds that no request's deadline should pay. Thread rule:
    one at a time. Raises ValueError for a name that the graph does not have, RuntimeError when it cannot be compiled.
    """

    def __init__(
        self,
        core: Any,
        file: Path,
        *,
        inputs: Mapping[str, tuple[Any, Sequence[int]]],
        outputs: Sequence[str],
        max_batch: int,
        threads: int,
        settings: Mapping[str, Any],
        rewrite: Callable[[Any], object] | None = None,
    ) -> None:
        self._inputs = dict(inputs)
        self._outputs = tuple(outputs)
        is_open = any(side < 0 for _, dims in inputs.values() for side in dims)
        self._sizes = sizes(max_batch, threads) if not is_open else (max_batch,)
        self._requests: dict[int, Any] = {}
        self._feeds: dict[int, Arrays] = {}
        for size in self._sizes:
            graph = core.read_model(file)
            _check_names(file, graph, tuple(inputs), self._outputs)
            graph.reshape({name: [-1 if is_open else size, *dims] for name, (_, dims) in inputs.items()})
            if rewrite is not None:
                rewrite(graph)
            compiled = core.compile_model(graph, "CPU", {**settings, "INFERENCE_NUM_THREADS": threads})
            self._requests[size] = compiled.create_infer_request()
            if not is_open:
                self._feeds[size] = self._own_memory(self._requests[size], size)
        self._warm_up(range(1, max_batch + 1) if is_open else self._sizes)

    def _warm_up(self, batches: Sequence[int]) -> None:
        for rows in batches:
            self.infer(
                {
                    name: np.zeros((rows, *(max(1, side) for side in dims)), dtype)
                    for name, (dtype, dims) in self._inputs.items()
                }
            )

    def infer(self, feeds: Arrays) -> Arrays:
        """Outputs as float32 [rows, …] for inputs [rows, *dims]. All arrays are new; nothing holds on to ``feeds``."""
        rows = len(next(iter(feeds.values())))
        pieces: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in self._outputs}
        for start, size in self._pieces(rows):
            request = self._requests[size]
            if own := self._feeds.get(size):
                for name, memory in own.items():
                    memory[:] = feeds[name][start : start + size]
                request.infer()
            else:
                request.infer(feeds)
            for name, found in pieces.items():
                # Copied: the request's own buffers are overwritten by the next piece.
                found.append(request.get_tensor(name).data.astype(np.float32, copy=True))
        return {name: np.concatenate(found) for name, found in pieces.items()}

    def _own_memory(self, request: Any, size: int) -> Arrays:
        """The request's inputs. Rows are copied there, because a request keeps what it was last given: Triton's stub
        crashes when an input tensor is let go of after the stub has mapped its memory anew."""
        memory = {name: np.zeros((size, *dims), dtype) for name, (dtype, dims) in self._inputs.items()}
        for name, array in memory.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        return memory

    def _pieces(self, rows: int) -> list[tuple[int, int]]:
        """(first row, size of the graph) of each piece."""
        pieces, start = [], 0
        for size in self._sizes:
            while rows - start >= size or (size == self._sizes[-1] and start < rows):  # the last takes what is left
                pieces.append((start, size))
                start += size
        return pieces


def _check_names(file: Path, graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for kind, wanted, ports in (("input", inputs, graph.inputs), ("output", outputs, graph.outputs)):
        have = [name for port in ports for name in port.get_names()]
        missing = [name for name in wanted if name not in have]
        if missing or len(wanted) > len(ports):
            raise ValueError(f"{file.name} has no {kind} {missing[0] if missing else '?'}; it has {', '.join(have)}")
