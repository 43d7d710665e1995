"""The run: Floodgate, then each peer with Floodgate beside and after it, then the tables and figures.

A machine's speed drifts within minutes, by a fifth here: a peer's CPU is set against that of a Floodgate on the same
core that takes turns of seconds with it, and its latency against Floodgate's at the same rate right after it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import uvloop
from rich.console import Console
from rich.table import Table

from bench.peers import measure
from bench.peers.load import Check, OpenRun, WrongScore
from bench.peers.machine import cores, end_on_sigterm, precision
from bench.peers.peer import (
    PEERS,
    WRITTEN,
    CannotStart,
    Peer,
    Setup,
    Started,
    floodgate_server,
    peer_server,
)
from bench.peers.pictures import is_same_score, mean_kb, pictures
from bench.peers.sweep import tuned_setup
from bench.report import Report

WARM_S = 1.5
TURN_S = 2.5
TURNS = 4
LATENCY_S = 6.0
GOODPUT_S = 1.5
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0)
STYLES = ("written", "tuned")
_VIEWS = {"written": "exact", "tuned": "fast"}
_DECODE = {"written": "full", "tuned": "draft"}
_OURS = "floodgate"


@dataclass
class Result:
    """One server's figures. ``spent_s``: CPU seconds of the capacity slice by program and thread."""

    name: str
    style: str
    capacity: measure.Capacity
    latency: OpenRun
    goodput: dict[float, OpenRun]
    spent_s: dict[str, float]
    at_rate: dict[str, OpenRun] = field(default_factory=dict)
    over_ours: float = 0.0  # a peer's CPU an image over Floodgate's beside it


def run() -> Report:
    """Runs the benchmark, prints the tables. Raises WrongScore when a server scores a picture wrongly."""
    scale = float(os.environ.get("PEERS_SCALE", "1"))
    only = [name for name in os.environ.get("PEERS_ONLY", "").split(",") if name]
    peers = [peer for peer in PEERS if not only or peer.name in only]
    before = os.sched_getaffinity(0)
    generator, _ = cores()
    os.sched_setaffinity(0, {generator})
    try:
        return uvloop.run(_Comparison(peers, scale).run())
    finally:
        os.sched_setaffinity(0, before)


