"""What the scheduler's rules would do under loads that no machine here can make; nothing real is timed.

A discrete-event simulation (``bench/simulator/``) drives the scheduler's own pure rules (admission, lane shares, batch
rule, service fit) and, beside them, a batcher of fixed windows as commonly built: first come, first served, a batch
when it is full or its oldest row has waited for 5 ms. Arrivals are Poisson, bursty (four fifths of the work within a
fifth of each second) or diurnal; a device serves n rows in ``a + b n`` ms give or take 5%. *Good*: answered within the
deadline. Then lanes, two ensembles on one device and on two, and a device that stands still. Another setting:
``build/release/simulator rate=… live=… a_ms=…`` (see its first lines).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.report import ROOT, Report

PROGRAM = ROOT / "build" / "release" / "simulator"
SECONDS = 20.0
A_MS, B_MS, BATCH = 4.0, 1.0, 32
CAPACITY = 1000 * BATCH / (A_MS + B_MS * BATCH)  # rows/s in full batches
LOADS = (0.5, 0.9, 1.2, 1.5, 2.0, 3.0)
LANES = {"live": 0.4, "standard": 0.4, "bulk": 0.2}  # shares of the arrivals at 1.5 times the capacity
FLOOR_OF_BULK = 0.05
# LIVE at 1.2 times what one device takes, for the first ensemble; STANDARD at half of it, for the second; in bursts.
TWO_ENSEMBLES = {"live": 1.2 / 1.7, "standard": 0.5 / 1.7, "second_standard": 1.0}
STALL = {"stall_at_s": 15.0, "stall_ms": 2000.0}


@dataclass(frozen=True)
class Outcome:
    """Counts by lane; see the simulator's output."""

    offered: dict[str, int]
    refused: dict[str, int]
    in_time: dict[str, int]
    rows_a_batch: float
    p50_ms: float
    p99_ms: float
    guards: dict[str, float]

    @property
    def good_per_s(self) -> float:
        return sum(self.in_time.values()) / SECONDS

    @property
    def kept(self) -> float:
        """Of what was accepted, the share that was answered in time."""
        return sum(self.in_time.values()) / max(1, sum(self.offered.values()) - sum(self.refused.values()))


def run() -> Report:
    """Builds the simulator, runs it, prints the tables."""
    _build()
    report = Report()
    for arrivals in ("poisson", "bursty", "diurnal"):
        table = Table(
            "load", "good/s", "of capacity", "accepted in time", "p99 ms", "window: good/s", "p99 ms", box=None
        )
        for load in LOADS:
            ours, window = (_simulate(policy, arrivals, load * CAPACITY) for policy in ("floodgate", "window"))
            table.add_row(
                f"{load:g}x",
                f"{ours.good_per_s:.0f}",
                f"{ours.good_per_s / CAPACITY:.1%}",
                f"{ours.kept:.2%}",
                f"{ours.p99_ms:.0f}",
                f"{window.good_per_s:.0f}",
                f"{window.p99_ms:.0f}",
            )
            if load >= 2:
                name = f"{arrivals}_{load:g}x"
                report.add(f"simulated_good_{name}", ours.good_per_s / CAPACITY, "of the capacity, simulated")
                report.add(f"simulated_accepted_in_time_{name}", ours.kept, "share, simulated")
        Console().print(f"\n{arrivals} arrivals, capacity {CAPACITY:.0f} rows/s (simulated)")
        Console().print(table)
    _lanes(report)
    _devices(report)
    _standstill(report)
    large = _simulate("floodgate", "poisson", 100_000, a_ms=0.5, b_ms=0.008, batch=256, workers=16)
    report.add("simulated_good_per_s_at_100k", large.good_per_s, "rows/s in time of 100,000/s, simulated")
    return report


def _lanes(report: Report) -> None:
    table = Table("lane", "offered/s", "good/s", "good", "refused", box=None)
    outcome = _simulate("floodgate", "poisson", 1.5 * CAPACITY, **LANES)
    for lane, offered in outcome.offered.items():
        good = outcome.in_time[lane]
        share = good / offered
        table.add_row(
            lane, f"{offered / SECONDS:.0f}", f"{good / SECONDS:.0f}", f"{share:.2%}", f"{outcome.refused[lane]}"
        )
        report.add(f"simulated_{lane.lower()}_in_time_1_5x", share, "share, simulated")
    floor = outcome.in_time["BULK"] / SECONDS / (FLOOR_OF_BULK * CAPACITY)
    report.add("simulated_bulk_over_floor_1_5x", floor, "BULK's goodput over its floor, simulated")
    Console().print("\nall lanes at 1.5x (simulated)")
    Console().print(table)


def _devices(report: Report) -> None:
    table = Table("two ensembles", "LIVE good/s", "accepted in time", "STANDARD good", box=None)
    for name, figure, settings in (
        ("each on its own device", "own_device", {"devices": 2.0}),
        ("the same, told that they share one", "own_device_not_told", {"devices": 2.0, "declared_devices": 1.0}),
        ("on one device", "shared_device", {"devices": 1.0}),
    ):
        outcome = _simulate("floodgate", "bursty", 1.7 * CAPACITY, **TWO_ENSEMBLES, **settings)
        good = outcome.in_time["STANDARD"] / outcome.offered["STANDARD"]
        table.add_row(name, f"{outcome.in_time['LIVE'] / SECONDS:.0f}", f"{outcome.kept:.2%}", f"{good:.2%}")
        report.add(f"simulated_standard_in_time_{figure}", good, "share, LIVE at 1.2x of one device, simulated")
        report.add(f"simulated_accepted_in_time_{figure}", outcome.kept, "share, simulated")
    Console().print("\nLIVE at 1.2x for one ensemble, STANDARD at 0.5x for another, in bursts (simulated)")
    Console().print(table)


def _standstill(report: Report) -> None:
    calm, outcome = (_simulate("floodgate", "poisson", 0.9 * CAPACITY, **stall) for stall in ({}, STALL))
    guard = outcome.guards["STANDARD"]
    lost = (calm.good_per_s - outcome.good_per_s) * SECONDS / (0.9 * CAPACITY)
    print(f"\na standstill of 2 s (simulated): goodput of {lost:.2f} s is lost, guard {guard:.2f} 3 s after it")
    report.add("simulated_s_lost_to_standstill", lost, "s of goodput lost to a standstill of 2 s, simulated")
    report.add("simulated_guard_after_standstill", guard, "lane guard 3 s after it, at most 2, simulated")


def _simulate(policy: str, arrivals: str, rate: float, **settings: float) -> Outcome:
    numbers = {"rate": rate, "seconds": SECONDS, "a_ms": A_MS, "b_ms": B_MS, "batch": BATCH, **settings}
    words = [f"policy={policy}", f"arrivals={arrivals}", *(f"{key}={value}" for key, value in numbers.items())]
    answer = json.loads(subprocess.run([PROGRAM, *words], check=True, capture_output=True, text=True).stdout)
    return Outcome(**{name: answer[name] for name in Outcome.__dataclass_fields__})


def _build() -> None:
    configure = ["cmake", "--preset", "release", "-DFLOODGATE_BIND=OFF"]
    for command in (configure, ["cmake", "--build", "--preset", "release", "--target", "simulator", "-j2"]):
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
