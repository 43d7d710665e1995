"""Floodgate beside what people would serve the same model with: CPU, latency, memory and goodput on one core.

Triton (pixels from its client; an ensemble that decodes), LitServe, MOSEC, BentoML and Ray Serve serve the nsfw head's
own ONNX file through OpenVINO with Floodgate's settings, each *as written* (Pillow decodes the whole picture in the
handler, the framework batches) and *tuned* (the setup that ``bench.peers.sweep`` found and keeps in ``sweep.json``).
Floodgate runs as shipped, policy, decision log and metrics included, with ``exact`` views beside the first and ``fast``
ones beside the second. Each server has one core, the load the other. Every score is checked; a wrong one ends the run.
``PEERS_SCALE=10 make bench NAME=peers`` measures ten times as long, ``PEERS_ONLY=mosec,ray`` only those peers.
"""

from bench.report import Report


def run() -> Report:
    """Runs the benchmark, prints the tables."""
    from bench.peers import comparison  # only here, so that the sweep can be run as a program of this package

    return comparison.run()
