"""What came back, request by request, and the figures that say how good it was."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt

from bench.load.traffic import MODERATE, Traffic
from bench.report import VoidRun
from floodgate.v1 import moderation_pb2 as pb

LAG_LIMIT_MS = 1.0
# A refusal that comes within this share of the deadline leaves the caller time to go elsewhere: "at once".
AT_ONCE_SHARE = 0.1

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_OK = grpc.StatusCode.OK.value[0]
_REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], grpc.StatusCode.UNAVAILABLE.value[0])

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Summary:
    """Rates per second; latencies in ms from the intended send, over all that were answered with OK (infinite when none
    was). ``goodput_per_s``: answered OK, whole and inside the deadline. ``admitted``: requests not refused at once."""

    name: str
    offered_per_s: float
    goodput_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    requests: int
    good: int
    admitted: int
    statuses: dict[str, int]

    @property
    def good_share(self) -> float:
        """Of all requests, [0, 1]; 1 when there was none."""
        return self.good / self.requests if self.requests else 1.0

    @property
    def admitted_in_deadline(self) -> float:
        """Of the requests not refused at once, [0, 1]; 1 when there was none."""
        return self.good / self.admitted if self.admitted else 1.0


@dataclass(frozen=True)
class Outcomes:
    """One run. Arrays have one element a request, in the order of the intended sends; times in ns of CLOCK_MONOTONIC.
    ``degraded``: a decision that rests on less than it should, which is no goodput. ``start_ns``: of the run;
    the counted part begins ``warm_up_s`` after it."""

    traffic: Traffic
    start_ns: int
    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    answered_ns: npt.NDArray[np.int64]
    status: npt.NDArray[np.int32]
    flow: npt.NDArray[np.int32]
    payload: npt.NDArray[np.int32]
    degraded: Mask
    answers: list[bytes]

    @property
    def counted(self) -> Mask:
        """Requests meant to leave after the warm-up."""
        return np.asarray(self.intended_ns >= self.start_ns + int(self.traffic.warm_up_s * 1e9))

    @property
    def latency_ms(self) -> npt.NDArray[np.float64]:
        """From the intended send to the answer, whatever it was."""
        return np.asarray((self.answered_ns - self.intended_ns) / 1e6)

    @property
    def deadline_ms(self) -> npt.NDArray[np.float64]:
        """Each request's own."""
        return np.array([flow.deadline_ms for flow in self.traffic.flows])[self.flow]

    @property
    def good(self) -> Mask:
        """Answered OK, not degraded, inside the deadline."""
        return np.asarray((self.status == _OK) & ~self.degraded & (self.latency_ms <= self.deadline_ms))

    @property
    def refused_at_once(self) -> Mask:
        """RESOURCE_EXHAUSTED or UNAVAILABLE within a tenth of the deadline."""
        soon = self.latency_ms <= AT_ONCE_SHARE * self.deadline_ms
        return np.asarray(np.isin(self.status, _REFUSED) & soon)

    @property
    def lag_p99_ms(self) -> float:
        """How far behind its schedule the generator sent what counts; 0 when nothing does."""
        behind_ms = np.sort((self.sent_ns - self.intended_ns)[self.counted] / 1e6)
        return _quantile(behind_ms, 0.99) if len(behind_ms) else 0.0

    def require_punctual(self) -> None:
        """Raises VoidRun when the generator lagged by more than 1 ms at the 99th percentile."""
        if self.lag_p99_ms > LAG_LIMIT_MS:
            raise VoidRun(
                f"void: the generator sent {self.lag_p99_ms:.2f} ms late at p99 (limit {LAG_LIMIT_MS:g} ms) at "
                f"{self.traffic.rate_per_s:.0f}/s; give it a core of its own, more processes or a lower rate"
            )

    def summary(self, flow: str = "") -> Summary:
        """Of one flow, or of all. Only what was meant to leave after the warm-up counts."""
        chosen = self.counted
        if flow:
            chosen &= self.flow == [each.name for each in self.traffic.flows].index(flow)
        answered = np.sort(self.latency_ms[chosen & (self.status == _OK)])
        p50, p99, p999 = (_quantile(answered, share) for share in (0.5, 0.99, 0.999))
        words = Counter(self._words(chosen))
        good = int((self.good & chosen).sum())
        return Summary(
            name=flow or "all",
            offered_per_s=int(chosen.sum()) / self.traffic.seconds,
            goodput_per_s=good / self.traffic.seconds,
            p50_ms=p50,
            p99_ms=p99,
            p999_ms=p999,
            requests=int(chosen.sum()),
            good=good,
            admitted=int((chosen & ~self.refused_at_once).sum()),
            statuses=dict(words.most_common()),
        )

    def _words(self, chosen: Mask) -> list[str]:
        pairs = zip(self.status[chosen].tolist(), self.degraded[chosen].tolist(), strict=True)
        return [_NAMES[number] + (" (degraded)" if degraded else "") for number, degraded in pairs]

    def write_csv(self, path: Path) -> None:
        """One line a request, warm-up included; times in ms after the start."""
        good, counted, deadline_ms = self.good, self.counted, self.deadline_ms
        with path.open("w", encoding="utf-8", newline="") as stream:
            lines = csv.writer(stream)
            lines.writerow(
                (
                    "flow",
                    "intended_ms",
                    "sent_ms",
                    "answered_ms",
                    "status",
                    "degraded",
                    "deadline_ms",
                    "good",
                    "counted",
                )
            )
            for at in range(len(self.intended_ns)):
                times = (self.intended_ns[at], self.sent_ns[at], self.answered_ns[at])
                lines.writerow(
                    (
                        self.traffic.flows[self.flow[at]].name,
                        *(f"{(moment - self.start_ns) / 1e6:.3f}" for moment in times),
                        _NAMES[int(self.status[at])],
                        int(self.degraded[at]),
                        f"{deadline_ms[at]:g}",
                        int(good[at]),
                        int(counted[at]),
                    )
                )


def degraded_answers(traffic: Traffic, flow: npt.NDArray[np.int32], answers: list[bytes]) -> Mask:
    """Which answers are decisions with a degradation. Raises ValueError for one that is no ModerateResponse."""
    found = np.zeros(len(answers), np.bool_)
    for at, answer in enumerate(answers):
        if answer and traffic.flows[flow[at]].method == MODERATE:
            found[at] = bool(pb.ModerateResponse.FromString(answer).decision.degraded)
    return found


def _quantile(ascending: npt.NDArray[np.float64], share: float) -> float:
    """The smallest latency that ``share`` of all do not exceed."""
    return float(ascending[int(np.ceil(share * len(ascending))) - 1]) if len(ascending) else float("inf")
