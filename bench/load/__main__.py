"""The command: an open-loop load of Moderate calls on a running server, and a table of what came back."""

from __future__ import annotations

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from bench.load.arrivals import Arrivals
from bench.load.generator import generate
from bench.load.outcomes import Outcomes, Summary
from bench.load.traffic import Flow, Traffic, moderate_payloads
from bench.report import ROOT, VoidRun
from floodgate.errors import FloodgateError

LANES = ("STANDARD", "LIVE", "BULK")


@dataclass(frozen=True)
class LaneMix:
    """One lane's part of the load. ``share`` of the rate, relative to the other lanes'."""

    lane: str
    share: float = 1.0
    deadline_ms: float = 1000.0
    budget_ms: float | None = None


def parse_lane(text: str) -> LaneMix:
    """``LIVE`` or ``LIVE:share=0.2,deadline_ms=300,budget_ms=250``. Raises ArgumentTypeError."""
    lane, _, rest = text.partition(":")
    if lane not in LANES:
        raise ArgumentTypeError(f"there is no lane {lane!r}; there are: {', '.join(LANES)}")
    known = {each.name for each in fields(LaneMix)} - {"lane"}
    values: dict[str, float] = {}
    for setting in filter(None, rest.split(",")):
        key, _, value = setting.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if key not in known or number <= 0:
            raise ArgumentTypeError(f"{setting!r} is not one of {', '.join(sorted(known))} with a positive number")
        values[key] = number
    return LaneMix(lane, **values)


def main(arguments: list[str]) -> int:
    """0: done; 1: the run is void or could not be made."""
    asked = _parser().parse_args(arguments)
    try:
        outcomes = generate(_traffic(asked), asked.processes)
    except (OSError, ValueError, FloodgateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(outcomes)
    if asked.csv:
        outcomes.write_csv(asked.csv)
        print(f"written: {asked.csv}")
    try:
        outcomes.require_punctual()
    except VoidRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def show(outcomes: Outcomes) -> None:
    """Prints one line a flow, and one for all."""
    columns = ("lane", "offered/s", "goodput/s", "good", "p50 ms", "p99 ms", "p99.9 ms")
    table = Table(*columns, Column("statuses", overflow="fold"), box=None, pad_edge=False)
    flows = [flow.name for flow in outcomes.traffic.flows]
    for name in [*flows, ""] if len(flows) > 1 else [""]:
        table.add_row(*_cells(outcomes.summary(name)))
    Console().print(table)
    print(f"times from the intended send; the generator lagged {outcomes.lag_p99_ms:.2f} ms at p99")


def _cells(summary: Summary) -> tuple[str, ...]:
    return (
        summary.name,
        f"{summary.offered_per_s:.1f}",
        f"{summary.goodput_per_s:.1f}",
        f"{summary.good_share:.1%}",
        *(f"{value:.1f}" for value in (summary.p50_ms, summary.p99_ms, summary.p999_ms)),
        ", ".join(f"{name} {count}" for name, count in summary.statuses.items()),
    )


def _traffic(asked: Namespace) -> Traffic:
    photos = [path.read_bytes() for path in asked.photo]
    texts = [line for path in asked.text for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not photos and not texts:
        photos = [(ROOT / "examples" / name).read_bytes() for name in ("astronaut.jpg", "cat.jpg", "rocket.jpg")]
    mixes = asked.lane or [LaneMix("STANDARD")]
    whole = sum(mix.share for mix in mixes)
    flows = tuple(
        Flow(
            mix.lane,
            asked.rate * mix.share / whole,
            mix.deadline_ms,
            moderate_payloads(photos, texts, mix.lane, mix.budget_ms),
        )
        for mix in mixes
    )
    return Traffic(
        asked.target,
        flows,
        asked.seconds,
        warm_up_s=asked.warm_up,
        arrivals=Arrivals(asked.arrivals),
        seed=asked.seed,
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m bench.load", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--target", default="127.0.0.1:50051", help="HOST:PORT of the server")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second, over all lanes")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the counted part")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds sent before it and not counted")
    parser.add_argument("--arrivals", choices=[each.value for each in Arrivals], default="poisson", help="their spread")
    parser.add_argument(
        "--lane",
        type=parse_lane,
        action="append",
        help="a lane of the mix, such as LIVE:share=0.2,deadline_ms=300,budget_ms=250; several may be given",
    )
    parser.add_argument("--photo", type=Path, action="append", default=[], help="a picture or video to send")
    parser.add_argument("--text", type=Path, action="append", default=[], help="a file of texts to send, one a line")
    parser.add_argument("--processes", type=int, default=1, help="sending processes")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--csv", type=Path, help="write one line a request here")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
