"""A real Prometheus that scrapes servers under test on loopback, and what its queries are made of."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
from ruamel.yaml import YAML

from bench.report import ROOT

PROGRAMS = ROOT / "var" / "prometheus" / "bin"
RULES = (ROOT / "deploy" / "prometheus" / "recording.yaml", ROOT / "deploy" / "prometheus" / "alerts.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "floodgate.json"
JOB = "floodgate"
_EVERY_S = 1
_START_S = 30.0


@dataclass(frozen=True)
class Query:
    """``title``: of the panel, or the rule's name."""

    title: str
    expression: str


class Prometheus:
    """``url`` answers the HTTP API; ``began_s`` is the time of the start, seconds since the epoch."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.began_s = time.time()

    def now(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector: ``metric`` and ``value`` of each series."""
        return self._result("query", {"query": expression})

    def since_the_start(self, expression: str) -> list[list[float]]:
        """The values of each series, a second apart."""
        span = {"start": f"{self.began_s:.0f}", "end": f"{time.time():.0f}", "step": "1"}
        series = self._result("query_range", {"query": expression, **span})
        return [[float(value) for _, value in one["values"]] for one in series]

    def _result(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", asked, timeout=30) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return list(body["data"]["result"])


@contextmanager
def watching(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Prometheus with the project's rules over ``targets`` (HOST:PORT), each scraped once already."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    every = f"{_EVERY_S}s"
    configuration = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path) for path in RULES],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(targets)}]}],
    }
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(configuration))
    command = [
        str(PROGRAMS / "prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        prometheus = Prometheus(f"http://{address}")
        _until_scraped(prometheus, process, len(targets))
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)


def _until_scraped(prometheus: Prometheus, process: subprocess.Popen[bytes], targets: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, "Prometheus ended; what it said is above"
        try:
            if len(prometheus.now("up == 1")) == targets:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Prometheus has not scraped {targets} servers within {_START_S:g} s")


# ------------------------------------------------------------------------------------------ what is asked


def panel_queries() -> list[Query]:
    """Every query of the dashboard, its variables filled in as Grafana would."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [Query(panel["title"], filled_in(target["expr"])) for panel in panels for target in panel.get("targets", ())]


def filled_in(expression: str) -> str:
    for variable, value in (("$job", JOB), ("$instance", ".+"), ("$__rate_interval", "10s")):
        expression = expression.replace(variable, value)
    return expression


def rules(kind: str) -> list[Query]:
    """Every rule of a kind: "alert" or "record"."""
    read = YAML(typ="safe")
    groups = [group for path in RULES for group in read.load(path)["groups"]]
    return [Query(rule[kind], rule["expr"]) for group in groups for rule in group["rules"] if kind in rule]


def selectors(expression: str) -> set[str]:
    """Every selector in a query, each as a query of its own, ranges left out. Raises ValueError: not PromQL."""
    return {_selector(node) for node in _nodes(promql_parser.parse(expression))}


def _nodes(node: Any) -> Iterator[Any]:
    if type(node).__name__ == "VectorSelector":
        yield node
    for member in ("lhs", "rhs", "expr", "vector_selector", "param"):
        if getattr(node, member, None) is not None:
            yield from _nodes(getattr(node, member))
    for argument in getattr(node, "args", None) or ():
        yield from _nodes(argument)


def _selector(node: Any) -> str:
    signs = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    matchers = (
        f"{each.name}{signs[str(each.op).rpartition('.')[2]]}{json.dumps(each.value)}"
        for each in node.matchers.matchers
    )
    return f"{node.name}{{{','.join(matchers)}}}"


def has_values(series: Sequence[Sequence[float]]) -> bool:
    """Whether there is a value that is a number."""
    return any(not math.isnan(value) for values in series for value in values)


def moves(series: Sequence[Sequence[float]]) -> bool:
    """Whether a series has had two values."""
    return any(len(set(values)) > 1 for values in series)
