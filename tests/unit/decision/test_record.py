"""Decision records: strict to read, and free of content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from floodgate.decision import DecisionRecord, PartRecord, part_record, utc_time
from floodgate.decision.encoding import shortest_float32
from floodgate.types import (
    Action,
    Content,
    Context,
    FrameScore,
    Modality,
    Part,
    PartResult,
    PartState,
    PolicyId,
    Review,
    Role,
    Verdict,
)

SCORE = FrameScore("p", 40, "nsfw", "sexual.explicit", 0.699999988079071)
RESULT = PartResult("p", Role.MAIN, Modality.IMAGE, PartState.JUDGED, scores=(SCORE,))
PART = Part("p", Role.MAIN, Modality.IMAGE, Content(b"secret bytes"))
REVIEW = Review("general", 10, True, ("r",))


def record(review: Review | None = None) -> DecisionRecord:
    return DecisionRecord(
        decision_id="id",
        time=utc_time(1_795_339_800_123),
        server_version="0.1.0",
        request_id="r",
        content_id="c",
        content_version="2",
        surface="photo",
        trigger="UPLOAD",
        mode="ENFORCE",
        lane="BULK",
        caller="default",
        context=Context(origin_market="DE", signals={"strikes": 3.0, "verified": True}),
        parts=(part_record(PART, RESULT),),
        verdict=Verdict(Action.ALLOW, (), review, (), (), (), (), PolicyId("p", "1", "00")),
    )


def test_content_is_bound_by_digest_and_never_stored() -> None:
    line = record().to_json_line()
    assert "secret" not in line
    row = json.loads(line)["parts"][0]
    assert row["sha256"] == hashlib.sha256(b"secret bytes").hexdigest()
    assert row["size_bytes"] == 12


def test_both_zeros_keep_their_sign_whichever_came_first() -> None:
    assert [str(shortest_float32(value)) for value in (0.0, -0.0, 0.0)] == ["0.0", "-0.0", "0.0"]


def test_scores_are_written_as_short_as_float32_allows() -> None:
    assert json.loads(record().to_json_line())["parts"][0]["scores"] == [
        {"time_ms": 40, "head": "nsfw", "label": "sexual.explicit", "score": 0.7}
    ]


def test_automation_level_follows_the_review() -> None:
    assert record().automation == "automated"
    assert record(REVIEW).automation == "automated_with_review"


def test_time_is_utc_with_milliseconds() -> None:
    assert utc_time(0) == "1970-01-01T00:00:00.000Z"
    assert utc_time(1_795_339_800_123) == "2026-11-22T09:30:00.123Z"


def test_result_of_another_part_is_refused() -> None:
    other = PartResult("q", Role.MAIN, Modality.IMAGE, PartState.JUDGED)
    with pytest.raises(ValueError, match="do not belong together"):
        part_record(PART, other)


def test_score_of_another_part_is_refused() -> None:
    stray = PartResult("q", Role.MAIN, Modality.IMAGE, PartState.JUDGED, scores=(SCORE,))
    holder = record()
    object.__setattr__(holder, "parts", (PartRecord(stray, "00", 1),))
    with pytest.raises(ValueError, match="holds a score of another part"):
        holder.to_json_line()


def drop(row: dict[str, Any]) -> None:
    del row["surface"]


def add(row: dict[str, Any]) -> None:
    row["colour"] = "red"


def retype(row: dict[str, Any]) -> None:
    row["parts"][0]["size_bytes"] = True


def rename(row: dict[str, Any]) -> None:
    row["parts"][0]["role"] = "MIAN"


def overflow(row: dict[str, Any]) -> None:
    row["parts"][0]["scores"][0]["score"] = 1e300


def contradict(row: dict[str, Any]) -> None:
    row["automation"] = "automated_with_review"


def age(row: dict[str, Any]) -> None:
    row["schema"] = 99


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, "record.surface: missing"),
        (add, "record: unknown key 'colour'"),
        (retype, r"record.parts\[0\].size_bytes: True is no whole number"),
        (rename, r"record.parts\[0\].result.role: 'MIAN' is no Role"),
        (overflow, "is no float32"),
        (contradict, "contradicts the verdict's review"),
        (age, "not a decision record of schema 1"),
    ],
)
def test_spoilt_record_is_refused_with_its_field(spoil: Callable[[dict[str, Any]], None], message: str) -> None:
    row = json.loads(record().to_json_line())
    spoil(row)
    with pytest.raises(ValueError, match=message):
        DecisionRecord.from_json(json.dumps(row))


@pytest.mark.parametrize("line", ["", "[]", "{", '{"schema": NaN}', "[" * 100_000, "null"])
def test_line_that_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        DecisionRecord.from_json(line)
