"""TritonBackend: runs batches on a Triton server, embedded or remote, and keeps bad heads from hurting good
ones.

One ensemble call per batch. When it fails and the failure can be attributed, that head's breaker opens and
the healthy heads are called directly; when it cannot, one direct round of all heads tells which one fails.
While a breaker is open, its ensemble's healthy heads are called directly, in parallel, over the same tensors.
A time-out never triggers a second call, because there is none here: deadlines belong to the scheduler.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from floodgate.errors import BackendLost, ModelError, Unavailable
from floodgate.triton import answers, breaker
from floodgate.triton.breaker import Breaker, BreakerState
from floodgate.triton.connection import MEMORY_MODES, Connection, inputs_of
from floodgate.triton.ensemble import head_inputs
from floodgate.triton.revival import Revivals
from floodgate.triton.supervisor import PROBE_S, Client, ServerStatus
from floodgate.types import Batch, BatchOutcome, EnsembleSpec, HeadFailure, HeadSpec, TensorRef, output_name

_log = logging.getLogger("floodgate.triton")


class Watch(Protocol):
    """Whoever knows whether the server lives: TritonSupervisor for our own, RemoteWatch for another's."""

    status: ServerStatus

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(slots=True)
class _Round:
    """What a batch has so far."""

    outputs: answers.Scores = field(default_factory=dict)
    failures: dict[str, HeadFailure] = field(default_factory=dict)

    def outcome(self) -> BatchOutcome:
        return BatchOutcome(self.outputs, self.failures)


