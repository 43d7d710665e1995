"""Dashboard, rules and alerts against live servers, through a real Prometheus: what they ask for exists and moves."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from misfortunes import (
    decoders_lost,
    everyday,
    guest,
    head_off,
    late_answers,
    log_stalled,
    odd_request,
    policy_changed,
    send_raw,
    standstill,
    storm,
    triton_killed,
)
from pressure import eventually
from prometheus import (
    DASHBOARD,
    PROGRAMS,
    RULES,
    Prometheus,
    Query,
    has_values,
    moves,
    panel_queries,
    rules,
    selectors,
    watching,
)
from unruly_heads import UnrulyHead, repository_in

from bench.report import ROOT
from bench.server import Server, serving

pytestmark = pytest.mark.triton

HURRIED = tuple(
    f"floodgate_core_{name}_total"
    for name in (
        "refused_late",
        "dropped_early",
        "expired_before_decode",
        "expired_before_batch",
        "expired_in_flight",
        "cancelled_before_decode",
        "cancelled_before_batch",
        "cancelled_in_flight",
        "batches_quarantined",
        "rows_dead_in_flight",
        "rows_moved",
    )
)
UNMOVED = {
    'floodgate_requests_total{code="INTERNAL"}': "INTERNAL is a defect, and no test knows one",
    "floodgate_decision_log_dropped_total": "8,192 decisions would have to wait for a disk",
    "floodgate_core_batches_dead_unsent_total": "callers would have to leave just before it goes",
    "floodgate_decode_sandboxed": "set at the start; the two servers differ in it",
    "floodgate_info": "one by definition",
    "floodgate_device_": "no GPU decodes here; tests/cpp/device_test.cc moves what is behind them on an emulated one",
}
UNPROVOKED = {
    "FloodgateInternalErrors": "INTERNAL is a defect, and no test knows one",
    "FloodgateGpuLost": "there is no GPU to lose here",
}


@dataclass(frozen=True)
class Watched:
    """``at_first``: the series of a server to which nothing had happened yet."""

    prometheus: Prometheus
    at_first: frozenset[str]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two servers, to which everything has happened that the dashboard shows, and the Prometheus that watched it; the
    second server is gone by then."""
    folder = tmp_path_factory.mktemp("watched")
    repository = repository_in(folder)
    head = UnrulyHead(repository, "nsfw", "sexual.explicit")
    policy = Path(shutil.copy(ROOT / "policies" / "default.yaml", folder / "policy.yaml"))
    afflictions = {
        "FLOODGATE_MODEL_REPOSITORY": str(repository),
        "FLOODGATE_POLICY": str(policy),
        "FLOODGATE_MEDIA__SANDBOX": "false",
        "FLOODGATE_TRITON__MEMORY": "inline",
        "FLOODGATE_DECISION_LOG": "/dev/full",
        "FLOODGATE_CORE__ARENA_BYTES": str(1 << 20),
        "FLOODGATE_LIMITS__REQUESTS_IN_FLIGHT": "32",
    }
    with serving({"FLOODGATE_MEDIA__FAULTS": "true"}) as sound, serving(afflictions) as afflicted:
        targets = [server.metrics_url.split("/")[2] for server in (sound, afflicted)]
        at_first = frozenset(_series(sound))
        with watching(folder, targets) as prometheus:
            asyncio.run(_everything(prometheus, sound, afflicted, head, policy))
            yield Watched(prometheus, at_first)


