"""An open-loop load generator for gRPC servers: arrivals that do not wait for answers, times from the intended send.

    .venv/bin/python -m bench.load --help

sends ``Moderate`` calls to a running server. Benchmarks build a ``Traffic`` and call ``generate``. A closed loop sends
the next request when the last is answered, so a slow server is asked less and its worst moments are not sampled
(coordinated omission, G. Tene); here requests leave by a schedule drawn beforehand, in processes of their own, and
latency is counted from the schedule. A run in which the generator itself was late is void.
"""

from bench.load.arrivals import Arrivals
from bench.load.generator import Generator, generate
from bench.load.outcomes import Outcomes, Summary
from bench.load.traffic import Flow, Traffic
from bench.report import VoidRun

__all__ = ["Arrivals", "Flow", "Generator", "Outcomes", "Summary", "Traffic", "VoidRun", "generate"]
