"""The metrics of several processes as one: what each counts is added up, also of those that are gone.

A process that ended without a word takes with it what it counted since it was last asked, a second at most. What an
acceptor says is not trusted: of what it sends only numbers are taken, and only for what acceptors count.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from floodgate.decision.log import LogStats
from floodgate.errors import CORE_ERRORS

S = TypeVar("S")
N = TypeVar("N", int, float)

Snapshot = Mapping[str, Any]
"""families: [name, help, type, samples: [[name, labels, value], …]]; log, core: numbers by name, maybe nested."""
Series = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels, by name."""

_SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_LEAST_OF_ALL = frozenset({"floodgate_process_start_time_seconds"})
_LOG_GAUGES = ("pending",)
_LOG_COUNTERS = tuple(each.name for each in fields(LogStats) if each.name not in _LOG_GAUGES)
_MOST = 2**63
_MOST_SERIES = 10_000
"""Of one process, and of all that ended. A busy acceptor has hundreds."""
_LONGEST_TEXT = 1_000


def snapshot(registry: CollectorRegistry, log: Mapping[str, int], core: Mapping[str, Any]) -> Snapshot:
    """What a process counts, as plain values."""
    families = [
        [
            family.name,
            family.documentation,
            family.type,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in registry.collect()
    ]
    return {"families": families, "log": dict(log), "core": dict(core)}


@dataclass(frozen=True, slots=True)
class _Family:
    documentation: str
    kind: str
    labels: frozenset[str]
    samples: frozenset[str]

    def knows(self, sample: str, labels: Mapping[str, str]) -> bool:
        """Whether a sample of that name has these labels here."""
        expected = self.labels | {"le"} if sample.endswith("_bucket") else self.labels
        return sample in self.samples and labels.keys() == expected


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a process counts, checked. Never changed."""

    series: Mapping[str, Mapping[Series, float]] = field(default_factory=dict)
    log: Mapping[str, int] = field(default_factory=dict)
    bytes_received: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)

    def plus(self, other: _Numbers) -> _Numbers:
        series = {family: dict(known) for family, known in self.series.items()}
        for family, more in other.series.items():
            _add(series.setdefault(family, {}), more, least=family in _LEAST_OF_ALL)
        log, refused = dict(self.log), dict(self.refused)
        _add(log, other.log)
        _add(refused, other.refused)
        return _Numbers(series, log, self.bytes_received + other.bytes_received, refused)


class Counts:
    """The latest snapshot of each process, by number, and the sum of those that ended. Changed by one thread, read by
    any: what is read at once was true at once, so no sum falls when a process ends."""

    def __init__(self, like: CollectorRegistry) -> None:
        """``like``: a registry like those of the processes. What it does not know is left out."""
        self._known = _families_of(like)
        # Replaced as a whole, never changed.
        self._state: tuple[_Numbers, Mapping[int, _Numbers]] = (_Numbers(), {})

    def take(self, process: int, latest: object) -> None:
        """Replaces what was known of a process. Raises ValueError, and nothing else, when that is no snapshot."""
        numbers = self._read(latest)
        ended, running = self._state
        self._state = (ended, {**running, process: numbers})

    def end(self, process: int) -> None:
        """A process is gone: its counters stay, its gauges do not."""
        ended, running = self._state
        if process not in running:
            return
        last = running[process]
        kept = {name: known for name, known in last.series.items() if self._known[name].kind != "gauge"}
        log = {name: count for name, count in last.log.items() if name in _LOG_COUNTERS}
        total = ended.plus(_Numbers(kept, log, last.bytes_received, last.refused))
        if sum(map(len, total.series.values())) > _MOST_SERIES:
            # Only a process that is not itself makes up so many labels: what is new among them is let go.
            known = {
                name: {series: value for series, value in total.series[name].items() if series in before}
                for name, before in ended.series.items()
            }
            total = _Numbers(known, total.log, total.bytes_received, total.refused)
        self._state = (total, {number: numbers for number, numbers in running.items() if number != process})

    def _read(self, snapshot: object) -> _Numbers:
        """Raises ValueError when that is none."""
        parts = _mapping(snapshot)
        log, core = _mapping(parts.get("log")), _mapping(parts.get("core"))
        return _Numbers(
            self._read_families(parts.get("families")),
            {name: int(_number(log[name])) for name in (*_LOG_COUNTERS, *_LOG_GAUGES) if name in log},
            int(_number(core.get("bytes_received", 0))),
            {
                code: int(_number(count))
                for code, count in _mapping(core.get("refused", {})).items()
                if code in CORE_ERRORS
            },
        )

    def _read_families(self, families: object) -> dict[str, dict[Series, float]]:
        series: dict[str, dict[Series, float]] = {}
        left = _MOST_SERIES
        for each in _list(families):
            name, _, kind, samples = _list(each, 4)
            family = self._known.get(_text(name))
            if family is None or family.kind != kind:
                continue
            known = series.setdefault(_text(name), {})
            for each_sample in _list(samples):
                sample, labels, value = _list(each_sample, 3)
                named = {label: _text(text) for label, text in _mapping(labels).items()}
                least = -_MOST if family.kind == "gauge" else 0
                number = float(_number(value, least))
                if not family.knows(_text(sample), named):
                    continue
                if "le" in named and "le" not in family.labels:
                    float(named["le"])  # what is no bound is no bucket
                left -= 1
                if left < 0:
                    raise ValueError(f"more than {_MOST_SERIES} series")
                _add(known, {(sample, tuple(sorted(named.items()))): number})
        return series

    def families(self, own: CollectorRegistry) -> list[Metric]:
        """The metrics of all processes and of ``own``, added up."""
        metrics: dict[str, Metric] = {}
        ours: dict[str, dict[Series, float]] = {}
        for family in own.collect():
            metrics[family.name] = Metric(family.name, family.documentation, family.type)
            samples = [((each.name, tuple(sorted(each.labels.items()))), each.value) for each in family.samples]
            ours[family.name] = dict(samples)
        total = _Numbers(ours).plus(self._sum())
        for name, known in total.series.items():
            if name not in metrics:
                metrics[name] = Metric(name, self._known[name].documentation, self._known[name].kind)
            for (sample, labels), value in known.items():
                metrics[name].add_sample(sample, dict(labels), value)
        return list(metrics.values())

    def log(self) -> Mapping[str, int]:
        """What the decision logs count."""
        return self._sum().log

    def core(self, stats: Mapping[str, Any]) -> Mapping[str, Any]:
        """``Core.stats()``, with what was refused before it reached the scheduler."""
        total, counters = self._sum(), dict(stats["counters"])
        counters["bytes_received"] += total.bytes_received
        counters["refused"] = dict(counters["refused"])
        _add(counters["refused"], total.refused)
        return {**stats, "counters": counters}

    def _sum(self) -> _Numbers:
        total, running = self._state
        for numbers in running.values():
            total = total.plus(numbers)
        return total


def _add(total: MutableMapping[S, N], more: Mapping[S, N], *, least: bool = False) -> None:
    for name, value in more.items():
        before = total.get(name)
        total[name] = value if before is None else min(before, value) if least else before + value


def _families_of(registry: CollectorRegistry) -> dict[str, _Family]:
    """Names, kinds and labels of what a registry collects. A family without any sample yet has labels too, which
    prometheus_client keeps to itself."""
    return {
        family.name: _Family(
            family.documentation,
            family.type,
            frozenset(getattr(collector, "_labelnames", ())),
            frozenset(family.name + suffix for suffix in _SAMPLES.get(family.type, ())),
        )
        for collector in list(registry._collector_to_names)
        for family in collector.collect()
    }


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("names with values are expected")
    return value


def _list(value: object, length: int | None = None) -> Sequence[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise ValueError("a list is expected" + ("" if length is None else f", of {length}"))
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError("a short text is expected")
    value.encode()  # raises a ValueError for what cannot be written
    return value


def _number(value: object, least: float = 0) -> float:
    """Finite, and far from where sums are not any more."""
    if not isinstance(value, (int, float)) or not least <= value <= _MOST:
        raise ValueError("a finite number is expected, of what is counted one >= 0")
    return value
