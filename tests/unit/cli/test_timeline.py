"""A video's timeline as people see it, and seeds as they write them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from floodgate.cli.frames import parse_seed
from floodgate.cli.table import Row, show
from floodgate.cli.timeline import bar, clock
from floodgate.errors import ConfigError
from floodgate.v1 import moderation_pb2 as pb

SEED = 0xFEDCBA9876543210


def shown(decision: pb.Decision, name: str = "clip.mp4") -> list[str]:
    out = io.StringIO()
    show([Row(name, decision, None)], Console(file=out, width=200))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def decision() -> pb.Decision:
    part = pb.PartStatus(
        part_id="0",
        state=pb.PartStatus.STATE_JUDGED,
        frames_sampled=2,
        frames_dropped=3,
        frames_missed=4,
        duration_ms=61_250,
        note="the data ends early",
        sampling_seed=SEED,
        media_format="mp4",
        codec="h264",
        sampling=pb.Sampling(max_frames=16, min_interval_ms=500),
    )
    scores = [
        pb.LabelScore(label=label, score=score, head="h", part_id="0", time_ms=time_ms, in_competence=True)
        for time_ms, label, score in [
            (1500, "scene.calm", 0.25),
            (1500, "sexual.explicit", 0.96),
            (0, "sexual.explicit", 0.04),
        ]
    ]
    return pb.Decision(action=pb.ACTION_REMOVE, parts=[part], scores=scores)


def test_a_line_a_frame_in_order_of_time_with_the_highest_label_first() -> None:
    name, summary, first, second, note, _, head, verdict, *_ = shown(decision())
    assert name == "clip.mp4"
    assert summary == (
        "  mp4/h264, 1:01.250 long: 2 frames judged, 3 near copies dropped, 4 not reached in time "
        "(at most 16, 500 ms apart, seed 0xfedcba9876543210)"
    )
    assert first.split() == ["0:00.000", "··········", "sexual.explicit", "0.0400"]
    assert second.split() == ["0:01.500", "■" * 10, "sexual.explicit", "0.9600", "scene.calm", "0.2500"]
    assert note.strip() == "note: the data ends early"
    assert head.split() == ["item", "action", "why", "ms"]
    assert verdict.split()[:2] == ["clip.mp4", "REMOVE"]


def test_a_still_has_no_timeline() -> None:
    still = decision()
    still.parts[0].ClearField("sampling")
    assert shown(still)[0].split() == ["item", "action", "why", "ms"]


def test_names_and_notes_move_no_cursor() -> None:
    odd = decision()
    odd.parts[0].note = "[red]\x1b[31mnote"
    lines = shown(odd, "clip\x1b[2J.mp4")
    assert not any("\x1b" in line for line in lines)
    assert any("[red] [31mnote" in line for line in lines)


def test_media_time_is_shown_with_hours_only_where_there_are_any() -> None:
    assert [clock(ms) for ms in (0, 59_999, 3_600_000, 3_723_004)] == [
        "0:00.000",
        "0:59.999",
        "1:00:00.000",
        "1:02:03.004",
    ]


def test_a_bar_has_ten_cells() -> None:
    assert [bar(score).count("■") for score in (0.0, 0.04, 0.5, 0.96, 1.0)] == [0, 0, 5, 10, 10]
    assert {len(bar(score / 7)) for score in range(8)} == {10}


def test_a_seed_is_read_as_answers_and_records_write_it() -> None:
    assert parse_seed("0xfedcba9876543210") == parse_seed(str(SEED)) == SEED


@pytest.mark.parametrize("wrong", ["", "seed", "-1", str(1 << 64), "0x", "1.5"])
def test_what_is_no_seed_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="64 bits"):
        parse_seed(wrong)
