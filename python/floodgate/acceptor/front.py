"""What stands between gRPC and the core: policies and pipeline behind a service, a service behind a door."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from floodgate import __version__
from floodgate.acceptor.urgency import executor, go_first
from floodgate.config import Config
from floodgate.decision import DecisionLog
from floodgate.pipeline import Pipeline, Policies, Serves, TakesParts
from floodgate.types import EnsembleSpec, Sampling
from floodgate.wire.admission import InFlight
from floodgate.wire.metrics import Metrics
from floodgate.wire.server import DoorServer
from floodgate.wire.service import ModerationService, ServiceOptions

log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 0.0005
_GARBAGE_OBJECTS = 50_000


@dataclass(frozen=True, slots=True)
class Front:
    """``door`` is not open yet; ``in_flight`` counts what is inside."""

    door: DoorServer
    in_flight: InFlight


def build_front(
    config: Config,
    *,
    core: TakesParts,
    backend: Serves,
    policies: Policies,
    ensembles: Sequence[EnsembleSpec],
    preprocessing_digest: str,
    records: DecisionLog,
    metrics: Metrics,
) -> Front:
    """Puts it together. Of ``config.acceptors`` processes each admits its share."""
    pipeline = Pipeline(
        core=core,
        backend=backend,
        policies=policies,
        ensembles=ensembles,
        records=records,
        server_version=__version__,
        preprocessing_digest=preprocessing_digest,
        sampling=Sampling(config.media.max_frames, config.media.min_interval_ms),
        max_frames=config.limits.frames,
    )
    limits, processes = config.limits, max(1, config.acceptors)
    in_flight = InFlight(
        -(-limits.requests_in_flight // processes), max(limits.bytes_in_flight // processes, limits.message_bytes)
    )
    options = ServiceOptions(
        limits=limits,
        rights=config.callers["default"],
        answer_margin_ns=int(config.answer_margin_ms * 1e6),
        default_budget_ns=int(config.default_budget_ms * 1e6),
    )
    service = ModerationService(pipeline.moderate, in_flight, metrics, options)
    door = DoorServer(
        service,
        in_flight,
        address=config.address,
        message_bytes=limits.message_bytes,
        share_port=config.acceptors > 0,
    )
    return Front(door, in_flight)


def settle(*, first: bool) -> None:
    """Keeps the interpreter from pausing the event loop: what the start made (modules, policies, schemas) lives as long
    as the process and need not be walked by each full collection; requests leave few cycles, so that looking for them
    after every 700 objects finds nothing; and a thread that wants the interpreter while another has it (the log's
    writer encoding records) gets it sooner than after the default 5 ms. ``first``: its threads go before other work,
    where that is allowed. REQUIRES: called on the main thread's event loop."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    asyncio.get_running_loop().set_default_executor(executor())
    if first and not go_first():
        log.info(
            "threads that keep deadlines get no priority (no CAP_SYS_NICE): on saturated cores answers leave later"
        )
