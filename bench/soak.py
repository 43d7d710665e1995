"""Random calls while Triton is killed and stopped: what is lost, answered twice, scored wrongly or run for nobody.

Photos, texts and both together, one by one and on streams, with budgets from 100 ms to 5 s. Three clients in ten leave
before their answer. Meanwhile the server's Triton is killed, stopped for a while, or stopped until its supervisor kills
it, and model processes are killed: each after a random number of decisions, so that a slow machine sees as many faults
as a fast one. The draw is seeded; what it meets when is not.

Checked of every request: it ends once, with a decision or an error that this may cost, soon after its budget; every
score is bit for bit what the same content got alone on a healthy server; a head without a score is named by the
decision. Checked of the decision log: each answered decision is there once, and no request has two. Afterwards every
buffer is free again. ``tests/e2e/test_soak.py`` runs the same code with fewer requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from bench.faults import faults, until
from bench.inspection import held, is_at_rest, metrics, total
from bench.report import ROOT, Report
from bench.server import Server, serving
from floodgate import AsyncClient
from floodgate.client import build_request
from floodgate.errors import DeadlineExceeded, FloodgateError, Overloaded, Unavailable
from floodgate.v1 import moderation_pb2 as pb
from floodgate.wire.status import from_status

REQUESTS = 24_000
CANCEL_SHARE = 0.3
CALLERS, STREAMS, STREAM_ITEMS = 32, 4, 12
BUDGETS_MS = (100.0, 1000.0, 5000.0, 5000.0)
PHOTOS = ("astronaut.jpg", "cat.jpg", "coffee.webp")
TEXTS = ("What a lovely cat!", "You are a stupid idiot and everybody hates you.", "The weather is fine today")
HEADS = ("nsfw", "toxicity")
LIVENESS_S = 8.0
_LONGEST_LEAVE_S = 0.05
_RETRY_S = (1.0, 4.0)
# After its budget an answer has this long to arrive, on a machine that does other things as well, before it is lost.
_PATIENCE_S = 20.0
_RECOVERY_S = 120.0

Scores = dict[tuple[str, str], float]
_MAY_FAIL = (Unavailable, DeadlineExceeded, Overloaded)


@dataclass
class Ledger:
    """What became of the requests. ``answers``: request id -> the endings that came back; ``left``: ids that their
    client cancelled; ``faults``: what was done to Triton, by name."""

    answers: dict[str, list[pb.Decision | FloodgateError]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    late: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    decisions: int = 0
    degraded: int = 0

    @property
    def errors(self) -> Counter[str]:
        ended = (each for several in self.answers.values() for each in several)
        return Counter(type(each).__name__ for each in ended if isinstance(each, FloodgateError))

    @property
    def lost(self) -> list[str]:
        """Requests whose client waited in vain."""
        return [name for name, several in self.answers.items() if not several and name not in self.left]

    @property
    def twice(self) -> list[str]:
        return [name for name, several in self.answers.items() if len(several) > 1]


@dataclass(frozen=True)
class Outcome:
    """``logged_twice``: requests with two records; ``unlogged``: decisions that a client has and the log has not, or
    otherwise; ``grown``: the server's counters over the run; ``held``: what it has not given back."""

    ledger: Ledger
    logged_twice: list[str]
    unlogged: list[str]
    grown: dict[str, float]
    held: list[str]

    @property
    def cancelled_share(self) -> float:
        return len(self.ledger.left) / max(1, len(self.ledger.answers))

    @property
    def dead_rows_share(self) -> float:
        """Rows sent to Triton after their client had left (or their time was over), of all rows sent."""
        return self.grown["floodgate_core_rows_dead_sent_total"] / max(1.0, self.grown[_ROWS])

    def problems(self) -> list[str]:
        """What must not be, in words; empty when all is well."""
        ledger = self.ledger
        found = {
            "lost": ledger.lost,
            "answered twice": ledger.twice,
            "scored wrongly": ledger.wrong,
            "late": ledger.late,
            "with two records": self.logged_twice,
            "in client's hands and log differently": self.unlogged,
        }
        said = [f"{len(names)} requests {what}, such as {names[0]}" for what, names in found.items() if names]
        strange = {name: n for name, n in ledger.errors.items() if name not in {kind.__name__ for kind in _MAY_FAIL}}
        if strange:
            said.append(f"errors that no fault explains: {strange}")
        return [*said, *(f"at rest there are {what}" for what in self.held)]


_ROWS = "floodgate_core_rows_batched_total"


