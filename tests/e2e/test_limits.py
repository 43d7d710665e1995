"""Every limit that can be configured holds, and what is refused for want of room may come again."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from calls import MODERATE, UNLIMITED, Refusal, explained, message, refusal, stream, unary
from observed import assert_at_rest, descendants, metric, until
from specimens import JPEG, encoded, png

from bench.report import ROOT
from bench.server import Server, serving
from floodgate import Client
from floodgate.client import build_request, image_part, text_part
from floodgate.errors import InvalidRequest, Overloaded, PermissionDenied
from floodgate.v1 import moderation_pb2 as pb

CONFIG = """
limits:
  message_bytes: 200000
  bytes_in_flight: 400000
  requests_in_flight: 3
  parts: 2
  image_bytes: 50000
  pixels: 90000
  side_px: 400
  text_bytes: 100
callers:
  default: {lanes: [STANDARD, BULK], pin_policy: false, trace: false, evaluate: false}
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(ROOT / "policies/default.yaml", tmp_path_factory.mktemp("policy") / "policy.yaml"))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Iterator[Server]:
    """A server that allows little, by a configuration file."""
    config = tmp_path_factory.mktemp("config") / "floodgate.yaml"
    config.write_text(CONFIG + f"policy: {policy}\n")
    with serving({}, "--config", str(config)) as running:
        yield running


@pytest.fixture
def asker(narrow: Server) -> Iterator[Client]:
    with Client(narrow.target) as one:
        yield one


@contextmanager
def triton_stopped(server: Server) -> Iterator[None]:
    """Nothing that is accepted finishes meanwhile."""
    below = descendants(server.pid)
    for pid in below:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in below:
            os.kill(pid, signal.SIGCONT)


def read_as(asker: Client, part: pb.Part) -> tuple[str, str]:
    """(reason code, reason) of a part judged alone; two empty strings when it was judged."""
    (status,) = asker.moderate(parts=[part], timeout=60).parts
    return status.reason_code, status.reason


def test_limits_on_content_leave_the_part_unreadable(asker: Client) -> None:
    assert read_as(asker, image_part(encoded("JPEG", (300, 300)))) == ("", "")
    assert read_as(asker, text_part("a" * 100)) == ("", "")
    for part, words in (
        (image_part(encoded("JPEG", (300, 301))), "90300 pixels.*limits.pixels.* 90000"),
        (image_part(png(401, 1)), "401 px.*limits.side_px.* 400"),
        (image_part(JPEG + bytes(50_000)), f"{len(JPEG) + 50_000} bytes.*limits.image_bytes.* 50000"),
        (text_part("a" * 101), "101 bytes.* 100"),
    ):
        code, reason = read_as(asker, part)
        assert code == "TOO_LARGE"
        assert re.search(words, reason), reason


