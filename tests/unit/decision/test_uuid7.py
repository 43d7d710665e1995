"""UUIDv7: layout, order, and clocks that stand still or go back."""

from __future__ import annotations

import threading
import uuid

import pytest

from floodgate.decision import Uuid7Generator, new_decision_id, unix_ms_of


def test_layout_is_that_of_the_rfc() -> None:
    value = Uuid7Generator(clock=lambda: 0x017F22E279B0, entropy=lambda n: b"\xff" * n)()
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert unix_ms_of(value) == 0x017F22E279B0
    assert str(value) == "017f22e2-79b0-77ff-bfff-ffffffffffff"


def test_ids_ascend_within_one_millisecond_and_when_the_clock_goes_back() -> None:
    ticks = iter([5, 5, 5, 3, 3, 6, 6, 1])
    make = Uuid7Generator(clock=lambda: next(ticks))
    made = [make() for _ in range(8)]
    assert made == sorted(set(made))
    assert [str(value) for value in made] == sorted(str(value) for value in made)


def test_exhausted_millisecond_borrows_the_next() -> None:
    make = Uuid7Generator(clock=lambda: 7, entropy=lambda n: b"\xff" * n)
    make()
    make._random = (1 << 74) - 1
    assert unix_ms_of(make()) == 8


def test_threads_never_share_an_id() -> None:
    made: list[uuid.UUID] = []

    def work() -> None:
        made.extend([new_decision_id() for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000


@pytest.mark.parametrize("now", [-1, 1 << 48])
def test_time_that_does_not_fit_is_refused(now: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Uuid7Generator(clock=lambda: now)()


def test_other_versions_have_no_time() -> None:
    with pytest.raises(ValueError, match="not a UUIDv7"):
        unix_ms_of(uuid.uuid4())
