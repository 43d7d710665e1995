"""The compiled core on the event loop. With ``link``, ``media`` and ``tickets`` it alone imports ``_core``.

``Core`` submits parts, hands ready batches to a backend and resolves one future a part. Nothing here waits in C++: the
core signals one eventfd, which the loop watches. Buffers follow the backend's word: ``infer`` returning or raising
means that nobody reads the batch's memory any more; a batch still unanswered after its last row's deadline is
quarantined until then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import floodgate._core as _core
from floodgate.errors import (
    BackendLost,
    InvalidRequest,
    StartupError,
    Unavailable,
)
from floodgate.media import MediaOptions, compiled_view, open_device
from floodgate.tickets import Ticket, Tickets
from floodgate.types import (
    Backend,
    Batch,
    BatchOutcome,
    EnsembleSpec,
    HeadFailure,
    Lane,
    Part,
    SamplingPlan,
    output_name,
)

log = logging.getLogger(__name__)

# How long after a batch's last deadline its buffer counts as lost to an unanswered call.
_QUARANTINE_AFTER_S = 0.25
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """Sizes and limits; see ``config.CoreSettings`` and ``config.Limits`` for units and meaning."""

    decode_workers: int
    arena_bytes: int
    queue_rows: int
    max_wait_s: float
    lane_floors: Mapping[Lane, float]
    buffers: int
    credit: int
    quarantine: int
    max_batch: int
    live_reserve: float
    text_bytes: int
    media: MediaOptions
    acceptors: int = 0
    """Other processes that submit parts, each from an arena of ``acceptor_arena_bytes`` that it alone fills."""
    acceptor_arena_bytes: int = 0
    shares_cores: bool = False
    """Decode workers and heads that run on the CPU have fewer cores than there are of them."""


class Core:
    """The scheduler and whoever answers its batches. Belongs to one event loop."""

    def __init__(self, options: CoreOptions, backend: Backend) -> None:
        """Raises InvalidRequest naming the option that cannot be, Unavailable when memory cannot be had, StartupError
        when decode workers cannot be sandboxed."""
        if stale := _core.sweep_stale_buffers():
            log.info("removed %d shared memory regions that a dead server left behind", stale)
        self._options = options
        self._backend = backend
        device = open_device(options.media.device)
        self._scheduler = _scheduler(options, device)
        self.device_decoder = "" if device is None else f"nvjpeg {device.jpeg_version}"
        """What decodes JPEGs on a GPU, with its version; "": nothing does."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._scheduler.fd, self._on_ready)
        self._tickets = Tickets(self._scheduler)
        self._generation = 0
        self._running: set[asyncio.Task[None]] = set()
        self._hub: _core.AcceptorHub | None = None

    async def configure(self, ensembles: Sequence[EnsembleSpec]) -> None:
        """Serves ``ensembles`` from now on; parts under way finish on the old ones. Raises InvalidRequest where
        acceptors are served, who know one set only, and there is one already."""
        if self._hub is not None:
            raise InvalidRequest("acceptors are told once what is served; another set needs another start")
        generation = self._generation + 1
        await self._backend.load(generation, ensembles)
        self._scheduler.configure(generation, [ensemble_config(spec, self._options) for spec in ensembles])
        if self._options.acceptors:
            self._hub = _core.AcceptorHub(
                self._scheduler,
                ensembles=[spec.name for spec in ensembles],
                media_limits=self._options.media.limits(),
                max_text_bytes=self._options.text_bytes,
            )
        self._generation = generation

    @property
    def acceptors(self) -> _core.AcceptorHub:
        """The end of the acceptors here. REQUIRES: ``CoreOptions.acceptors``, and ``configure`` was called."""
        assert self._hub is not None
        return self._hub

    def acceptor_arena(self, acceptor: int) -> tuple[int, int]:
        """(descriptor, bytes) of the memory that one acceptor fills."""
        return self._scheduler.foreign_arenas[acceptor]

    def submit(
        self,
        part: Part,
        ensembles: Sequence[EnsembleSpec],
        lane: Lane,
        deadline_ns: int,
        plan: SamplingPlan | None = None,
    ) -> Ticket:
        """Probes the part, copies it once and queues it: its content may be released afterwards. ``plan`` says which
        frames are taken of a video or an animation; None: of an animation the first, as of a still.

        Raises ContentError (the part cannot be read), Overloaded, Unavailable, DeadlineExceeded.
        """
        return self._tickets.submit([each.name for each in ensembles], part, lane, deadline_ns, plan)

    def _on_ready(self) -> None:
        for batch in self._scheduler.take_batches():
            task = self._loop.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._hand_out_answers()

    def _hand_out_answers(self) -> None:
        self._tickets.settle(self._scheduler.poll_done())

    async def _run(self, batch: Batch) -> None:
        """Has one batch inferred and tells the scheduler; the buffer is its own again when this ends."""
        late_s = (batch.deadline_ns - time.monotonic_ns()) / 1e9 + _QUARANTINE_AFTER_S
        unanswered = self._loop.call_later(max(0.0, late_s), self._quarantine, batch.batch_id)
        try:
            outcome = await self._backend.infer(batch)
        except BackendLost as error:
            self._scheduler.fail_batch(batch.batch_id, "UNAVAILABLE", error.message)
        except BaseException as error:
            # Whether the server still reads the memory is not known, so it is not handed out again.
            self._quarantine(batch.batch_id)
            if not isinstance(error, Exception):
                raise
            log.exception("batch %d of %s failed in a way that no backend should", batch.batch_id, batch.ensemble)
        else:
            self._complete(batch, outcome)
        finally:
            unanswered.cancel()

    def _complete(self, batch: Batch, outcome: BatchOutcome) -> None:
        try:
            self._scheduler.complete(batch.batch_id, dict(outcome.outputs), _failures(outcome.failures))
        except Exception:
            log.exception("the answer to batch %d of %s cannot be taken", batch.batch_id, batch.ensemble)
            self._scheduler.fail_batch(batch.batch_id, "INTERNAL", "the inference server's answer cannot be taken")

    def _quarantine(self, batch_id: int) -> None:
        try:
            self._scheduler.quarantine(batch_id)
        except InvalidRequest:
            log.debug("batch %d was answered or quarantined before", batch_id)

    def stats(self) -> Mapping[str, Any]:
        """Counters and gauges of the scheduler; see ``floodgate::Stats``."""
        return self._scheduler.stats()

    async def close(self) -> None:
        """Refuses new parts, ends those under way, and gives back threads and memory. Nothing may be called afterwards.
        Batches under way end first: close the backend before."""
        self._scheduler.drain()
        self._on_ready()
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_S)
        self._loop.remove_reader(self._scheduler.fd)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._hand_out_answers()
        self._tickets.close()
        # Whoever still holds this object must not keep the shared memory from being removed.
        self._hub = None
        del self._scheduler


