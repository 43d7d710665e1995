"""Streams: pipelined, answered by id, and whole whatever one item or one client does."""

from __future__ import annotations

import os
import queue
import random
import signal
from collections.abc import Iterator

import grpc
import pytest
from calls import MODERATE_STREAM, UNLIMITED, explained, message, stream
from observed import assert_at_rest, descendants, metric, until
from specimens import JPEG, encoded

from bench.server import Server, serving
from floodgate.client import build_request
from floodgate.v1 import moderation_pb2 as pb


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target, options=UNLIMITED) as open_channel:
        yield open_channel


class Talk:
    """A stream that the test feeds one message at a time."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call = channel.stream_stream(MODERATE_STREAM)(iter(self._waiting.get, None), timeout=120)

    def say(self, raw: bytes) -> None:
        self._waiting.put(raw)

    def hang_up(self) -> None:
        """Half-closes: nothing more will be said."""
        self._waiting.put(None)

    def hear(self) -> pb.ModerateResponse:
        return pb.ModerateResponse.FromString(next(self.call))

    def rest(self) -> list[pb.ModerateResponse]:
        return [pb.ModerateResponse.FromString(raw) for raw in self.call]


def picture(request_id: str, data: bytes = JPEG) -> bytes:
    request = build_request(image=data, content_id=f"content-{request_id}", request_id=request_id)
    return request.SerializeToString()


def test_every_item_is_answered_once_under_its_own_id(channel: grpc.Channel) -> None:
    ids = [f"item-{index}" for index in range(200)]
    random.Random(3).shuffle(ids)
    raws = [picture(each) if int(each[5:]) % 3 else message(request_id=each) for each in ids]
    answers = list(stream(channel, raws))
    assert sorted(answer.request_id for answer in answers) == sorted(ids)
    assert all(answer.HasField("decision") for answer in answers)
    assert all(answer.content_id in (f"content-{answer.request_id}", "c-1") for answer in answers)


def test_a_stream_answers_while_it_is_still_open(channel: grpc.Channel) -> None:
    talk = Talk(channel)
    for each in ("one", "two", "three"):
        talk.say(message(request_id=each))
        assert talk.hear().request_id == each
    talk.hang_up()
    assert talk.rest() == []
    assert talk.call.code() is grpc.StatusCode.OK


def test_an_early_half_close_still_gets_every_answer(channel: grpc.Channel) -> None:
    talk = Talk(channel)
    for index in range(50):
        talk.say(picture(f"p-{index}"))
    talk.hang_up()
    assert sorted(answer.request_id for answer in talk.rest()) == sorted(f"p-{index}" for index in range(50))
    assert talk.call.code() is grpc.StatusCode.OK


def test_a_stream_of_nothing_ends_well(channel: grpc.Channel) -> None:
    assert list(stream(channel, [])) == []


def test_garbage_is_answered_and_the_stream_goes_on(channel: grpc.Channel) -> None:
    talk = Talk(channel)
    for raw in (b"\xff" * 50, b"", b"\x0a\xff\xff\xff\xff\xff", random.Random(5).randbytes(2000)):
        talk.say(raw)
        assert explained(talk.hear().error).code == "INVALID_ARGUMENT"
    talk.say(message(request_id="sound"))
    assert talk.hear().HasField("decision")
    talk.hang_up()
    assert talk.rest() == []


def test_an_item_without_request_id_is_refused_because_nothing_could_match_it(channel: grpc.Channel) -> None:
    (answer,) = stream(channel, [message(lambda request: request.ClearField("request_id"))])
    refused = explained(answer.error)
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "request_id")
    assert "required on a stream" in refused.message
    assert answer.content_id == "c-1"


def test_the_second_of_two_equal_ids_in_flight_is_refused_and_the_first_is_judged(channel: grpc.Channel) -> None:
    # Large enough that the second arrives while the first is being decoded.
    large = picture("twin", encoded("PNG", (3000, 3000)))
    answers = list(stream(channel, [large, message(request_id="twin")]))
    (refused,) = [explained(answer.error) for answer in answers if answer.HasField("error")]
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "request_id")
    assert "'twin' is in flight" in refused.message
    (judged,) = [answer for answer in answers if answer.HasField("decision")]
    assert judged.content_id == "content-twin"


def test_an_id_may_be_used_again_once_it_is_answered(channel: grpc.Channel) -> None:
    talk = Talk(channel)
    for _ in range(3):
        talk.say(message(request_id="again"))
        assert talk.hear().HasField("decision")
    talk.hang_up()
    assert talk.rest() == []


def test_two_streams_may_use_the_same_ids(channel: grpc.Channel) -> None:
    talks = [Talk(channel), Talk(channel)]
    for talk in talks:
        talk.say(picture("same"))
        talk.hang_up()
    assert [[answer.HasField("decision") for answer in talk.rest()] for talk in talks] == [[True], [True]]


def test_a_client_that_goes_away_takes_its_work_along(server: Server) -> None:
    with grpc.insecure_channel(server.target) as leaving:
        talk = Talk(leaving)
        large = encoded("PNG", (800, 800))
        for index in range(60):
            talk.say(picture(f"gone-{index}", large))
        talk.hear()
        talk.call.cancel()
    assert_at_rest(server)
    with grpc.insecure_channel(server.target) as staying:
        (answer,) = stream(staying, [message()])
        assert answer.HasField("decision")
    assert server.process.poll() is None


def test_a_client_that_goes_away_leaves_other_streams_alone(channel: grpc.Channel, server: Server) -> None:
    staying = Talk(channel)
    staying.say(message(request_id="first"))
    assert staying.hear().HasField("decision")
    for _ in range(10):
        with grpc.insecure_channel(server.target) as leaving:
            talk = Talk(leaving)
            for index in range(5):
                talk.say(picture(f"gone-{index}"))
            talk.call.cancel()
    staying.say(message(request_id="second"))
    assert staying.hear().HasField("decision")
    staying.hang_up()


def test_a_stream_is_read_no_further_than_its_share_and_then_goes_on() -> None:
    """With Triton stopped nothing finishes, so what is in flight is what was read."""
    with serving({"FLOODGATE_LIMITS__STREAM_IN_FLIGHT": "3"}) as own, grpc.insecure_channel(own.target) as channel:
        assert len(list(stream(channel, [message()]))) == 1
        stopped = descendants(own.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            talk = Talk(channel)
            for index in range(20):
                talk.say(message(request_id=f"s-{index}"))
            talk.hang_up()
            until(lambda: metric(own, "floodgate_in_flight_items") == 3)
            received = metric(own, "floodgate_core_tickets_total")
            with grpc.insecure_channel(own.target) as other:
                neighbour = Talk(other)
                neighbour.say(message(request_id="neighbour"))
                until(lambda: metric(own, "floodgate_in_flight_items") == 4)
                assert metric(own, "floodgate_core_tickets_total") == received + 1
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
                assert neighbour.hear().HasField("decision")
                neighbour.hang_up()
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        answers = talk.rest()
        assert sorted(answer.request_id for answer in answers) == sorted(f"s-{index}" for index in range(20))
        assert all(answer.HasField("decision") for answer in answers)