def run() -> Report:
    """Runs the benchmark, prints the table. Raises RuntimeError for anything lost, doubled, wrong or not given back."""
    report = Report()
    begun_s = time.monotonic()
    outcome = soak(int(os.environ.get("REQUESTS", REQUESTS)))
    ledger, grown = outcome.ledger, outcome.grown
    figures = {
        "requests": (len(ledger.answers), "requests"),
        "decisions": (ledger.decisions, "decisions that clients waited for"),
        "decisions_degraded": (ledger.degraded, "of them on fewer heads"),
        **{f"errors_{name.lower()}": (count, "answers") for name, count in sorted(ledger.errors.items())},
        "faults": (sum(ledger.faults.values()), ", ".join(f"{n} {name}" for name, n in sorted(ledger.faults.items()))),
        "triton_restarts": (grown["floodgate_triton_restarts_total"], "restarts of Triton"),
        "cancelled_share": (outcome.cancelled_share, "of all requests, by their clients before the answer"),
        "rows_run": (grown[_ROWS], "rows sent to Triton"),
        "rows_run_for_dead_clients_share": (outcome.dead_rows_share, "of rows sent, their client gone before"),
        "rows_dead_in_flight_share": (
            grown["floodgate_core_rows_dead_in_flight_total"] / max(1.0, grown[_ROWS]),
            "of rows sent, their client gone while they ran",
        ),
        "lost": (len(ledger.lost), "requests"),
        "answered_twice": (len(ledger.twice) + len(outcome.logged_twice), "requests"),
        "wrong_scores": (len(ledger.wrong), "decisions"),
        "minutes": ((time.monotonic() - begun_s) / 60, "min"),
    }
    table = Table("figure", "value", "of", box=None, pad_edge=False)
    for name, (value, unit) in figures.items():
        report.add(name, value, unit)
        table.add_row(name, f"{value:.4g}" if value % 1 else f"{value:.0f}", unit)
    Console(width=120).print(table)
    if problems := outcome.problems():
        raise RuntimeError("; ".join(problems))
    return report


def soak(requests: int, seed: int = 1) -> Outcome:
    """Sends ``requests`` to a server of its own, with faults among them."""
    with serving({"FLOODGATE_TRITON__LIVENESS_S": str(LIVENESS_S)}) as server:
        return asyncio.run(_soak(server, requests, random.Random(seed)))


async def _soak(server: Server, requests: int, source: random.Random) -> Outcome:
    async with AsyncClient(server.target) as client:
        alone = {which: await _alone(client, which) for which in range(len(PHOTOS))}
        before = metrics(server)
        crowd = _Crowd(client, alone, requests, source)
        spoiling = asyncio.create_task(_spoil(server, crowd.ledger, random.Random(source.random())))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CALLERS):
                    group.create_task(crowd.call_singly())
                for _ in range(STREAMS):
                    group.create_task(crowd.call_by_stream())
        finally:
            spoiling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await spoiling
        await _recovers(client)
    await _within(_RECOVERY_S, lambda: is_at_rest(server))
    await _within(_RECOVERY_S, lambda: total(metrics(server), "floodgate_decision_log_pending") == 0)
    logged_twice, unlogged = _compare(server, crowd.ledger)
    after = metrics(server)
    names = {name.partition("{")[0] for name in after}
    return Outcome(
        crowd.ledger,
        logged_twice,
        unlogged,
        {name: total(after, name) - total(before, name) for name in names},
        held(server),
    )


async def _spoil(server: Server, ledger: Ledger, source: random.Random) -> None:
    async for fault in faults(server, HEADS, lambda: ledger.decisions, source):
        ledger.faults[fault] += 1


async def _alone(client: AsyncClient, which: int) -> Scores:
    decision = await client.send(_request(which, photo=True, text=True, name="", budget_ms=60_000.0))
    scores = _scores(decision)
    if decision.degraded or len(scores) != len(HEADS):
        raise RuntimeError("a healthy server does not score what it is to be held to")
    return scores


def _request(which: int, *, photo: bool, text: bool, name: str, budget_ms: float) -> pb.ModerateRequest:
    """Part ids tell the modality, so that the scores of a part do not depend on what else is in the item."""
    image = (ROOT / "examples" / PHOTOS[which]).read_bytes() if photo else None
    words = TEXTS[which] if text else None
    request = build_request(image=image, text=words, request_id=name, trace=True, budget_ms=budget_ms)
    for part in request.parts:
        part.part_id = part.WhichOneof("media")
    return request


def _scores(decision: pb.Decision) -> Scores:
    return {(score.part_id, score.head): score.score for score in decision.scores}