async def _everything(prometheus: Prometheus, sound: Server, afflicted: Server, head: UnrulyHead, policy: Path) -> None:
    sound_policy = (ROOT / "policies" / "default.yaml").read_text(encoding="utf-8")
    async with guest(sound) as one, guest(afflicted) as other:
        await asyncio.gather(everyday(one), everyday(other))
        await decoders_lost(one)
        await storm(one, HURRIED)
        await late_answers(one)
        await policy_changed(other, policy, sound_policy)
        await log_stalled(one, lambda: bool(prometheus.now("max_over_time(floodgate_decision_log_pending[5s]) > 0")))
        await head_off(other, head, lambda: bool(prometheus.now("sum_over_time(floodgate_head_breaker_open[5s]) >= 3")))
        await standstill(other, lambda: "FloodgateArenaFull" in _firing(prometheus), for_s=3.0)
        await triton_killed(one, times=3)
        await everyday(one)

        def silent() -> set[str]:
            return _alerts() - {"FloodgateDown", *UNPROVOKED} - _firing(prometheus)

        with suppress(AssertionError):
            await eventually(lambda: not silent(), "every alert", 15.0)
        if silent():  # what is short happens again: a scrape may have missed it
            await storm(one, HURRIED)
            await late_answers(one)
            await standstill(other, lambda: "FloodgateArenaFull" in _firing(prometheus), for_s=5.0)
            await triton_killed(one, times=3)
        await eventually(lambda: not silent(), lambda: ", ".join(sorted(silent())), 60.0)
    afflicted.process.terminate()
    await eventually(lambda: "FloodgateDown" in _firing(prometheus), "the alert of a server that is gone")


def _alerts() -> set[str]:
    return {rule.title for rule in rules("alert")}


def _firing(prometheus: Prometheus) -> set[str]:
    """Alerts whose condition has held at any time, however short."""
    return {each["metric"]["alertname"] for each in prometheus.now("count_over_time(ALERTS[1h])")}


def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        [PROGRAMS / "promtool", "check", "rules", *RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_after_their_time_and_stay_quiet_on_healthy_servers() -> None:
    file = ROOT / "deploy" / "prometheus" / "alerts_test.yaml"
    done = subprocess.run([PROGRAMS / "promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_holds_when_its_misfortune_happens(watched: Watched) -> None:
    assert _alerts() - _firing(watched.prometheus) == set(UNPROVOKED)


@pytest.mark.parametrize("rule", rules("record"), ids=lambda rule: rule.title)
def test_every_recording_has_values(watched: Watched, rule: Query) -> None:
    assert has_values(watched.prometheus.since_the_start(rule.title))


@pytest.mark.parametrize("query", panel_queries(), ids=lambda query: query.title)
def test_every_panel_shows_something(watched: Watched, query: Query) -> None:
    assert has_values(watched.prometheus.since_the_start(query.expression))


def test_every_selector_of_every_query_finds_series_that_move(watched: Watched) -> None:
    queries = [*panel_queries(), *rules("alert"), *rules("record")]
    asked = {selector for query in queries for selector in selectors(query.expression)}
    still = []
    for selector in sorted(asked):
        series = watched.prometheus.since_the_start(selector)
        assert series, f"{selector} finds nothing"
        if not moves(series) and not selector.startswith(tuple(UNMOVED)):
            still.append(selector)
    assert not still


def test_rates_are_taken_of_counters_only() -> None:
    ends = ("_total", "_bucket", "_sum", "_count")
    for query in (*panel_queries(), *rules("alert"), *rules("record")):
        for name in re.findall(r"(?:rate|increase)\((\w+)", query.expression):
            assert name.endswith(ends), f"{query.title}: {name}"


def test_legends_name_labels_that_the_result_has(watched: Watched) -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    targets = [target for panel in panels for target in panel.get("targets", ())]
    for target, query in zip(targets, panel_queries(), strict=True):
        wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        span = f"last_over_time(({query.expression})[1h:1s])"
        found = {label for each in watched.prometheus.now(span) for label in each["metric"]}
        assert wanted <= found, f"{query.title}: {target['expr']}"


def test_what_alerts_count_is_there_before_it_happens(watched: Watched) -> None:
    """To Prometheus a counter that appears with its first event has not grown."""
    for query in rules("alert"):
        for name, labels in re.findall(r"increase\((\w+)(?:{([^}]*)})?", query.expression):
            assert any(each.startswith(name) and labels in each for each in watched.at_first), query.title


def test_callers_cannot_make_series(server: Server) -> None:
    """However odd what they send: ids, markets, surfaces, audiences, languages, signals, labels, revisions."""
    codes = send_raw(server.target, (odd_request(number) for number in range(150)))
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= set(codes), codes
    before = _series(server)
    send_raw(server.target, (odd_request(number) for number in range(1000, 1300)))
    assert _series(server) == before
    assert len(before) < 1500


def _series(server: Server) -> set[str]:
    page = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    return {line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")}
