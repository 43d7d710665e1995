"""A shared-memory region that stands in for the core's batch buffers, and batches over it."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker, shared_memory

import numpy as np
import numpy.typing as npt

_batch_ids = itertools.count(1)


class Region:
    """``size_bytes`` of POSIX shared memory; ``close`` removes it."""

    def __init__(self, size_bytes: int) -> None:
        name = f"floodgate-test-{os.getpid()}-{secrets.token_hex(4)}"
        self._memory = shared_memory.SharedMemory(name, create=True, size=size_bytes)
        self.key = f"/{name}"
        self.size_bytes = size_bytes

    def view(self, offset: int, shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        return np.ndarray(tuple(shape), dtype, self._memory.buf, offset)

    def close(self) -> None:
        self._memory.close()
        try:
            self._memory.unlink()
        except FileNotFoundError:
            resource_tracker.unregister(f"/{self._memory.name}", "shared_memory")


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    region: str
    region_bytes: int
    offset: int
    bytes: int
    kind: str = "system"
    device: int = 0
    handle: bytes = b""


@dataclass(frozen=True, slots=True)
class TestBatch:
    __test__ = False

    batch_id: int
    generation: int
    ensemble: str
    rows: int
    deadline_ns: int
    tensors: tuple[Tensor, ...]


def make_batch(ensemble: str, region: Region, arrays: dict[str, npt.NDArray[np.generic]], offset: int = 0) -> TestBatch:
    """Write ``arrays`` (each [rows, ...]) one after another into ``region`` and describe them."""
    tensors = []
    rows = next(iter(arrays.values())).shape[0]
    for name, array in arrays.items():
        region.view(offset, array.shape, array.dtype)[...] = array
        dtype = {"uint8": "UINT8", "int32": "INT32"}[array.dtype.name]
        tensors.append(Tensor(name, dtype, array.shape, region.key, region.size_bytes, offset, array.nbytes))
        offset += -(-array.nbytes // 64) * 64
    return TestBatch(next(_batch_ids), 1, ensemble, rows, 0, tuple(tensors))