class TritonBackend:
    """Implements ``floodgate.types.Backend``. Make one with ``embedded`` or ``connect_remote``.
    Thread rule: one event loop."""

    def __init__(
        self,
        kind: str,
        make_watch: Callable[[Client], Watch],
        *,
        memory: str = "auto",
        clock: Callable[[], float] = time.monotonic,
        prepare_repository: Callable[[Sequence[EnsembleSpec]], None] | None = None,
    ) -> None:
        if memory not in MEMORY_MODES:
            raise ValueError(f"memory must be one of {', '.join(MEMORY_MODES)}, not {memory!r}")
        self._kind = kind
        self._memory = memory
        self._clock = clock
        self._prepare_repository = prepare_repository
        self._watch = make_watch(self)
        self._started = False
        self._closing = False
        self._connection: Connection | None = None
        self._inline_bytes = 0  # of the connections before
        self._pending: Connection | None = None
        self._probes: dict[str, InferenceServerClient] = {}
        self._generations: dict[int, tuple[EnsembleSpec, ...]] = {}
        self._breakers: dict[tuple[str, int], Breaker] = {}
        self._revivals = Revivals()
        self._retired: set[asyncio.Task[None]] = set()

    # ----------------------------------------------------------------------------------------- Backend

    async def load(self, generation: int, ensembles: Sequence[EnsembleSpec]) -> None:
        """Make ``ensembles`` servable beside those of the generation before. The first call starts the
        server.

        Raises Unavailable or ModelError; what was served before is then still served.
        """
        before = dict(self._generations)
        self._refuse_changed_heads(ensembles)
        self._generations = {**dict(list(before.items())[-1:]), generation: tuple(ensembles)}
        try:
            if self._prepare_repository is not None:
                self._prepare_repository(self._wanted())
            if not self._started:
                await self._watch.start()
                self._started = True
            elif self._connection is None:
                raise Unavailable(f"Triton is not ready: {self._watch.status.reason or 'starting'}")
            else:
                await self._connection.load(self._wanted(), upload=self._prepare_repository is None)
        except BaseException:
            self._generations = before
            raise
        await self._unload_all_but_wanted(before)

    async def infer(self, batch: Batch) -> BatchOutcome:
        """See ``floodgate.types.Backend``: returns scores and failures that together name every head, or
        raises BackendLost when the batch's memory is certainly read by no one."""
        connection = self._connection
        if connection is None or self._closing:
            raise BackendLost(f"Triton is not ready: {self._watch.status.reason or 'starting or closing'}")
        spec = self._find(batch.ensemble)
        if spec is None:
            raise BackendLost(f"ensemble {batch.ensemble} is not loaded")
        away = spec.name in self._revivals
        if away or any(self._breaker(head).state is not BreakerState.CLOSED for head in spec.heads):
            return await self._direct(connection, spec, batch, spec.heads, _Round())
        return await self._together(connection, spec, batch)

    def ready(self) -> bool:
        """Whether a batch sent now would be tried."""
        return self._connection is not None and not self._closing and not self._connection.lost.done()

    async def close(self) -> None:
        """Stop the server (or the watching of it). Every ``infer`` under way ends first, or raises."""
        self._closing = True
        await self._watch.stop()
        self._revivals.cancel()
        for connection in {self._connection, self._pending} - {None}:
            assert connection is not None
            await self._retire(connection, "Triton was closed")
        self._connection = self._pending = None
        for client in self._probes.values():
            await client.close()
        self._probes.clear()
        if self._retired:
            await asyncio.wait(self._retired)

    def describe(self) -> Mapping[str, Any]:
        """kind, state, address, pid, epoch, restarts, reason, attempt, next_in_s, memory, inline_bytes (of all
        connections so far), ensembles, breakers."""
        status = self._watch.status
        return {
            "kind": self._kind,
            "state": status.state.value,
            "address": status.address,
            "pid": status.pid,
            "epoch": status.epoch,
            "restarts": status.restarts,
            "reason": status.reason,
            "attempt": status.attempt,
            "next_in_s": status.next_in_s,
            "memory": self._connection.memory if self._connection is not None else "",
            "inline_bytes": self._inline_bytes + (self._connection.inline_bytes if self._connection is not None else 0),
            "ensembles": [spec.name for spec in self._wanted()],
            "breakers": {
                f"{name}:{version}": {"state": b.state.value, "failures": b.failures, "reason": b.reason}
                for (name, version), b in self._breakers.items()
            },
        }

    @property
    def status(self) -> ServerStatus:
        """The server's state, as its supervisor sees it."""
        return self._watch.status

    # ------------------------------------------------------------------------- what the watch tells us

    async def probe(self, address: str) -> bool:
        """Whether a server answers at ``address`` (and, for a remote one, is the process we know)."""
        client = self._probes.get(address)
        if client is None:
            for stale in self._probes.values():
                await stale.close()
            client = InferenceServerClient(address)
            self._probes = {address: client}
        try:
            return bool(await client.is_server_live(client_timeout=PROBE_S))
        except InferenceServerException:
            return False

    async def prepare(self, epoch: int, address: str) -> None:
        """A new process answers: load everything wanted, then let batches through."""
        connection = self._pending = Connection(epoch, address)
        await connection.choose_memory(self._memory)
        await connection.load(self._wanted(), upload=self._prepare_repository is None)
        self._pending = None
        # A new process is a new chance for every head.
        self._breakers.clear()
        self._connection = connection

    def lost(self, epoch: int, reason: str) -> None:
        """Process ``epoch`` is gone for certain."""
        for connection in (self._connection, self._pending):
            if connection is not None and connection.epoch == epoch:
                task = asyncio.ensure_future(self._retire(connection, reason))
                self._retired.add(task)
                task.add_done_callback(self._retired.discard)
        if self._connection is not None and self._connection.epoch == epoch:
            self._inline_bytes += self._connection.inline_bytes
            self._connection = None
        if self._pending is not None and self._pending.epoch == epoch:
            self._pending = None

    def unanswered_s(self) -> float:
        """How long the oldest call under way, be it a batch or a model's loading, has waited, s; 0: there is none."""
        if self._connection is None:
            return 0.0
        return max(self._connection.unanswered_s(), self._revivals.longest_s())

    async def same_process(self) -> bool:
        """For a remote server: whether the one that answers now is the one our memory is registered with."""
        if self._connection is None:
            return False
        try:
            return await self._connection.is_same_process()
        except InferenceServerException:
            return True  # no answer is no evidence

    async def _retire(self, connection: Connection, reason: str) -> None:
        connection.declare_lost(reason)
        await connection.close()

    # ------------------------------------------------------------------------------------------- calls

    async def _together(self, connection: Connection, spec: EnsembleSpec, batch: Batch) -> BatchOutcome:
        names = [output_name(head.name, output.name) for head in spec.heads for output in head.outputs]
        trust = self._revivals.trust(head.name for head in spec.heads)
        round_ = _Round()
        try:
            response = await connection.infer(spec.name, 1, inputs_of(batch), names)
        except InferenceServerException as error:
            culprit = answers.attribute(error, spec.heads)
            _log.warning("ensemble %s failed: %s", spec.name, answers.message_of(error))
            if culprit is not None:
                self._blame(connection, culprit, error, round_)
            others = [head for head in spec.heads if head is not culprit]
            outcome = await self._direct(connection, spec, batch, others, round_)
            # An ensemble is as ready as its heads: only where they are well somebody has unloaded it alone.
            models = (spec.name, *(head.name for head in spec.heads))
            if answers.needs_loading(error) and not any(model in self._revivals for model in models):
                loading = connection.revive_ensemble(spec, upload=self._prepare_repository is None)
                self._revivals.begin("ensemble", spec.name, loading)
            return outcome
        for head in spec.heads:
            own = {output.name: output_name(head.name, output.name) for output in head.outputs}
            self._settle(head, answers.decode(response, head, own, batch.rows), trust, round_)
        return round_.outcome()

    async def _direct(
        self,
        connection: Connection,
        spec: EnsembleSpec,
        batch: Batch,
        heads: Sequence[HeadSpec],
        round_: _Round,
    ) -> BatchOutcome:
        """Call ``heads`` one by one, in parallel, as far as their breakers admit them."""
        admitted = []
        for head in heads:
            yes = False
            # A head whose model process is being replaced would only hold the others up.
            if head.name not in self._revivals:
                self._breakers[head.name, head.version], yes = breaker.admit(self._breaker(head), self._clock())
            if yes:
                admitted.append(head)
            else:
                reason = f"head {head.name} is switched off for now: {self._breaker(head).reason}"
                round_.failures[head.name] = HeadFailure("breaker_open", reason)
        calls = [self._one_head(connection, spec, batch, head, round_) for head in admitted]
        # All calls read the batch's memory: even when one is lost, the others must end before this returns.
        results = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                for head in admitted:
                    key = (head.name, head.version)
                    self._breakers[key] = breaker.released(self._breaker(head), self._clock())
                raise result
        return round_.outcome()

    async def _one_head(
        self, connection: Connection, spec: EnsembleSpec, batch: Batch, head: HeadSpec, round_: _Round
    ) -> None:
        tensors = inputs_of(batch)
        trust = self._revivals.trust([head.name])
        inputs: dict[str, TensorRef] = {
            own: tensors[shared] for own, shared in head_inputs(head, spec.tensor_of(head)).items()
        }
        try:
            response = await connection.infer(head.name, head.version, inputs, [output.name for output in head.outputs])
        except InferenceServerException as error:
            self._blame(connection, head, error, round_)
            return
        own = {output.name: output.name for output in head.outputs}
        answer = answers.decode(response, head, own, batch.rows)
        if not isinstance(answer, HeadFailure):
            answer = {output_name(head.name, name): scores for name, scores in answer.items()}
        self._settle(head, answer, trust, round_)

    def _settle(
        self, head: HeadSpec, answer: answers.Scores | HeadFailure, trust: dict[str, int], round_: _Round
    ) -> None:
        key = (head.name, head.version)
        if not self._revivals.is_believed(head.name, trust):
            message = f"head {head.name} was given up meanwhile: this may be its answer to another batch"
            _log.warning("%s", message)
            self._breakers[key] = breaker.released(self._breaker(head), self._clock())
            round_.failures[head.name] = HeadFailure("failed", message)
            return
        if isinstance(answer, HeadFailure):
            _log.warning("%s", answer.message)
            self._breakers[key] = breaker.failed(self._breaker(head), self._clock(), answer.message)
            round_.failures[head.name] = answer
        else:
            self._breakers[key] = breaker.succeeded(self._breaker(head))
            round_.outputs.update(answer)

    def _blame(self, connection: Connection, head: HeadSpec, error: InferenceServerException, round_: _Round) -> None:
        message = f"head {head.name}: {answers.message_of(error)}"
        away = answers.status_of(error) == "NOT_FOUND" or answers.is_turned_away(error)
        reason = "unavailable" if away else "failed"
        round_.failures[head.name] = HeadFailure(reason, message)
        key = (head.name, head.version)
        if answers.blames_request(error):
            self._breakers[key] = breaker.released(self._breaker(head), self._clock())
            return
        _log.warning("%s", message)
        self._breakers[key] = breaker.failed(self._breaker(head), self._clock(), message)
        if answers.needs_loading(error):
            self._revivals.give_up(head.name)
            if head.name not in self._revivals:
                self._revivals.begin("head", head.name, connection.revive(head))

    def _breaker(self, head: HeadSpec) -> Breaker:
        return self._breakers.get((head.name, head.version), Breaker())

    # ------------------------------------------------------------------------------------- generations

    def _wanted(self) -> tuple[EnsembleSpec, ...]:
        specs = {spec.name: spec for ensembles in self._generations.values() for spec in ensembles}
        return tuple(specs.values())

    def _find(self, name: str) -> EnsembleSpec | None:
        return next((spec for spec in self._wanted() if spec.name == name), None)

    def _refuse_changed_heads(self, ensembles: Sequence[EnsembleSpec]) -> None:
        served = {(h.name, h.version): h.digest for spec in self._wanted() for h in spec.heads}
        for head in (head for spec in ensembles for head in spec.heads):
            if served.get((head.name, head.version), head.digest) != head.digest:
                raise ModelError(
                    f"head {head.name} changed but is still version {head.version}, which is being served; "
                    "give the changed model a new version directory"
                )

    async def _unload_all_but_wanted(self, before: Mapping[int, Sequence[EnsembleSpec]]) -> None:
        if self._connection is None:
            return
        names = {spec.name for spec in self._wanted()}
        heads = {head.name for spec in self._wanted() for head in spec.heads}
        old = [spec for ensembles in before.values() for spec in ensembles if spec.name not in names]
        for spec in old:
            await self._connection.unload(spec.name)
        for head in {head.name for spec in old for head in spec.heads} - heads:
            await self._connection.unload(head)
