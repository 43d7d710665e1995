"""One sending process: leaves at the scheduled moments, whatever was answered.

The main thread sleeps until shortly before each intended moment, spins for the rest and starts the call, which hands
the bytes to gRPC before it returns; gRPC's own thread takes the answers. One more call, which never begins, is held
open meanwhile: gRPC starts that thread anew whenever no call is under way, which costs a slow load a third of a
millisecond each time. grpc.aio was not used because its event loops wake on whole milliseconds, which is the lag that
voids a run. Messages are serialised beforehand, answers are kept as bytes and read after the run, and nothing is
garbage-collected meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from bench.load.traffic import Traffic

_PATIENCE_S = 5.0
# What a sleeper may wake late on an idle machine.
_SPIN_NS = 300_000
_SWITCH_INTERVAL_S = 0.0002
_NICENESS = -10


@dataclass(frozen=True)
class Share:
    """What one process sends: ``intended_ns`` after the start, ``flow`` and ``payload`` by index; equal lengths."""

    intended_ns: npt.NDArray[np.int64]
    flow: npt.NDArray[np.int32]
    payload: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Sent:
    """What became of a share, in its order. Times in ns of CLOCK_MONOTONIC. ``status``: gRPC's number. ``answers``: the
    message of status OK, else b""."""

    sent_ns: npt.NDArray[np.int64]
    answered_ns: npt.NDArray[np.int64]
    status: npt.NDArray[np.int32]
    answers: list[bytes]


def send(traffic: Traffic, share: Share, start_ns: int) -> Sent:
    """Sends ``share``; its moments count from ``start_ns`` (CLOCK_MONOTONIC). Returns once every call has ended. Raises
    ConnectionError when nobody listens at the target, TimeoutError when a call did not end long after its deadline."""
    _quicken()
    with grpc.insecure_channel(traffic.target, options=traffic.channel_options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=traffic.connect_s)
        except grpc.FutureTimeoutError:
            raise ConnectionError(f"nobody answers at {traffic.target}") from None
        if time.monotonic_ns() > start_ns:
            raise TimeoutError("the load was to start before its sender was connected")
        with _held_open(channel, traffic.flows[0].method):
            return _Loop(traffic, share, start_ns, channel).run()


@contextlib.contextmanager
def _held_open(channel: grpc.Channel, method: str) -> Iterator[None]:
    """A call whose only message does not come: the server has nothing to do for it."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield from ()

    call = channel.stream_unary(method, None, None).future(nothing())
    try:
        yield
    finally:
        call.cancel()
        over.set()


def _quicken() -> None:
    """Fewer pauses; and, where allowed, the processor before the server that is measured gets it, since a generator
    that shares its cores must not be what is slow."""
    gc.collect()
    gc.disable()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)


class _Loop:
    def __init__(self, traffic: Traffic, share: Share, start_ns: int, channel: grpc.Channel) -> None:
        self._flows = traffic.flows
        self._calls = [channel.unary_unary(flow.method, None, None) for flow in traffic.flows]
        self._share = share
        self._start_ns = start_ns
        count = len(share.intended_ns)
        self._sent_ns = [0] * count
        self._answered_ns = [0] * count
        self._status = [0] * count
        self._answers = [b""] * count
        self._open = count
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def run(self) -> Sent:
        share = self._share
        due = zip(share.intended_ns.tolist(), share.flow.tolist(), share.payload.tolist(), strict=True)
        for number, (after_ns, flow, payload) in enumerate(due):
            intended_ns = self._start_ns + after_ns
            _sleep_until(intended_ns)
            timeout_s = self._flows[flow].deadline_ms / 1e3
            call = self._calls[flow].future(self._flows[flow].payloads[payload], timeout=timeout_s)
            self._sent_ns[number] = time.monotonic_ns()
            call.add_done_callback(self._ender(number))
        if not self._open:
            self._ended.set()
        longest_s = max(flow.deadline_ms for flow in self._flows) / 1e3 + _PATIENCE_S
        if not self._ended.wait(longest_s):
            raise TimeoutError(f"{self._open} calls did not end within {_PATIENCE_S:g} s of their deadlines")
        return Sent(
            np.array(self._sent_ns, np.int64),
            np.array(self._answered_ns, np.int64),
            np.array(self._status, np.int32),
            self._answers,
        )

    def _ender(self, number: int) -> Callable[[grpc.Future], None]:
        def end(call: grpc.Future) -> None:
            self._answered_ns[number] = time.monotonic_ns()
            code = call.code()
            self._status[number] = code.value[0]
            if code is grpc.StatusCode.OK:
                self._answers[number] = call.result()
            with self._lock:
                self._open -= 1
                if not self._open:
                    self._ended.set()

        return end


def _sleep_until(moment_ns: int) -> None:
    left_ns = moment_ns - time.monotonic_ns()
    if left_ns > _SPIN_NS:
        time.sleep((left_ns - _SPIN_NS) / 1e9)
    while time.monotonic_ns() < moment_ns:
        pass
