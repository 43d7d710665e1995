"""An in-process Backend that reads the regions itself: the second implementation of the contract.

It scores rows as the small heads do and fails on command, so that whoever uses a Backend can be tested
without a server. ``hold`` keeps answers back until ``release``; buffers are read only then, as a slow
server would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from floodgate.errors import BackendLost
from floodgate.triton.regions import read_region
from floodgate.types import Batch, BatchOutcome, EnsembleSpec, HeadFailure, output_name


class FakeBackend:
    """Faults per head, by the words of ``SmallHead``: ok, raise, empty, short, dtype, nan."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.in_flight = 0
        self._ensembles: dict[str, EnsembleSpec] = {}
        self._go = asyncio.Event()
        self._go.set()
        self._dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open: set[str] = set()

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        self._ensembles.update({spec.name: spec for spec in ensembles})

    async def infer(self, batch: Batch) -> BatchOutcome:
        if self._dead.done():
            raise BackendLost("the fake server is dead")
        spec = self._ensembles.get(batch.ensemble)
        if spec is None:
            raise BackendLost(f"ensemble {batch.ensemble} is not loaded")
        self.in_flight += 1
        try:
            go = asyncio.ensure_future(self._go.wait())
            await asyncio.wait({go, self._dead}, return_when=asyncio.FIRST_COMPLETED)
            go.cancel()
            if self._dead.done():
                raise BackendLost("the fake server died")
            return self._score(spec, batch)
        finally:
            self.in_flight -= 1

    def _score(self, spec: EnsembleSpec, batch: Batch) -> BatchOutcome:
        outputs, failures = {}, {}
        tensors = {tensor.name: tensor for tensor in batch.tensors}
        for head in spec.heads:
            fault = self.faults.get(head.name, "ok")
            if head.name in self._open and fault != "ok":
                failures[head.name] = HeadFailure("breaker_open", f"head {head.name} is switched off for now")
                continue
            self._open.discard(head.name)
            if fault not in ("ok", "nan"):
                self._open.add(head.name)
                failures[head.name] = HeadFailure("failed" if fault == "raise" else "bad_output", fault)
                continue
            tensor = tensors[spec.tensor_of(head)]
            raw = read_region(tensor.region, tensor.offset, tensor.bytes)
            flat = np.frombuffer(raw, np.uint8).reshape(batch.rows, -1).astype(np.float32)
            scores = flat.sum(1, keepdims=True) / np.float32(4096)
            if fault == "nan":
                scores[0] = np.nan
            outputs[output_name(head.name, "scores")] = scores
        return BatchOutcome(outputs, failures)

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    def die(self) -> None:
        if not self._dead.done():
            self._dead.set_result(None)

    def come_back(self) -> None:
        self._dead = asyncio.get_running_loop().create_future()
        self._open.clear()

    def ready(self) -> bool:
        return not self._dead.done()

    async def close(self) -> None:
        self.die()

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "fake", "breakers": {name: {"state": "open"} for name in self._open}}
