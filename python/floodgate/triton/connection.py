"""One server process as a client sees it: loading models, sending a batch, and learning that it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from tritonclient.grpc import service_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from floodgate.errors import BackendLost, ModelError, Unavailable
from floodgate.triton.answers import is_answer, message_of, unknown_region
from floodgate.triton.channel import Channel
from floodgate.triton.ensemble import ensemble_message
from floodgate.triton.regions import AnchorRegion, RegionRegistry, read_region, sweep_anchors
from floodgate.types import Batch, EnsembleSpec, HeadSpec, TensorRef

_log = logging.getLogger("floodgate.triton")
MEMORY_MODES = ("auto", "shm", "inline")
_INFER = "/inference.GRPCInferenceService/ModelInfer"
_DEATH_NOTICE_S = 2.0
_LOOK_TIMEOUT_S = 2.0


class Connection:
    """``memory`` is "shm" or "inline" once ``choose_memory`` ran; ``inline_bytes``: tensor bytes that were copied into
    requests. Thread rule: one event loop."""

    def __init__(self, epoch: int, address: str) -> None:
        self.epoch = epoch
        self.address = address
        self.memory = ""
        self.inline_bytes = 0
        self.client = InferenceServerClient(address)
        self._channel = Channel(address)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._regions = RegionRegistry(self.client, epoch)
        self._anchor: AnchorRegion | None = None
        self._ensembles: set[str] = set()
        self._began_s: dict[asyncio.Task[Any], float] = {}

    def declare_lost(self, reason: str) -> None:
        """The process is dead for certain: every call under way ends with BackendLost."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self) -> None:
        if self._anchor is not None:
            self._anchor.remove()
        await self._channel.close()
        with contextlib.suppress(Exception):
            await self.client.close()

    # ------------------------------------------------------------------------------------------- preparing

    async def choose_memory(self, wanted: str) -> None:
        """Settle how inputs travel. Raises Unavailable when shared memory is demanded and refused."""
        if wanted == "inline":
            self.memory = "inline"
            return
        sweep_anchors()
        anchor = AnchorRegion()
        try:
            await anchor.register(self.client, self._regions)
        except InferenceServerException as error:
            anchor.remove()
            if not is_answer(error):
                raise Unavailable(f"Triton at {self.address} does not answer: {message_of(error)}") from error
            if wanted == "shm":
                raise Unavailable(
                    f"Triton at {self.address} refuses shared memory ({message_of(error)}); "
                    "newer servers want --allow-client-shm, and a remote one cannot share memory at all"
                ) from error
            self.memory = "inline"
            return
        self._anchor = anchor
        self.memory = "shm"

    async def is_same_process(self) -> bool:
        """Whether the server that answers now still knows our memory, or, when it has none of it, our ensembles: one
        that forgot them has to be prepared again all the same, and inline nothing of ours is at stake.

        Raises InferenceServerException when nothing answers.
        """
        if self._anchor is not None:
            return await self._anchor.known_to(self.client)
        for name in tuple(self._ensembles):
            if not await self.client.is_model_ready(name, "1", client_timeout=_LOOK_TIMEOUT_S):
                return False
        return True

    async def load(self, ensembles: Sequence[EnsembleSpec], *, upload: bool) -> None:
        """Load heads, then ensembles, and check what is served. ``upload``: the server has the heads but
        not our run-time repository, so ensembles travel with the request. Raises ModelError or
        Unavailable."""
        for head in {head.name: head for spec in ensembles for head in spec.heads}.values():
            await self._load_head(head, tolerate_refusal=upload)
        for spec in {spec.name: spec for spec in ensembles}.values():
            for head in spec.heads:
                if not await self._ask(self.client.is_model_ready(head.name, str(head.version)), head.name):
                    raise ModelError(f"Triton does not serve version {head.version} of head {head.name}")
            await self._load_ensemble(spec, upload=upload)
            self._ensembles.add(spec.name)

    async def _load_head(self, head: HeadSpec, *, tolerate_refusal: bool) -> None:
        try:
            await self._ask(self.client.load_model(head.name), head.name)
        except ModelError:
            # A server whose models are not controlled by its clients already serves the head, or never will.
            if not (tolerate_refusal and await self.client.is_model_ready(head.name, str(head.version))):
                raise

    async def _load_ensemble(self, spec: EnsembleSpec, *, upload: bool) -> None:
        wanted = ensemble_message(spec)
        if upload:
            config = json.dumps(json_format.MessageToDict(wanted, preserving_proto_field_name=True))
            # A file makes Triton take the model from the request; an ensemble has none, so this one is empty.
            load = self.client.load_model(spec.name, config=config, files={"file:1/ensemble": b""})
        else:
            load = self.client.load_model(spec.name)
        await self._ask(load, spec.name)
        if not await self._ask(self.client.is_model_ready(spec.name, "1"), spec.name):
            raise ModelError(f"Triton loaded ensemble {spec.name} but does not serve it")
        served = (await self._ask(self.client.get_model_config(spec.name, "1"), spec.name)).config
        for member in ("max_batch_size", "input", "output", "ensemble_scheduling"):
            if _comparable(getattr(served, member)) != _comparable(getattr(wanted, member)):
                raise ModelError(f"Triton serves {spec.name} with another {member} than it was made with")

    async def unload(self, name: str) -> None:
        """Best effort: a model that cannot be unloaded only costs memory."""
        self._ensembles.discard(name)
        with contextlib.suppress(InferenceServerException):
            await self.client.unload_model(name)

    async def revive(self, head: HeadSpec) -> None:
        """Load a head again whose model process died or that was unloaded. Raises ModelError or Unavailable."""
        await self.unload(head.name)
        await self._ask(self.client.load_model(head.name), head.name)

    async def revive_ensemble(self, spec: EnsembleSpec, *, upload: bool) -> None:
        """Load an ensemble again that was unloaded. Raises ModelError or Unavailable."""
        await self._load_ensemble(spec, upload=upload)
        self._ensembles.add(spec.name)

    async def _ask(self, call: Any, model: str) -> Any:
        try:
            return await call
        except InferenceServerException as error:
            if is_answer(error):
                raise ModelError(f"Triton cannot load {model}: {message_of(error)}") from error
            raise Unavailable(f"Triton at {self.address} does not answer: {message_of(error)}") from error

    # --------------------------------------------------------------------------------------------- a batch

    async def infer(self, model: str, version: int, inputs: Mapping[str, TensorRef], outputs: Sequence[str]) -> Any:
        """One call; no time-out. ``inputs``: the model's input name -> where its bytes lie. Returns Triton's
        ModelInferResponse. Raises InferenceServerException when the server answered with an error, and
        BackendLost when it is gone for certain; a broken channel alone leaves this pending until one of
        them is known.

        A server that was told by somebody to forget our memory refuses the call before it runs anything: then the
        memory is registered again and the call repeated, once for each region that it can want."""
        for _ in inputs:
            try:
                return await self._attempt(model, version, inputs, outputs)
            except InferenceServerException as error:
                region = unknown_region(error)
                if not region:
                    raise
                _log.warning("Triton has forgotten region %s; it is registered again", region)
                self._regions.forget(region)
        try:
            return await self._attempt(model, version, inputs, outputs)
        except InferenceServerException as error:
            if not unknown_region(error):
                raise
            raise BackendLost(f"Triton does not keep our memory: {message_of(error)}") from error

    async def _attempt(self, model: str, version: int, inputs: Mapping[str, TensorRef], outputs: Sequence[str]) -> Any:
        if self.lost.done():
            raise BackendLost(self.lost.result())
        call = asyncio.create_task(self._call(model, version, inputs, outputs))
        self._began_s[call] = time.monotonic()
        try:
            await asyncio.wait({call, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if call.done() and not call.cancelled() and call.exception() is None:
                return call.result()
            if self.lost.done():
                # However the call ended (a channel that is closed under it ends it in its own ways): this is why.
                raise BackendLost(self.lost.result())
            error = call.exception()
            if not isinstance(error, InferenceServerException) or is_answer(error):
                assert error is not None
                raise error
            if self.memory == "inline":
                # The request carried copies: whatever the server does now, it does not read our memory. A
                # death is usually known a moment later, and then ``ready`` already says so when this raises.
                await asyncio.wait({self.lost}, timeout=_DEATH_NOTICE_S)
                raise BackendLost(f"Triton did not answer: {message_of(error)}") from error
            await asyncio.wait({self.lost})
            raise BackendLost(self.lost.result())
        finally:
            del self._began_s[call]
            call.cancel()
            if call.done() and not call.cancelled():
                call.exception()

    def unanswered_s(self) -> float:
        """How long the oldest call under way has waited, s; 0 when there is none."""
        # In order of beginning, so the first is the oldest.
        return next((time.monotonic() - began_s for began_s in self._began_s.values()), 0.0)

    async def _call(self, model: str, version: int, inputs: Mapping[str, TensorRef], outputs: Sequence[str]) -> Any:
        request = service_pb2.ModelInferRequest(model_name=model, model_version=str(version))
        for name, tensor in inputs.items():
            await self._add_input(request, name, tensor)
        for name in outputs:
            request.outputs.add(name=name)
        answer = await self._channel.call(_INFER, request.SerializeToString())
        return service_pb2.ModelInferResponse.FromString(answer)

    async def _add_input(self, request: Any, name: str, tensor: TensorRef) -> None:
        added = request.inputs.add(name=name, datatype=tensor.dtype, shape=tensor.shape)
        try:
            if self.memory == "shm":
                parameters = added.parameters
                parameters["shared_memory_region"].string_param = await self._regions.name_of(tensor)
                parameters["shared_memory_byte_size"].int64_param = tensor.bytes
                parameters["shared_memory_offset"].int64_param = tensor.offset
            else:
                request.raw_input_contents.append(read_region(tensor.region, tensor.offset, tensor.bytes))
                self.inline_bytes += tensor.bytes
        except InferenceServerException as error:
            if not is_answer(error):
                raise
            # Nothing was sent, and no head is to blame.
            raise BackendLost(f"Triton refused region {tensor.region}: {message_of(error)}") from error
        except (OSError, ValueError) as error:
            raise BackendLost(f"region {tensor.region} cannot be read: {error}") from error


def inputs_of(batch: Batch) -> dict[str, TensorRef]:
    """The batch's tensors by the ensemble's input names."""
    return {tensor.name: tensor for tensor in batch.tensors}


def _comparable(value: Any) -> Any:
    """A message member without what Triton fills in by itself (an empty member, the order of a repeated
    one)."""
    if isinstance(value, int):
        return value
    if hasattr(value, "step"):
        return [(s.model_name, s.model_version, dict(s.input_map), dict(s.output_map)) for s in value.step]
    return sorted((tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in value)
