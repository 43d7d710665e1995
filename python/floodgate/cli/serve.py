"""``floodgate serve``: everything put together, run until SIGTERM or SIGINT, then drained."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from prometheus_client import CollectorRegistry

from floodgate import __version__
from floodgate.acceptor.control import Handover
from floodgate.acceptor.fleet import Fleet
from floodgate.acceptor.front import build_front, settle
from floodgate.acceptor.urgency import JoiningRegistry
from floodgate.cli import settings
from floodgate.cli.media import media_options, require_small_views
from floodgate.cli.moderate import read_files
from floodgate.cli.run_dir import own_run_dir
from floodgate.cli.served import check_files, is_triton_here, on_tensorrt, served_heads
from floodgate.cli.table import Row, show
from floodgate.client import AsyncClient, build_request
from floodgate.config import ARENA_RESERVE, Config
from floodgate.core import Core, CoreOptions
from floodgate.cores import CoreSplit, split_cores
from floodgate.decision import DecisionLog
from floodgate.errors import ConfigError, FloodgateError, ModelError, StartupError
from floodgate.media import MediaOptions, preprocessing_digest
from floodgate.models import list_heads
from floodgate.pipeline import Policies, PolicySet
from floodgate.policy import load_policy
from floodgate.triton.backend import TritonBackend
from floodgate.triton.backends import connect_remote, embedded
from floodgate.triton.ensemble import build_ensembles
from floodgate.triton.install import locate
from floodgate.triton.process import ServerOptions
from floodgate.types import HeadSpec, Lane
from floodgate.wire.metrics import Metrics
from floodgate.wire.server import DoorServer, MetricsEndpoint

log = logging.getLogger(__name__)

_HEALTH_EVERY_S = 0.25
_READINESS_EVERY_S = 0.05


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
    """A server that takes requests on ``port``. ``reopen_log`` and ``spread`` reach every process that answers them:
    the latter after ``policies`` were read again."""

    port: int
    policies: PolicySet
    metrics: Metrics
    metrics_port: int
    reopen_log: Callable[[], None]
    spread: Callable[[Policies], None]


def say(line: str) -> None:
    """One line of progress for whoever started the server."""
    print(f"==> {line}", flush=True)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """Starts everything in order, yields the running server, and takes it down in reverse: the door first, so that
    every accepted request is answered before what answers it goes. Raises StartupError or Unavailable."""
    heads = served_heads(config)
    findings = check_files(config, heads, on_this_machine=is_triton_here(config))
    if unfit := [finding.message for finding in findings if not finding.servable]:
        raise ModelError("\n".join(unfit))
    media = media_options(config)
    require_small_views(heads, media.decode_min)
    configured = {head.name: head.labels for head in heads}
    known = {card.name: card.labels for card in list_heads(config.model_repository)}
    policies = PolicySet(
        config.policy,
        config.pinned_policies,
        lambda path: load_policy(path, config.taxonomy, configured, known),
    )
    ensembles = build_ensembles(heads)
    split = split_cores(config)
    say(f"policy {policies.active.id.name} {policies.active.id.revision}; heads {_names(heads)}")
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        backend = _backend(config, heads, split.inference_threads, stack)
        where = f"Triton at {config.triton.address}" if config.triton.address else "an embedded Triton"
        decoding = f"{split.decode_workers} decode workers{'' if media.decoder else ' on threads'}"
        acceptors = f"{config.acceptors} acceptors, " if config.acceptors else ""
        say(f"starting {where}: {acceptors}{decoding}, {split.inference_threads} inference threads")
        options = core_options(config, split, media)
        core = Core(options, backend)
        stack.push_async_callback(core.close)
        stack.push_async_callback(backend.close)
        await core.configure(ensembles)
        say("models ready: " + ", ".join(f"{ensemble.name}" for ensemble in ensembles))
        digest = preprocessing_digest(ensembles, media.decode_min, core.device_decoder)
        if config.acceptors:
            handover = Handover(config, options, tuple(ensembles), policies.copy(), digest, config.acceptor_arena_bytes)
            yield await _behind_acceptors(stack, core, backend, handover, policies, metrics)
            return
        records = DecisionLog(config.decision_log, report=log.warning)
        stack.callback(records.close)
        front = build_front(
            config,
            core=core,
            backend=backend,
            policies=policies,
            ensembles=ensembles,
            preprocessing_digest=digest,
            records=records,
            metrics=metrics,
        )
        metrics.watch_door(front.in_flight)
        metrics.watch(core.stats, backend.describe, lambda: asdict(records.stats()), lambda: _versions(policies))
        metrics_port = _serve_metrics(stack, metrics.registry, config)
        door = front.door
        await door.start()
        health = asyncio.create_task(_publish_health(door, backend))
        stack.callback(health.cancel)
        await door.set_serving(backend.ready())
        try:
            yield Running(door.port, policies, metrics, metrics_port, records.reopen, lambda _: None)
        finally:
            await door.drain(config.drain_s)


async def _behind_acceptors(
    stack: AsyncExitStack,
    core: Core,
    backend: TritonBackend,
    handover: Handover,
    policies: PolicySet,
    metrics: Metrics,
) -> Running:
    """Has acceptors take the requests, until ``stack`` ends."""
    fleet = Fleet(core, handover)
    readiness = asyncio.create_task(_tell_acceptors(core, backend))
    stack.callback(readiness.cancel)
    metrics.watch(
        lambda: fleet.counts.core(core.stats()), backend.describe, fleet.counts.log, lambda: _versions(policies)
    )
    metrics_port = _serve_metrics(stack, fleet.registry(metrics.registry), handover.config)
    core.acceptors.set_ready(backend.ready())
    await stack.enter_async_context(fleet.running())
    return Running(fleet.port, policies, metrics, metrics_port, fleet.reopen_log, fleet.replace_policies)


async def _tell_acceptors(core: Core, backend: TritonBackend) -> None:
    while True:
        core.acceptors.set_ready(backend.ready())
        await asyncio.sleep(_READINESS_EVERY_S)


def _serve_metrics(stack: AsyncExitStack, registry: CollectorRegistry, config: Config) -> int:
    """The port of /metrics; 0: nowhere."""
    if not config.metrics_address:
        return 0
    endpoint = MetricsEndpoint(JoiningRegistry(registry), config.metrics_address)
    stack.callback(endpoint.close)
    return endpoint.port


def _versions(policies: PolicySet) -> dict[str, str]:
    active = policies.active.id
    return {"version": __version__, "policy": active.name, "revision": active.revision}


async def _publish_health(door: DoorServer, backend: TritonBackend) -> None:
    while True:
        await door.set_serving(backend.ready())
        await asyncio.sleep(_HEALTH_EVERY_S)


def _names(heads: Sequence[HeadSpec]) -> str:
    """The heads, each with its platform where that is not the CPU."""
    return ", ".join(head.name + (f" ({head.config_name})" if head.config_name else "") for head in heads)


def _backend(config: Config, heads: tuple[HeadSpec, ...], threads: int, stack: AsyncExitStack) -> TritonBackend:
    if config.triton.address:
        return connect_remote(config.triton.address, memory=config.triton.memory)
    if needy := on_tensorrt(heads):
        raise StartupError(
            f"{', '.join(needy)} is to run on tensorrt, and the embedded Triton has no TensorRT back end; run NVIDIA's "
            "Triton (`floodgate triton serve`) and give its gRPC port as triton.address"
        )
    install = locate(config.state_dir)
    if install is None:
        raise StartupError(f"there is no Triton under {config.state_dir}; run: floodgate triton install")
    options = ServerOptions(
        run_dir=stack.enter_context(own_run_dir(config.state_dir / "run")),
        threads=threads,
        precision=config.precision,
        liveness_timeout_s=config.triton.liveness_s,
    )
    return embedded(
        install,
        options,
        config.model_repository,
        memory=config.triton.memory,
    )


def core_options(config: Config, split: CoreSplit, media: MediaOptions) -> CoreOptions:
    """What ``config`` says of the core, which decodes on its share of the cores."""
    core = config.core
    return CoreOptions(
        decode_workers=split.decode_workers,
        # Acceptors copy what they take into arenas of their own; here texts alone are copied then.
        arena_bytes=max(2 * config.limits.text_bytes, core.arena_bytes // 8) if config.acceptors else core.arena_bytes,
        queue_rows=core.queue_rows,
        max_wait_s=core.max_wait_s,
        lane_floors={Lane[name.upper()]: floor for name, floor in core.lane_floors.model_dump().items()},
        buffers=core.buffers,
        credit=core.credit,
        quarantine=core.quarantine,
        max_batch=core.max_batch,
        live_reserve=ARENA_RESERVE,
        text_bytes=config.limits.text_bytes,
        media=media,
        acceptors=config.acceptors,
        acceptor_arena_bytes=config.acceptor_arena_bytes if config.acceptors else 0,
        shares_cores=split.is_shared and not config.triton.address,
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
        reloads: set[asyncio.Task[None]] = set()

        def hang_up() -> None:
            reload = loop.create_task(_reload(server))
            reloads.add(reload)
            reload.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        settle(first=config.go_first)
        host = _host(config.address)
        metrics = f"; metrics at http://{_host(config.metrics_address)}:{server.metrics_port}/metrics"
        metrics = metrics if server.metrics_port else ""
        say(f"serving floodgate.v1.Moderation on {host}:{server.port}{metrics}")
        code = 0
        if examples is not None:
            code = await _moderate_examples(f"{host}:{server.port}", examples)
        if not (examples is not None and once):
            if examples is not None:
                say("press Ctrl-C to stop")
            await stop.wait()
        say("draining: new requests are refused, accepted ones are answered")
    say("stopped")
    return code


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


async def _reload(server: Running) -> None:
    server.reopen_log()
    try:
        await server.policies.reload()
    except StartupError as error:
        server.metrics.reloaded("refused")
        log.error("SIGHUP: the policies stay as they were, because the new ones were refused:\n%s", error)
    else:
        server.spread(server.policies)
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
