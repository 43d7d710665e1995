"""Batches that lie in CUDA memory: registered by their handle where the server takes it, read from host memory where it
does not. No GPU is needed to be refused by the real Triton."""

from __future__ import annotations

import base64
import logging
from dataclasses import replace

import numpy as np
import pytest
from region import Tensor
from small_heads import expected
from stages import TritonStage
from tritonclient.utils import InferenceServerException

from floodgate.triton.regions import RegionRegistry

HANDLE = bytes(range(64))


def on_device(tensor: Tensor, handle: bytes = HANDLE) -> Tensor:
    return replace(tensor, kind="cuda", device=0, handle=handle)


class Client:
    """Stands in for a server with a GPU: notes what is registered, and refuses CUDA memory if told to."""

    def __init__(self, refusal: InferenceServerException | None = None) -> None:
        self.refusal = refusal
        self.cuda: list[tuple[str, bytes, int, int]] = []
        self.system: list[str] = []

    async def register_cuda_shared_memory(self, name: str, raw_handle: bytes, device: int, size_bytes: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.cuda.append((name, base64.b64decode(raw_handle), device, size_bytes))

    async def register_system_shared_memory(self, name: str, key: str, size_bytes: int) -> None:
        self.system.append(key)


TENSOR = Tensor("image", "UINT8", (1, 4), "/region", 4096, 0, 4, kind="cuda", device=2, handle=HANDLE)


async def test_cuda_memory_is_registered_once_by_its_handle() -> None:
    client = Client()
    registry = RegionRegistry(client, 1)  # type: ignore[arg-type]
    name = await registry.name_of(TENSOR)
    # Another region of the core may get the same memory again.
    assert await registry.name_of(replace(TENSOR, region="/later")) == name
    assert client.cuda == [(name, HANDLE, 2, 4096)]
    assert await registry.name_of(replace(TENSOR, handle=bytes(64))) != name
    assert client.system == []


async def test_a_server_that_refuses_cuda_memory_reads_the_hosts_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(InferenceServerException("not built with GPU support", status="StatusCode.UNIMPLEMENTED"))
    registry = RegionRegistry(client, 1)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        first = await registry.name_of(TENSOR)
        assert await registry.name_of(TENSOR) == first
        await registry.name_of(replace(TENSOR, region="/other", handle=bytes(64)))
    assert client.system == ["/region", "/other"]
    (said,) = [record.message for record in caplog.records if "CUDA" in record.message]
    assert said.startswith("Triton reads batches from host memory, for it takes no CUDA memory: ")
    assert said.endswith("not built with GPU support")


async def test_a_lost_connection_is_no_refusal() -> None:
    client = Client(InferenceServerException("gone", status="StatusCode.UNAVAILABLE"))
    registry = RegionRegistry(client, 1)  # type: ignore[arg-type]
    with pytest.raises(InferenceServerException):
        await registry.name_of(TENSOR)
    client.refusal = None
    await registry.name_of(TENSOR)
    assert len(client.cuda) == 1


@pytest.mark.triton
async def test_the_real_triton_without_a_gpu_answers_from_host_memory(triton_stage: TritonStage) -> None:
    batch = triton_stage.batch(5)
    batch = replace(batch, tensors=tuple(on_device(tensor) for tensor in batch.tensors))
    outcome = await triton_stage.backend.infer(batch)
    assert not outcome.failures
    np.testing.assert_array_equal(outcome.outputs["first__scores"], expected(5))