class _Crowd:
    """The clients. Together they send ``requests``."""

    def __init__(self, client: AsyncClient, alone: dict[int, Scores], requests: int, source: random.Random) -> None:
        self._client = client
        self._alone = alone
        self._source = source
        self._names = iter(f"soak-{number:06}" for number in range(requests))
        self._which: dict[str, int] = {}
        self._due_s: dict[str, float] = {}
        self.ledger = Ledger()

    def _next(self) -> pb.ModerateRequest | None:
        name = next(self._names, None)
        if name is None:
            return None
        which = self._which[name] = self._source.randrange(len(PHOTOS))
        photo, text = self._source.choice(((True, False), (False, True), (True, True)))
        budget_ms = self._source.choice(BUDGETS_MS)
        self.ledger.answers[name] = []
        self._due_s[name] = time.monotonic() + budget_ms / 1e3
        return _request(which, photo=photo, text=text, name=name, budget_ms=budget_ms)

    def _leaves(self) -> bool:
        """Whether the next client is one of those that do not wait: as many as it takes to come to their share, since
        some of them are answered before they have left."""
        return len(self.ledger.left) < CANCEL_SHARE * len(self.ledger.answers)

    async def call_singly(self) -> None:
        """One caller after another; some leave."""
        while (request := self._next()) is not None:
            name = request.request_id
            call = asyncio.ensure_future(self._client.send(request, timeout=self._timeout_s(name)))
            if self._leaves():
                await asyncio.wait({call}, timeout=self._source.uniform(0.0, _LONGEST_LEAVE_S))
                if not call.done():
                    call.cancel()
                    await asyncio.wait({call})
                    self.ledger.left.add(name)
                    continue
            try:
                self._take(name, await call)
            except FloodgateError as error:
                self._take(name, error)
                await self._pause(error)

    async def call_by_stream(self) -> None:
        """One stream after another, each with a few items under way at once; some are broken off in the middle."""
        while items := [item for _ in range(STREAM_ITEMS) if (item := self._next()) is not None]:
            names = [item.request_id for item in items]
            stop_after = self._source.randrange(len(items)) if self._leaves() else len(items)
            timeout_s = max(self._timeout_s(name) for name in names)
            taken = 0
            errors: list[FloodgateError] = []
            answers = self._client.stream(items, timeout=timeout_s)
            async with contextlib.aclosing(answers):
                while taken < stop_after:
                    response = await anext(answers, None)
                    if response is None:
                        break
                    taken += 1
                    ending = _ending(response)
                    self._take(response.request_id, ending)
                    if isinstance(ending, FloodgateError):
                        errors.append(ending)
            if stop_after < len(items):
                self.ledger.left.update(name for name in names if not self.ledger.answers[name])
            for error in errors[:1]:
                await self._pause(error)

    def _timeout_s(self, name: str) -> float:
        """Longer than the server has: it is the server that keeps the budget."""
        return self._due_s[name] - time.monotonic() + _PATIENCE_S

    async def _pause(self, error: FloodgateError) -> None:
        """A client that is refused at once and asks again at once would spend all requests on one outage."""
        if isinstance(error, Unavailable):
            await asyncio.sleep(self._source.uniform(*_RETRY_S))
        elif isinstance(error, Overloaded):
            await asyncio.sleep(error.retry_after_ms / 1e3)

    def _take(self, name: str, ending: pb.Decision | FloodgateError) -> None:
        ledger = self.ledger
        ledger.answers[name].append(ending)
        if time.monotonic() > self._due_s[name] + _PATIENCE_S:
            ledger.late.append(name)
        if isinstance(ending, FloodgateError):
            return
        ledger.decisions += 1
        ledger.degraded += bool(ending.degraded)
        missing = {each for degradation in ending.degraded for each in degradation.missing}
        parts = {part.part_id for part in ending.parts}
        scores = _scores(ending)
        for (part, head), score in self._alone[self._which[name]].items():
            if part not in parts:
                continue
            got = scores.pop((part, head), None)
            if got is None and f"{part}/{head}" not in missing:
                ledger.wrong.append(f"{name}: nothing says that {head} is missing")
            elif got is not None and got != score:
                ledger.wrong.append(f"{name}: {head} says {got} and alone {score}")
        if scores:
            ledger.wrong.append(f"{name}: scores of nobody, {scores}")


def _ending(response: pb.ModerateResponse) -> pb.Decision | FloodgateError:
    return response.decision if response.HasField("decision") else from_status(response.error)


async def _within(patience_s: float, condition: Callable[[], bool]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until(condition), patience_s)


async def _recovers(client: AsyncClient) -> None:
    """Until a whole decision comes back. Raises TimeoutError when none does for two minutes."""
    async with asyncio.timeout(_RECOVERY_S):
        while True:
            with contextlib.suppress(FloodgateError):
                decision = await client.send(_request(0, photo=True, text=True, name="", budget_ms=2000.0))
                if not decision.degraded:
                    return
            await asyncio.sleep(0.1)


def _records(server: Server) -> Iterator[tuple[str, str]]:
    """(request id, decision id) of each line of the decision log that a client of the crowd caused."""
    for line in server.decision_log.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["request_id"].startswith("soak-"):
            yield record["request_id"], record["decision_id"]


def _compare(server: Server, ledger: Ledger) -> tuple[list[str], list[str]]:
    """(requests with more than one record, requests of which client and log say different things)."""
    logged: dict[str, list[str]] = {}
    for request, decision in _records(server):
        logged.setdefault(request, []).append(decision)
    twice = [name for name, several in logged.items() if len(several) > 1]
    different = []
    for name, several in ledger.answers.items():
        answered = [each.decision_id for each in several if isinstance(each, pb.Decision)]
        # Who has left does not know whether the decision was made.
        if name not in ledger.left and answered != logged.get(name, []):
            different.append(name)
    return twice, different