def ensemble_config(spec: EnsembleSpec, options: CoreOptions) -> _core.EnsembleConfig:
    """An ensemble as the compiled core knows it."""
    return _core.EnsembleConfig(
        name=spec.name,
        modality=spec.modality.value,
        tensors=[(tensor.name, compiled_view(tensor.view)) for tensor in spec.tensors],
        outputs=[
            (output_name(head.name, output.name), head.name, output.elements)
            for head in spec.heads
            for output in head.outputs
        ],
        heads=[head.name for head in spec.heads],
        max_batch=min(spec.max_batch, options.max_batch),
        buffers=options.buffers,
        credit=options.credit,
        device=spec.device,
        shares_cores=options.shares_cores and spec.device == "cpu",
    )


def _scheduler(options: CoreOptions, device: _core.Device | None = None) -> _core.Scheduler:
    media = options.media
    if media.decoder is not None and not media.decoder.is_file():
        raise StartupError(f"there is no decoder program at {media.decoder}; {_THREADS_HINT}")
    try:
        return _core.Scheduler(
            decode_workers=options.decode_workers,
            arena_bytes=options.arena_bytes,
            max_queue_rows=options.queue_rows,
            live_reserve=options.live_reserve,
            max_wait_s=options.max_wait_s,
            lane_floors={int(lane): options.lane_floors.get(lane, 0.0) for lane in Lane},
            quarantine_cap=options.quarantine,
            media_limits=media.limits(),
            max_text_bytes=options.text_bytes,
            decode_min=media.decode_min,
            decoder_program=str(media.decoder or ""),
            decoder_memory_bytes=media.worker_memory_bytes,
            decoder_hang_ms=media.hang_ms,
            decoder_faults=media.faults,
            device=device,
            acceptors=options.acceptors,
            acceptor_arena_bytes=options.acceptor_arena_bytes,
        )
    except (InvalidRequest, Unavailable) as error:
        if media.decoder is None:
            raise
        problem = f"the core cannot start with sandboxed decode workers: {error.message}"
        raise StartupError(
            f"{problem}. If it is the sandbox that this machine does not allow, {_THREADS_HINT}"
        ) from None


def try_sandbox(media: MediaOptions) -> None:
    """Starts one sandboxed decode worker and lets it go. Raises StartupError saying why it cannot be."""
    smallest = CoreOptions(
        decode_workers=1,
        arena_bytes=1 << 20,
        queue_rows=1,
        max_wait_s=1.0,
        lane_floors={},
        buffers=2,
        credit=1,
        quarantine=1,
        max_batch=1,
        live_reserve=0.0,
        text_bytes=1,
        media=media,
    )
    _scheduler(smallest)


_THREADS_HINT = "`media.sandbox: false` decodes on threads of the server, where a codec's crash is the server's"


def _failures(failures: Mapping[str, HeadFailure]) -> dict[str, tuple[str, str]]:
    return {head: (failure.reason, failure.message) for head, failure in failures.items()}