class _Comparison:
    def __init__(self, peers: Sequence[Peer], scale: float) -> None:
        self._peers = peers
        self._scale = scale
        self._images = pictures()
        self._exact: list[float] = []
        self._core = cores()[1]
        self._results: list[Result] = []
        self._absent: dict[str, str] = {}
        self._our_cpu: dict[str, list[float]] = {style: [] for style in STYLES}

    async def run(self) -> Report:
        end_on_sigterm()
        print(
            f"{len(self._images)} pictures, {mean_kb(self._images):.0f} KB on average; {precision()}, one core a server"
        )
        for style in STYLES:
            async with self._ours(style) as server:
                if not self._exact:
                    self._exact = await measure.check_alone(server.wire, len(self._images))
                await self._measure(_OURS, style, _DECODE[style], server)
            self._our_cpu[style].append(self._of(_OURS, style).capacity.cpu_s_per_1000)
        for peer in self._peers:
            for style in STYLES:
                await self._one_peer(peer, style)
        for name, reason in self._absent.items():
            print(f"{name} could not be run here: {reason}")
        report = Report()
        self._capacities(report)
        self._latencies(report)
        self._goodputs(report)
        self._ratios(report)
        self._profile()
        return report

    # ------------------------------------------------------------------------------------------- measuring

    def _ours(self, style: str) -> AbstractAsyncContextManager[Started]:
        settings = {"FLOODGATE_PRECISION": precision()}
        return floodgate_server(_VIEWS[style], self._core, self._images, settings)

    def _check(self, decode: str) -> Check:
        return lambda which, score: is_same_score(score, self._exact[which], decode)

    async def _one_peer(self, peer: Peer, style: str) -> None:
        name = f"{peer.name}_{style}"
        try:
            setup: Setup = WRITTEN if style == "written" else tuned_setup(peer)
            async with peer_server(peer, setup, self._core, self._images, precision()) as server:
                await self._measure(peer.name, style, setup.decode, server)
            await self._ours_after(self._of(peer.name, style))
        except WrongScore as error:
            raise WrongScore(f"{name}: {error}") from None
        except (CannotStart, OSError, EOFError, KeyError, subprocess.CalledProcessError) as error:
            self._absent[name] = str(error) or type(error).__name__

    async def _measure(self, name: str, style: str, decode: str, server: Started) -> None:
        check, count = self._check(decode), len(self._images)
        alone = await measure.check_alone(server.wire, count)
        if wrong := [which for which, score in enumerate(alone) if not check(which, score)]:
            raise WrongScore(f"pictures {wrong} got {[alone[which] for which in wrong]}")
        load = measure.Loaded(server, check)
        spent = server.tree.cpu_by_program_s()
        if name == _OURS:
            capacity, over_ours = (await self._in_turns([load]))[0], 0.0
        else:
            async with self._ours(style) as own:
                beside = measure.Loaded(own, self._check(_DECODE[style]))
                capacity, ours = await self._in_turns([load, beside])
            self._our_cpu[style].append(ours.cpu_s_per_1000)
            over_ours = capacity.cpu_s_per_1000 / ours.cpu_s_per_1000
        spent = {key: cpu - spent.get(key, 0.0) for key, cpu in server.tree.cpu_by_program_s().items()}
        rate = measure.LATENCY_LOAD * capacity.images_per_s
        latency = await measure.latency(server, count, check, rate=rate, seconds=LATENCY_S * self._scale)
        goodput = await measure.goodput(
            server,
            count,
            check,
            capacity_per_s=capacity.images_per_s,
            seconds=GOODPUT_S * self._scale,
            loads=LOADS,
        )
        self._results.append(Result(name, style, capacity, latency, goodput, spent, over_ours=over_ours))
        beside = f"; {over_ours:.2f} times Floodgate's beside it" if over_ours else ""
        cpu = f"{capacity.cpu_s_per_1000:.2f} CPU s / 1,000"
        print(f"{name} {style}: {capacity.images_per_s:.0f} images/s, {cpu}{beside}")

    async def _in_turns(self, loads: Sequence[measure.Loaded]) -> list[measure.Capacity]:
        turn_s = TURN_S * self._scale
        return await measure.capacities(loads, len(self._images), warm_s=WARM_S, turn_s=turn_s, turns=TURNS)

    async def _ours_after(self, theirs: Result) -> None:
        """Floodgate's latency at 70% of the peer's capacity."""
        style, count = theirs.style, len(self._images)
        ours, check = self._of(_OURS, style), self._check(_DECODE[style])
        async with self._ours(style) as server:
            rate = theirs.latency.rate
            if rate > ours.capacity.images_per_s:
                print(f"70% of {theirs.name} {style} is {rate:.0f} images/s, more than Floodgate's capacity")
            await measure.Loaded(server, check).turn(count, 2 * TURN_S * self._scale)
            ours.at_rate[theirs.name] = await measure.latency(
                server, count, check, rate=rate, seconds=LATENCY_S * self._scale
            )

    def _of(self, name: str, style: str) -> Result:
        return next(result for result in self._results if (result.name, result.style) == (name, style))

    def _theirs(self, style: str) -> list[Result]:
        return [result for result in self._results if result.style == style and result.name != _OURS]

    # ------------------------------------------------------------------------------------------- reporting

    def _capacities(self, report: Report) -> None:
        table = Table("server", "as", "images/s", "CPU s / 1,000", "over ours", "memory MB", box=None, pad_edge=False)
        for result in self._results:
            label = f"{result.name}_{result.style}"
            table.add_row(
                result.name,
                result.style,
                f"{result.capacity.images_per_s:.1f}",
                f"{result.capacity.cpu_s_per_1000:.2f}",
                f"{result.over_ours:.2f}" if result.over_ours else "",
                f"{result.capacity.memory_bytes / 1e6:.0f}",
            )
            report.add(f"cpu_s_per_1000_{label}", result.capacity.cpu_s_per_1000, "CPU s / 1,000 images, whole tree")
            if result.over_ours:
                report.add(f"cpu_over_ours_{label}", result.over_ours, "ratio of CPU an image")
            report.add(f"images_per_s_{label}", result.capacity.images_per_s, "images/s on one core")
            report.add(
                f"memory_mb_{label}", result.capacity.memory_bytes / 1e6, "MB, proportional set size of the tree"
            )
        Console(width=140).print(table)

    def _latencies(self, report: Report) -> None:
        table = Table(
            *(
                "server",
                "as",
                "images/s",
                "p50 ms",
                "p99 ms",
                "p99.9 ms",
                "ours p50",
                "ours p99",
                "ours p99.9",
                "lag p99",
            ),
            box=None,
            pad_edge=False,
            title=f"from intended send, at {measure.LATENCY_LOAD:.0%} of each server's capacity (open loop, Poisson)",
        )
        for result in self._results:
            runs = [result.latency]
            if result.name != _OURS and result.name in self._of(_OURS, result.style).at_rate:
                runs.append(self._of(_OURS, result.style).at_rate[result.name])
            cells = [cell for run in runs for cell in _quantile_cells(run)]
            cells += ["", "", ""] * (2 - len(runs))
            lag = max(measure.lag_p99_ms(run) for run in runs)
            table.add_row(result.name, result.style, f"{result.latency.rate:.1f}", *cells, f"{lag:.2f}")
            label = f"{result.name}_{result.style}"
            if not result.latency.void:
                for share, value in zip(("p50", "p99", "p999"), measure.quantiles_ms(result.latency), strict=True):
                    report.add(f"{share}_ms_{label}", value, "ms from intended send at 70% of its capacity")
            if len(runs) == 2 and not any(run.void for run in runs):
                theirs, ours = (measure.quantiles_ms(run)[1] for run in runs)
                report.add(f"p99_ours_over_peer_{label}", ours / theirs, "ratio of p99 at the same rate")
        Console(width=140).print(table)
        voided = sum(run.void for result in self._results for run in (result.latency, *result.at_rate.values()))
        report.add("void_latency_runs", voided, "runs in which the generator's lag was above 1 ms at p99")
        if voided:
            print(
                f"{voided} latency runs are void: the generator was late by more than 1 ms at p99; they give no figure"
            )

    def _goodputs(self, report: Report) -> None:
        columns = [f"{load:g}x" for load in LOADS]
        table = Table(
            *("server", "as", "capacity", *columns, "worst / best"),
            box=None,
            pad_edge=False,
            title=f"goodput: images/s answered within {1000 * measure.SLO_S:.0f} ms of the intended send",
        )
        for result in self._results:
            good = {load: run.goodput(measure.SLO_S) for load, run in result.goodput.items()}
            void = [load for load, run in result.goodput.items() if run.void]
            cells = [f"{good[load]:.0f}{' void' if load in void else ''}" for load in LOADS]
            best = max(good.values())
            share = min(good[load] for load in LOADS if load >= 1) / best if best else 0.0
            table.add_row(result.name, result.style, f"{result.capacity.images_per_s:.0f}", *cells, f"{share:.2f}")
            for load in LOADS:
                if load not in void:
                    label = f"{result.name}_{result.style}_{f'{load:g}'.replace('.', '_')}x"
                    report.add(f"goodput_{label}", good[load], "images/s within the SLO")
        Console(width=140).print(table)

    def _ratios(self, report: Report) -> None:
        for style in STYLES:
            theirs = self._theirs(style)
            if not theirs:
                continue
            best = min(theirs, key=lambda result: result.over_ours)
            ratio, ours = best.over_ours, self._our_cpu[style]
            report.add(f"cpu_best_{style}_peer_over_ours", ratio, f"ratio of CPU an image; the best was {best.name}")
            report.add(f"cpu_s_per_1000_floodgate_{style}_least", min(ours), f"of {len(ours)} runs")
            report.add(f"cpu_s_per_1000_floodgate_{style}_most", max(ours), f"of {len(ours)} runs")
            word = "less" if ratio >= 1 else "MORE"
            print(
                f"Floodgate takes {word} CPU than the best {style} peer ({best.name}): theirs over ours is {ratio:.2f}"
            )

    def _profile(self) -> None:
        for style in STYLES:
            best = min(self._theirs(style), key=lambda result: result.over_ours, default=None)
            for result in filter(None, (self._of(_OURS, style), best)):
                print(f"where the CPU of {result.name} {style} went:")
                total = sum(result.spent_s.values())
                for key, cpu in sorted(result.spent_s.items(), key=lambda each: -each[1])[:7]:
                    if total and cpu / total >= 0.01:
                        print(f"  {cpu / total:5.1%}  {key}")


def _quantile_cells(run: OpenRun) -> list[str]:
    if run.void:
        return ["void", "void", "void"]
    return [f"{value:.1f}" for value in measure.quantiles_ms(run)]
