"""An item of several parts is refused when the first of them is, whatever the others still wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from test_sequences import CLIP, Core, judged, video

from floodgate.errors import Overloaded, UnsupportedContent
from floodgate.tickets import PartAnswer, Ticket
from floodgate.types import Content, Modality, Part, PartState, Role


class Remote(Core):
    """A core that answers when the test has it do so, as the scheduler of another process does."""

    def __init__(self) -> None:
        super().__init__(video())
        self.answers: list[asyncio.Future[PartAnswer]] = []
        self.taking = asyncio.Semaphore(0)

    def submit(self, *_: object) -> Any:
        self.answers.append(asyncio.get_running_loop().create_future())
        self.taking.release()
        book: Any = self
        return Ticket(book, len(self.answers) - 1, self.answers[-1], digests=False)

    def withdraw(self, ticket: int) -> None:
        self.answers[ticket].cancel()


async def begun(core: Remote, parts: int) -> asyncio.Task[Any]:
    """An item whose parts have all been taken."""
    several = (Part(str(n), Role.MAIN, Modality.VIDEO, Content(CLIP)) for n in range(parts))
    judging = asyncio.create_task(judged(core, *several))
    for _ in range(parts):
        await core.taking.acquire()
    return judging


@pytest.mark.parametrize("refused", [0, 1, 2])
async def test_a_refusal_of_any_part_is_told_while_the_others_wait(refused: int) -> None:
    core = Remote()
    judging = await begun(core, 3)
    core.answers[refused].set_exception(Overloaded("no room"))
    with pytest.raises(Overloaded, match="no room"):
        await asyncio.wait_for(judging, 20.0)
    assert [answer.cancelled() for answer in core.answers] == [number != refused for number in range(3)]


async def test_a_part_that_cannot_be_read_refuses_nothing_and_results_come_in_order() -> None:
    core = Remote()
    judging = await begun(core, 3)
    core.answers[1].set_exception(UnsupportedContent("no such codec"))
    core.answers[2].set_result(video(frames_sampled=2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not judging.done()
    core.answers[0].set_result(video(frames_sampled=3))
    decision, _ = await asyncio.wait_for(judging, 20.0)
    assert [part.state for part in decision.parts] == [PartState.JUDGED, PartState.UNREADABLE, PartState.JUDGED]
    assert [part.frames_sampled for part in decision.parts] == [3, 0, 2]


async def test_a_refusal_after_an_unreadable_part_is_told_too() -> None:
    core = Remote()
    judging = await begun(core, 3)
    core.answers[2].set_exception(UnsupportedContent("no such codec"))
    await asyncio.sleep(0)
    core.answers[1].set_exception(Overloaded("no room"))
    with pytest.raises(Overloaded):
        await asyncio.wait_for(judging, 20.0)


async def test_of_several_refusals_the_first_part_s_is_told() -> None:
    core = Remote()
    judging = await begun(core, 8)
    for number, answer in enumerate(core.answers):
        answer.set_exception(Overloaded(f"part {number}"))
    with pytest.raises(Overloaded, match="part 0"):
        await asyncio.wait_for(judging, 20.0)
