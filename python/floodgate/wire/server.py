"""The gRPC server: the Moderation service, health checking, reflection and the metrics endpoint, started and
drained."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from prometheus_client import CollectorRegistry, start_http_server

from floodgate.errors import ConfigError
from floodgate.wire.admission import InFlight
from floodgate.wire.envelope import keep_message_memory
from floodgate.wire.rpc import RpcServer
from floodgate.wire.service import SERVICE, ModerationService

log = logging.getLogger(__name__)

_LAST_CALLS_S = 5.0
_FAREWELL_S = 2.0
_PUBLISH_S = 1.0
_ROOM_BYTES = 64 << 20
_INT32_MAX = (1 << 31) - 1


class DoorServer:
    """Listens; owns nothing behind the door.

    ``start`` binds (``port`` is then the real one), ``set_serving`` follows the inference server's health,
    ``drain`` refuses new items, waits for those in flight and closes.
    """

    def __init__(
        self,
        service: ModerationService,
        in_flight: InFlight,
        *,
        address: str,
        message_bytes: int,
        share_port: bool = False,
    ) -> None:
        """``share_port``: other processes may listen there too; the kernel deals connections out among them."""
        self._in_flight = in_flight
        self._address = address
        self._serving = False
        self.port = 0
        keep_message_memory()
        # Above our own limit, so that a message somewhat over it gets a sentence rather than gRPC's code.
        most_bytes = min(message_bytes + max(message_bytes, _ROOM_BYTES), _INT32_MAX)
        # Uploads that stall must not take the memory: as many bytes may be on their way in as may be inside.
        self._server = RpcServer(
            message_bytes=most_bytes, receiving_bytes=max(in_flight.max_bytes, most_bytes), share_port=share_port
        )
        self._server.add_registered_method_handlers(SERVICE, service.handlers())
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(names), self._server
        )

    async def start(self) -> None:
        """Binds and serves. Raises ConfigError when the address cannot be had."""
        await self._publish(False)
        try:
            self.port = await self._server.listen(self._address)
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._address}: {error.strerror}") from None

    async def set_serving(self, serving: bool) -> None:
        """Publishes health: SERVING or NOT_SERVING, for the server as a whole and for the service."""
        if serving != self._serving and not self._in_flight.closed:
            await self._publish(serving)

    async def _publish(self, serving: bool) -> None:
        self._serving = serving
        status = health_pb2.HealthCheckResponse
        value = status.SERVING if serving else status.NOT_SERVING
        for name in ("", SERVICE):
            try:
                await asyncio.wait_for(self._health.set(name, value), _PUBLISH_S)
            except TimeoutError:
                log.warning(
                    "health could not be published within %.0f s: a client that watches does not read", _PUBLISH_S
                )

    async def drain(self, grace_s: float) -> bool:
        """Refuses new items with UNAVAILABLE, waits for the others up to ``grace_s``, gives streams a few seconds to be
        ended by their clients, closes. False: some items were cut off."""
        self._in_flight.close()
        await self._publish(False)
        finished = True
        try:
            await asyncio.wait_for(self._in_flight.idle(), grace_s)
        except TimeoutError:
            finished = False
            log.warning("drain: %d items did not finish within %.0f s", self._in_flight.items, grace_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._in_flight.even(), _LAST_CALLS_S if finished else 0)
        if not await self._server.hang_up(_FAREWELL_S):
            log.warning("drain: some clients held on to their connections for %.0f s", _FAREWELL_S)
        return finished


class MetricsEndpoint:
    """GET /metrics in Prometheus's text format, on a thread of its own."""

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            started: tuple[WSGIServer, Thread] = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise ConfigError(f"cannot serve metrics on {address}: {error.strerror}") from None
        self._http, self._thread = started
        self.port: int = self._http.server_port

    def close(self) -> None:
        """Stops serving."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsEndpoint:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
