"""``floodgate serve``: everything put together, run until SIGTERM or SIGINT, then drained."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from floodgate import __version__
from floodgate.cli import settings
from floodgate.cli.moderate import read_files
from floodgate.cli.run_dir import own_run_dir
from floodgate.cli.table import Row, show
from floodgate.client import AsyncClient, build_request
from floodgate.config import Config, split_cores
from floodgate.core import Core, CoreOptions, preprocessing_digest
from floodgate.decision import DecisionLog
from floodgate.errors import ConfigError, FloodgateError, ModelError, StartupError
from floodgate.models import list_heads, verify
from floodgate.pipeline import Pipeline, PolicySet
from floodgate.policy import load_policy
from floodgate.triton.backend import TritonBackend, connect_remote, embedded
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.install import locate
from floodgate.triton.process import ServerOptions
from floodgate.triton.repository import load_heads
from floodgate.wire.admission import InFlight
from floodgate.wire.metrics import Metrics
from floodgate.wire.server import DoorServer, MetricsEndpoint
from floodgate.wire.service import ModerationService, ServiceOptions

log = logging.getLogger(__name__)

_HEALTH_EVERY_S = 0.25
_SWITCH_INTERVAL_S = 0.0005


def command(
    config: settings.ConfigOption = None,
    address: Annotated[str | None, typer.Option(help="HOST:PORT to listen on; port 0 picks a free one.")] = None,
    metrics_address: Annotated[str | None, typer.Option(help="HOST:PORT of /metrics; empty: none.")] = None,
    precision: Annotated[str | None, typer.Option(help="CPU inference: auto, f32 or bf16.")] = None,
    policy: Annotated[Path | None, typer.Option(help="The active policy file.")] = None,
    examples: Annotated[Path | None, typer.Option(help="Moderate the files of this folder once serving.")] = None,
    once: Annotated[bool, typer.Option("--once", help="With --examples: exit after them.")] = False,
) -> None:
    """Serves the Moderation API. SIGTERM drains and exits 0; SIGHUP reads the policies again and reopens the log."""
    if examples is not None:
        example_files(examples)  # a wrong folder is said before anything starts
    chosen = settings.read(
        config,
        address=address,
        metrics_address=metrics_address,
        precision=precision,
        policy=str(policy) if policy else None,
    )
    code = run(_serve(chosen, examples, once), chosen.uvloop)
    if code:
        raise typer.Exit(code)


def run(main: Coroutine[Any, Any, int], use_uvloop: bool) -> int:
    """Runs the server's coroutine on the chosen event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if use_uvloop else None) as runner:
        return runner.run(main)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes requests."""

    door: DoorServer
    backend: TritonBackend
    core: Core
    policies: PolicySet
    records: DecisionLog
    metrics: Metrics
    metrics_port: int


def say(line: str) -> None:
    """One line of progress for whoever started the server."""
    print(f"==> {line}", flush=True)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """Starts everything in order, yields the running server, and takes it down in reverse: the door first, so that
    every accepted request is answered before what answers it goes. Raises StartupError or Unavailable."""
    heads = load_heads(config.model_repository, config.heads)
    if unfit := [finding.message for finding in verify(config.model_repository, config.heads) if not finding.servable]:
        raise ModelError("\n".join(unfit))
    configured = {head.name: head.labels for head in heads}
    known = {card.name: card.labels for card in list_heads(config.model_repository)}
    policies = PolicySet(
        config.policy,
        config.pinned_policies,
        lambda path: load_policy(path, config.taxonomy, configured, known),
    )
    ensembles = build_ensembles(heads)
    workers, threads = split_cores(config)
    say(f"policy {policies.active.id.name} {policies.active.id.revision}; heads {', '.join(config.heads)}")
    async with AsyncExitStack() as stack:
        records = DecisionLog(config.decision_log, report=log.warning)
        stack.callback(records.close)
        metrics = Metrics()
        backend = _backend(config, threads, stack)
        where = f"Triton at {config.triton.address}" if config.triton.address else "an embedded Triton"
        say(f"starting {where}: {workers} decode workers, {threads} inference threads")
        core = Core(_core_options(config, workers), backend)
        stack.push_async_callback(core.close)
        stack.push_async_callback(backend.close)
        await core.configure(ensembles)
        say("models ready: " + ", ".join(f"{ensemble.name}" for ensemble in ensembles))
        pipeline = Pipeline(
            core=core,
            backend=backend,
            policies=policies,
            ensembles=ensembles,
            records=records,
            server_version=__version__,
            preprocessing_digest=preprocessing_digest(ensembles),
        )
        in_flight = InFlight(config.limits.requests_in_flight, config.limits.bytes_in_flight)
        metrics.watch(in_flight, core.stats, backend.describe, lambda: asdict(records.stats()))
        metrics_port = 0
        if config.metrics_address:
            endpoint = MetricsEndpoint(metrics.registry, config.metrics_address)
            stack.callback(endpoint.close)
            metrics_port = endpoint.port
        options = ServiceOptions(
            limits=config.limits,
            rights=config.callers["default"],
            answer_margin_ns=int(config.answer_margin_ms * 1e6),
            default_budget_ns=int(config.default_budget_ms * 1e6),
        )
        service = ModerationService(pipeline.moderate, in_flight, metrics, options)
        door = DoorServer(service, in_flight, address=config.address, message_bytes=config.limits.message_bytes)
        await door.start()
        health = asyncio.create_task(_publish_health(door, backend))
        stack.callback(health.cancel)
        await door.set_serving(backend.ready())
        try:
            yield Running(door, backend, core, policies, records, metrics, metrics_port)
        finally:
            await door.drain(config.drain_s)


async def _publish_health(door: DoorServer, backend: TritonBackend) -> None:
    while True:
        await door.set_serving(backend.ready())
        await asyncio.sleep(_HEALTH_EVERY_S)


def _backend(config: Config, threads: int, stack: AsyncExitStack) -> TritonBackend:
    if config.triton.address:
        return connect_remote(config.triton.address, memory=config.triton.memory)
    install = locate(config.state_dir)
    if install is None:
        raise StartupError(f"there is no Triton under {config.state_dir}; run: floodgate triton install")
    options = ServerOptions(
        run_dir=stack.enter_context(own_run_dir(config.state_dir / "run")),
        threads=threads,
        precision=config.precision,
        liveness_timeout_s=config.triton.liveness_s,
    )
    return embedded(install, options, config.model_repository, memory=config.triton.memory)


def _core_options(config: Config, workers: int) -> CoreOptions:
    core, limits = config.core, config.limits
    return CoreOptions(
        decode_workers=workers,
        arena_bytes=core.arena_bytes,
        queue_rows=core.queue_rows,
        buffers=core.buffers,
        credit=core.credit,
        quarantine=core.quarantine,
        max_batch=core.max_batch,
        image_bytes=limits.image_bytes,
        pixels=limits.pixels,
        side_px=limits.side_px,
        text_bytes=limits.text_bytes,
    )


async def _serve(config: Config, examples: Path | None, once: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        server = await _start(stack, config, stop)
        if server is None:
            say("stopped before it served")
            return 0
        loop.add_signal_handler(signal.SIGHUP, _reload, server)
        _settle()
        host = _host(config.address)
        metrics = f"; metrics at http://{_host(config.metrics_address)}:{server.metrics_port}/metrics"
        metrics = metrics if server.metrics_port else ""
        say(f"serving floodgate.v1.Moderation on {host}:{server.door.port}{metrics}")
        code = 0
        if examples is not None:
            code = await _moderate_examples(f"{host}:{server.door.port}", examples)
        if not (examples is not None and once):
            if examples is not None:
                say("press Ctrl-C to stop")
            await stop.wait()
        say("draining: new requests are refused, accepted ones are answered")
    say("stopped")
    return code


def _settle() -> None:
    """Keeps the interpreter from pausing the event loop: what the start made (modules, policies, schemas) lives as long
    as the process and need not be walked by each full collection, and a thread that wants the interpreter while another
    has it (the log's writer encoding records) gets it sooner than after the default 5 ms."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


async def _start(stack: AsyncExitStack, config: Config, stop: asyncio.Event) -> Running | None:
    """The running server, which ends with ``stack``; None when ``stop`` was set before it ran. Models can take minutes
    to load, and whoever stops the server meanwhile need not wait for them."""
    starting = asyncio.ensure_future(stack.enter_async_context(running(config)))
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        return starting.result()
    starting.cancel()
    await asyncio.wait({starting})
    return None


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _reload(server: Running) -> None:
    server.records.reopen()
    try:
        server.policies.reload()
    except StartupError as error:
        server.metrics.reloaded("refused")
        log.error("SIGHUP: the policies stay as they were, because the new ones were refused:\n%s", error)
    else:
        server.metrics.reloaded("taken")
        log.info("SIGHUP: policy %s is active", server.policies.active.id.revision)


async def _moderate_examples(target: str, folder: Path) -> int:
    """Judges a folder's files through real gRPC and prints a table. 0 when each got a decision."""
    say(f"moderating the examples in {folder}/ through gRPC")
    named = read_files(example_files(folder))
    rows = []
    async with AsyncClient(target) as client:
        for name, part in named:
            request = build_request(parts=[part], content_id=name[:60], trace=True)
            try:
                rows.append(Row(name, await client.send(request, timeout=30.0), None))
            except FloodgateError as error:
                rows.append(Row(name, None, error))
    show(rows)
    failed = sum(row.decision is None for row in rows)
    if failed:
        print(f"{failed} of {len(rows)} examples got no decision", file=sys.stderr)
    return 1 if failed else 0


def example_files(folder: Path) -> list[Path]:
    """The files of a folder but for its notes, by name. Raises ConfigError when it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix != ".md" and path.is_file())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None
