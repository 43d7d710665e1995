"""Metrics agree with what was sent, and nothing stays behind."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable

import grpc
import pytest
from calls import message, unary
from observed import assert_at_rest
from prometheus_client.parser import text_string_to_metric_families
from specimens import JPEG, PNG, WEBP, png

from bench.server import Server
from floodgate import Client
from floodgate.client import build_request, image_part, text_part
from floodgate.errors import InvalidRequest

Counter = Callable[..., float]


class Growth:
    """How much counters have grown since this was made or last asked."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._before: dict[str, float] = {}

    def of(self, name: str, **labels: str) -> float:
        key = f"{name}{sorted(labels.items())}"
        now = self._counter(name, **labels)
        grown = now - self._before.get(key, now)
        self._before[key] = now
        return grown


@pytest.fixture
def growth(counter: Counter) -> Growth:
    return Growth(counter)


def test_the_page_is_prometheus_text_with_every_family_described(server: Server, client: Client) -> None:
    client.moderate(image=JPEG, timeout=60)
    page = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    families = list(text_string_to_metric_families(page))
    assert all(family.name.startswith("floodgate_") and family.documentation for family in families)
    names = [family.name for family in families]
    assert len(names) == len(set(names))


def test_encoded_bytes_are_copied_once_each(client: Client, growth: Growth) -> None:
    received, copied = "floodgate_core_bytes_received_total", "floodgate_core_bytes_copied_total"
    growth.of(received), growth.of(copied)
    texts = ["hello there", "hé" * 500, "word " * 40_000]
    for text in texts:
        client.moderate(text=text, timeout=60)
    for data in (JPEG, PNG, WEBP):
        client.moderate(parts=[image_part(data), image_part(data, role="COVER"), text_part("hi")], timeout=60)
    accepted = sum(len(text.encode()) for text in texts) + 2 * len(JPEG + PNG + WEBP) + 3 * len("hi")
    assert growth.of(received) == growth.of(copied) == accepted


def test_bytes_that_are_refused_on_sight_are_never_copied(client: Client, growth: Growth) -> None:
    received, copied = "floodgate_core_bytes_received_total", "floodgate_core_bytes_copied_total"
    growth.of(received), growth.of(copied)
    refused = [b"GIF89a" + bytes(1000), png(60_000, 60_000), bytes(5000)]
    client.moderate(parts=[image_part(data) for data in refused], timeout=60)
    assert growth.of(received) == sum(map(len, refused))
    assert growth.of(copied) == 0


def test_what_nobody_judges_never_reaches_the_core(client: Client, growth: Growth) -> None:
    growth.of("floodgate_core_bytes_received_total")
    parts = [text_part("hello"), text_part("shown only", role="CONTEXT"), text_part("", role="TITLE")]
    client.moderate(parts=parts, timeout=60)
    assert growth.of("floodgate_core_bytes_received_total") == len("hello")


def test_a_picture_is_decoded_once(client: Client, growth: Growth) -> None:
    growth.of("floodgate_core_pictures_decoded_total")
    client.moderate(image=[JPEG, PNG], timeout=60)
    assert growth.of("floodgate_core_pictures_decoded_total") == 2


def test_pixels_reach_the_inference_server_where_they_were_decoded(client: Client, growth: Growth) -> None:
    moved, inline = "floodgate_core_rows_moved_total", "floodgate_triton_inline_bytes_total"
    growth.of(moved), growth.of(inline)
    client.moderate(image=JPEG, timeout=60)
    assert growth.of(moved) == growth.of(inline) == 0


@pytest.mark.parametrize("lane", ["STANDARD", "LIVE", "BULK"])
def test_a_decision_is_counted_with_every_stage_of_its_lane(client: Client, growth: Growth, lane: str) -> None:
    stages = ("parse", "queue", "decode", "infer", "policy", "total")

    def counts() -> list[float]:
        return [
            growth.of("floodgate_requests_total", rpc="Moderate", lane=lane, code="OK"),
            growth.of("floodgate_decisions_total", lane=lane, action="ALLOW"),
            *(growth.of("floodgate_stage_seconds_count", stage=stage, lane=lane) for stage in stages),
        ]

    counts()
    client.moderate(image=JPEG, lane=lane, timeout=60)
    assert counts() == [1.0] * (2 + len(stages))


def test_parts_and_reviews_are_counted_by_what_became_of_them(client: Client, growth: Growth) -> None:
    def counts() -> list[float]:
        return [
            growth.of("floodgate_parts_total", modality="image", state="UNREADABLE", reason="UNSUPPORTED"),
            growth.of("floodgate_parts_total", modality="image", state="JUDGED"),
            growth.of("floodgate_parts_total", modality="text", state="SKIPPED", reason="EMPTY"),
            growth.of("floodgate_reviews_total", queue="unreadable_media", hold="true"),
            growth.of("floodgate_core_refused_total", code="UNSUPPORTED"),
        ]

    counts()
    client.moderate(image=[b"%PDF-1.7" + bytes(50), PNG], text="", timeout=60)
    assert counts() == [1.0] * 5


def test_refusals_are_counted_by_code_on_both_ways(server: Server, client: Client, growth: Growth) -> None:
    def counts() -> list[float]:
        return [
            growth.of("floodgate_requests_total", rpc="Moderate", code="INVALID_ARGUMENT"),
            growth.of("floodgate_requests_total", rpc="Moderate", code="NOT_FOUND"),
            growth.of("floodgate_requests_total", rpc="ModerateStream", code="INVALID_ARGUMENT"),
        ]

    counts()
    with pytest.raises(InvalidRequest):
        client.send(build_request(text="hello", surface="nowhere"), timeout=60)
    with grpc.insecure_channel(server.target) as channel:
        unary(channel, message(lambda request: setattr(request, "policy_revision", "none")))
    list(client.stream([build_request(text="hello", surface="nowhere")], timeout=60))
    assert counts() == [1.0, 1.0, 1.0]


def test_labels_never_hold_what_a_caller_wrote(server: Server, client: Client) -> None:
    marked = "zebra-crossing"
    client.moderate(text=marked, content_id=marked, request_id=marked, creator_id=marked, timeout=60)
    with pytest.raises(InvalidRequest):
        client.moderate(text="hello", surface=marked, timeout=60)
    assert marked not in urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()


def test_gauges_are_back_at_rest(server: Server, client: Client, counter: Counter) -> None:
    list(client.stream([build_request(image=JPEG) for _ in range(40)], timeout=60))
    assert_at_rest(server)
    assert counter("floodgate_triton_up") == 1
    assert counter("floodgate_head_breaker_open") == 0


def test_priorities_are_left_alone_where_that_is_configured(server: Server) -> None:
    """As conftest.py does; where it does not, and it is allowed, the event loop goes first."""
    assert os.environ["FLOODGATE_GO_FIRST"] == "false"
    assert os.getpriority(os.PRIO_PROCESS, server.pid) == os.getpriority(os.PRIO_PROCESS, 0)
