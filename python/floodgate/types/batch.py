"""Batches on their way to an inference server, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from floodgate.types.head import EnsembleSpec


class TensorRef(Protocol):
    """Where one input tensor of a batch lies (``floodgate::TensorRef``)."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...  # "UINT8", "INT32"
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def region(self) -> str: ...  # POSIX shared-memory key
    @property
    def region_bytes(self) -> int: ...
    @property
    def kind(self) -> str: ...  # "system" | "cuda"
    @property
    def device(self) -> int: ...
    @property
    def handle(self) -> bytes: ...  # of CUDA memory, for other processes; empty for "system"
    @property
    def offset(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class Batch(Protocol):
    """A sealed batch of one ensemble."""

    @property
    def batch_id(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def ensemble(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def deadline_ns(self) -> int: ...  # the latest deadline among its rows
    @property
    def tensors(self) -> Sequence[TensorRef]: ...


@dataclass(frozen=True, slots=True)
class HeadFailure:
    """Why a head gave no scores for a batch. ``reason`` is a short stable word for metrics and records:
    ``unavailable``, ``failed``, ``bad_output``, ``breaker_open``."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What came back for a batch: ``outputs`` maps ``<head>__<output>`` to float32[rows, elements] whose shape
    and dtype were checked (finiteness is checked row by row in the core); ``failures`` maps each head without
    outputs to its reason. Every head of the ensemble is in exactly one of the two."""

    outputs: Mapping[str, npt.NDArray[np.float32]]
    failures: Mapping[str, HeadFailure] = field(default_factory=dict)


class Backend(Protocol):
    """An inference server, as the pipeline sees it. Five methods; nothing else may be assumed."""

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        """Make the ensembles servable. Raises Unavailable or ModelError."""

    async def infer(self, batch: Batch) -> BatchOutcome:
        """Run one batch. Returns only when the server has answered for good, or raises ``BackendLost``
        when it is certain that the server no longer reads the batch's memory (its process is dead, or it
        refused the request). It has no time-out of its own: deadlines belong to the scheduler."""

    def ready(self) -> bool:
        """Whether a batch sent now would be tried."""

    async def close(self) -> None:
        """Stop. Every ``infer`` under way ends first, or raises."""

    def describe(self) -> Mapping[str, Any]:
        """Facts for the operator: kind, address, pid, restarts, memory mode, breakers."""
