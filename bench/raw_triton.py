"""Triton alone in front of a simulated head, with its own dynamic batching: what people would run instead."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from bench.report import ROOT
from bench.simulated_head import NAME, SimulatedHead
from floodgate.triton.install import locate
from floodgate.triton.process import ServerOptions, TritonProcess, log_tail, spawn

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
_START_S = 60.0

Result = TypeVar("Result")


@contextmanager
def raw_triton(head: SimulatedHead, dynamic_batching: str) -> Iterator[str]:
    """Yields HOST:PORT of a Triton that serves ``head`` with ``dynamic_batching`` (members of that block of its
    ``config.pbtxt``). Raises RuntimeError when it does not start."""
    with tempfile.TemporaryDirectory(prefix="floodgate-raw-triton-") as scratch:
        options = ServerOptions(run_dir=Path(scratch), threads=1)
        head.add_raw_to(options.repository, dynamic_batching)
        with _event_loop() as loop:
            process = _on(loop, _start(options))
            try:
                yield process.address
            finally:
                _on(loop, process.stop())


def infer_payload(rows: npt.NDArray[np.uint8], timeout_us: int = 0) -> bytes:
    """A serialised ModelInferRequest with ``rows`` uint8 [n, side, side, 3] inline. ``timeout_us``: how long it may
    wait in Triton's queue, where the model's queue policy lets requests say so; 0: as that policy says."""
    request = service_pb2.ModelInferRequest(model_name=NAME, raw_input_contents=[rows.tobytes()])
    if timeout_us:
        request.parameters["timeout"].int64_param = timeout_us
    request.inputs.add(name="image", datatype="UINT8", shape=rows.shape)
    request.outputs.add(name="scores")
    return bytes(request.SerializeToString())


def infer_scores(answer: bytes) -> npt.NDArray[np.float32]:
    """The scores, float32 [n], of a serialised ModelInferResponse."""
    return np.frombuffer(service_pb2.ModelInferResponse.FromString(answer).raw_output_contents[0], np.float32)


async def _start(options: ServerOptions) -> TritonProcess:
    install = locate(ROOT / "var")
    if install is None:
        raise RuntimeError("there is no Triton under var/; run: make setup")
    process = await spawn(install, options)
    async with InferenceServerClient(process.address) as client:
        until = asyncio.get_running_loop().time() + _START_S
        while True:
            with contextlib.suppress(InferenceServerException):
                if await client.is_server_live():
                    await client.load_model(NAME)
                    return process
            if not process.alive or asyncio.get_running_loop().time() > until:
                process.kill()
                raise RuntimeError("Triton did not start:\n" + log_tail(options.log))
            await asyncio.sleep(0.1)


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop on a thread of its own: the process is watched while the caller does something else."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