def test_limits_on_the_request_refuse_it(asker: Client) -> None:
    with pytest.raises(InvalidRequest, match="3 entries; at most 2") as raised:
        asker.moderate(text=["a", "b", "c"], timeout=60)
    assert raised.value.field == "parts"
    for size in (200_000, 5_000_000, 60_000_000):
        with pytest.raises(InvalidRequest, match="bytes long; at most 200000 are allowed"):
            asker.moderate(image=bytes(size), timeout=60)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"lane": "LIVE"}, "lane LIVE; allowed are STANDARD, BULK"),
        ({"trace": True}, "may not ask for trace"),
        ({"mode": "EVALUATE"}, "may not use mode EVALUATE"),
        ({"policy_revision": "any"}, "may not pin policy_revision"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_caller_table_is_kept_on_both_ways(asker: Client, asked: dict[str, object], words: str) -> None:
    with pytest.raises(PermissionDenied, match=words):
        asker.moderate(text="hello", timeout=60, **asked)
    (answer,) = asker.stream([build_request(text="hello", **asked)], timeout=60)  # type: ignore[arg-type]
    assert explained(answer.error).code == "PERMISSION_DENIED"
    assert asker.moderate(text="hello", lane="BULK", timeout=60).action == pb.ACTION_ALLOW


def held(server: Server, channel: grpc.Channel, raws: Sequence[bytes]) -> list[grpc.Future]:
    """Calls under way, each of which the server has accepted."""
    call = channel.unary_unary(MODERATE)
    futures = [call.future(raw, timeout=60) for raw in raws]
    until(lambda: metric(server, "floodgate_in_flight_items") == len(raws))
    return futures


def assert_no_room(answer: object, words: str) -> None:
    assert isinstance(answer, Refusal), answer
    assert (answer.code, answer.retry) == ("RESOURCE_EXHAUSTED", True)
    assert re.search(words, answer.message), answer.message


def test_items_beyond_those_in_flight_are_told_to_come_again(narrow: Server, asker: Client) -> None:
    with grpc.insecure_channel(narrow.target) as channel:
        with triton_stopped(narrow):
            futures = held(narrow, channel, [message(request_id=f"held-{index}") for index in range(3)])
            assert_no_room(unary(channel, message()), "3 items are being handled")
            (answer,) = stream(channel, [message(request_id="streamed")])
            assert answer.request_id == "streamed"
            assert_no_room(explained(answer.error), "3 items are being handled")
            with pytest.raises(Overloaded) as raised:
                asker.moderate(text="hello", timeout=60)
            assert raised.value.retry_after_ms > 0
        for future in futures:
            assert pb.ModerateResponse.FromString(future.result()).HasField("decision")
        assert isinstance(unary(channel, message()), pb.ModerateResponse)
    assert_at_rest(narrow)


def test_bytes_beyond_those_in_flight_are_told_to_come_again(narrow: Server) -> None:
    def weighing(size_bytes: int) -> bytes:
        request = build_request(parts=[text_part("hello"), image_part(bytes(size_bytes))])
        return request.SerializeToString()

    with grpc.insecure_channel(narrow.target, options=UNLIMITED) as channel:
        with triton_stopped(narrow):
            futures = held(narrow, channel, [weighing(180_000), weighing(180_000)])
            assert_no_room(unary(channel, weighing(100_000)), r"\d+ bytes are being handled; \d+ more.*400000")
            small = channel.unary_unary(MODERATE).future(message(), timeout=60)
            until(lambda: metric(narrow, "floodgate_in_flight_items") == 3)
        for future in (*futures, small):
            assert pb.ModerateResponse.FromString(future.result()).HasField("decision")
        assert isinstance(unary(channel, weighing(100_000)), pb.ModerateResponse)
    assert_at_rest(narrow)


def test_a_caller_that_gives_up_leaves_its_room_to_others(narrow: Server) -> None:
    with grpc.insecure_channel(narrow.target) as channel, triton_stopped(narrow):
        futures = held(narrow, channel, [message(request_id=f"held-{index}") for index in range(3)])
        for future in futures:
            future.cancel()
        until(lambda: metric(narrow, "floodgate_in_flight_items") == 0)
        waiting = channel.unary_unary(MODERATE).future(message(), timeout=60)
        until(lambda: metric(narrow, "floodgate_in_flight_items") == 1)
        assert not waiting.done()
    assert_at_rest(narrow)


def test_a_hang_up_reads_the_policy_again_and_keeps_the_old_one_when_it_is_wrong(
    narrow: Server, asker: Client, policy: Path
) -> None:
    def revision() -> str:
        return asker.moderate(text="hello", timeout=60).policy.revision

    sound = policy.read_text()
    old = revision()

    def reload(text: str) -> None:
        policy.write_text(text)
        os.kill(narrow.pid, signal.SIGHUP)

    reload(sound.replace(old, "next-1"))
    until(lambda: revision() == "next-1")
    reload(sound.replace(old, "broken").replace("at: 0.45", "at: 4.5"))
    until(lambda: metric(narrow, "floodgate_policy_reloads_total", outcome="refused") == 1)
    assert revision() == "next-1"
    reload(sound.replace(old, "next-2"))
    until(lambda: revision() == "next-2")
    assert narrow.process.poll() is None


def test_a_queue_of_rows_that_is_full_refuses_more(tmp_path: Path) -> None:
    settings = {"FLOODGATE_CORE__QUEUE_ROWS": "4", "FLOODGATE_LIMITS__PARTS": "200"}
    with serving(settings) as own, grpc.insecure_channel(own.target) as channel:
        request = build_request(image=[JPEG] * 100)
        try:
            answer = channel.unary_unary(MODERATE)(request.SerializeToString(), timeout=60)
        except grpc.RpcError as error:
            assert_no_room(refusal(error), "row")
        else:
            raise AssertionError(pb.ModerateResponse.FromString(answer))
        assert isinstance(unary(channel, message()), pb.ModerateResponse)
        assert_at_rest(own)
