"""What passes between the scheduler's process and an acceptor arrives as it was sent, or not at all."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import MappingProxyType

import pytest

from floodgate.acceptor.control import Control, packed, unpacked
from floodgate.acceptor.fleet import reserve_port
from floodgate.errors import ConfigError
from floodgate.models import list_heads
from floodgate.pipeline import Policies
from floodgate.policy import evaluate, load_policy
from floodgate.triton.repository import load_heads
from floodgate.types import Context, FrameScore, Modality, PartResult, PartState, Role

ROOT = Path(__file__).resolve().parents[3]
DEEP = b'{"nested": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"


def test_policies_are_the_same_over_there() -> None:
    labels = {head.name: head.labels for head in load_heads(ROOT / "model_repository", ("nsfw", "toxicity"))}
    known = {card.name: card.labels for card in list_heads(ROOT / "model_repository")}
    policy = load_policy(ROOT / "policies/default.yaml", ROOT / "policies/taxonomy.yaml", labels, known)
    there = unpacked(packed(Policies(policy, {policy.id.revision: policy})))
    assert there.active.id == policy.id
    assert there.choose(policy.id.revision) is there.active
    for score in (0.1, 0.5, 0.95):
        found = FrameScore("photo", 0, "nsfw", "sexual.explicit", score)
        photo = PartResult("photo", Role.MAIN, Modality.IMAGE, PartState.JUDGED, scores=(found,))
        for surface in ("photo", "live", "ad"):
            assert evaluate(there.active, surface, Context(), [photo]) == evaluate(policy, surface, Context(), [photo])


def test_a_mapping_that_cannot_be_written_arrives_as_one() -> None:
    there = unpacked(packed(MappingProxyType({"a": MappingProxyType({"b": 1})})))
    assert there == {"a": {"b": 1}}
    assert isinstance(there["a"], MappingProxyType)


async def test_messages_arrive_whole_and_in_order() -> None:
    ends = socket.socketpair()
    one, other = [await Control.over(end) for end in ends]
    one.send(text="x" * 1_000_000)
    one.send(number=2)
    first = await other.receive()
    assert first is not None
    assert len(first["text"]) == 1_000_000
    assert await other.receive() == {"number": 2}
    await one.close()
    assert await other.receive() is None
    other.send(number=3)  # nobody hears it
    await other.close()


@pytest.mark.parametrize("line", [b"no json\n", b"[1, 2]\n", b'{"cut": ', b"\xff\n", DEEP])
async def test_what_is_no_message_ends_the_conversation(line: bytes) -> None:
    here, there = socket.socketpair()
    control = await Control.over(here)
    await asyncio.to_thread(there.sendall, line)
    there.close()
    assert await asyncio.wait_for(control.receive(), 10) is None
    await control.close()


def test_a_reserved_port_can_be_shared_but_not_reserved_again() -> None:
    reserved, address = reserve_port("127.0.0.1:0")
    with reserved, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        listener.listen()
        with pytest.raises(ConfigError, match="is another server running there"):
            reserve_port(address)


@pytest.mark.parametrize(
    ("address", "why"),
    [("192.0.2.1:0", "Cannot assign requested address"), ("no.such.host.invalid:50051", "no address has that name")],
)
def test_an_address_that_cannot_be_had_is_refused_with_the_reason(address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        reserve_port(address)
