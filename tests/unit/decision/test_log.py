"""The decision log: whole lines, counted losses, rotation."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from floodgate.decision import DecisionLog, DecisionRecord, read_log
from floodgate.errors import ConfigError
from floodgate.types import Action, Context, PolicyId, Verdict

VERDICT = Verdict(Action.ALLOW, (), None, (), (), (), (), PolicyId("p", "1", "00"))


def record(number: int) -> DecisionRecord:
    return DecisionRecord(
        decision_id=f"id-{number}",
        time="2026-11-22T09:30:00.123Z",
        server_version="0.1.0",
        request_id=str(number),
        content_id="c" * 200,
        content_version="",
        surface="photo",
        trigger="UPLOAD",
        mode="ENFORCE",
        lane="STANDARD",
        caller="default",
        context=Context(),
        parts=(),
        verdict=VERDICT,
    )


def ids_in(path: Path) -> list[str]:
    found = []
    for _, entry in read_log(path):
        assert isinstance(entry, DecisionRecord)
        found.append(entry.request_id)
    return found


def test_every_decision_is_one_line_in_order(tmp_path: Path) -> None:
    reports: list[str] = []
    path = tmp_path / "new" / "folder" / "decisions.jsonl"
    log = DecisionLog(path, report=reports.append)
    for number in range(1000):
        assert log.append(record(number))
    assert log.close()
    assert ids_in(path) == [str(number) for number in range(1000)]
    assert log.stats().written == 1000
    assert log.stats().bytes_written == path.stat().st_size
    assert log.stats().pending == 0
    assert reports == []


def test_writers_of_one_file_never_interleave(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    logs = [DecisionLog(path, report=lambda _: None) for _ in range(3)]

    def write(log: DecisionLog, first: int) -> None:
        for number in range(first, first + 300):
            log.append(record(number))

    threads = [threading.Thread(target=write, args=(log, 300 * i)) for i, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        assert log.close()
    assert sorted(map(int, ids_in(path))) == list(range(900))


def test_full_disk_is_counted_and_reported_once() -> None:
    reports: list[str] = []
    log = DecisionLog(Path("/dev/full"), report=reports.append)
    for number in range(5):
        assert log.append(record(number))
        assert log.flush()
    assert log.close()
    assert log.stats().failed == 5
    assert log.stats().written == 0
    assert reports == ["the decision log '/dev/full' cannot be written: No space left on device"]


def test_recovery_is_reported_with_the_number_lost(tmp_path: Path) -> None:
    reports: list[str] = []
    path = tmp_path / "decisions.jsonl"
    path.symlink_to("/dev/full")
    log = DecisionLog(path, report=reports.append)
    log.append(record(0))
    log.append(record(1))
    assert log.flush()
    path.unlink()
    log.reopen()
    assert log.flush()
    log.append(record(2))
    assert log.close()
    assert ids_in(path) == ["2"]
    assert reports[-1] == f"the decision log '{path}' is written again; 2 decisions were lost"


def test_rotation_starts_a_new_file_and_loses_nothing(tmp_path: Path) -> None:
    path, old = tmp_path / "decisions.jsonl", tmp_path / "decisions.1"
    log = DecisionLog(path, report=pytest.fail)
    log.append(record(0))
    assert log.flush()
    path.rename(old)
    log.append(record(1))  # still the old file
    assert log.flush()
    log.reopen()
    assert log.flush()
    log.append(record(2))
    assert log.close()
    assert ids_in(old) == ["0", "1"]
    assert ids_in(path) == ["2"]


def test_full_queue_drops_counts_and_says_so(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()
    reports: list[str] = []

    class SlowRecord(DecisionRecord):
        """A record whose encoding waits, so that the queue fills."""

        def to_json_line(self) -> str:
            started.set()
            assert go_on.wait(30)
            return record(0).to_json_line()

    slow = SlowRecord(**{name: getattr(record(0), name) for name in DecisionRecord.__dataclass_fields__})
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(path, report=reports.append, capacity=2)
    assert log.append(slow)
    assert started.wait(30)
    assert [log.append(record(number)) for number in range(1, 6)] == [True, True, False, False, False]
    go_on.set()
    assert log.flush()
    assert log.stats().dropped == 3
    assert ids_in(path) == ["0", "1", "2"]
    assert log.append(record(6))
    assert log.close()
    assert reports == [
        f"the decision log '{path}' drops decisions: 2 decisions are waiting to be written",
        f"the decision log '{path}' keeps up again; 3 decisions were dropped",
    ]


def test_record_that_cannot_be_encoded_harms_no_other(tmp_path: Path) -> None:
    reports: list[str] = []
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(path, report=reports.append)
    bad = record(0)
    object.__setattr__(bad, "context", Context(signals={"x": float("nan")}))
    log.append(bad)
    log.append(record(1))
    assert log.close()
    assert ids_in(path) == ["1"]
    assert log.stats().failed == 1
    assert reports[0].startswith("decision id-0 cannot be written down")


def test_torn_line_is_ended_before_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(record(0).to_json_line() + '{"schema":1,"decis')
    log = DecisionLog(path, report=pytest.fail)
    log.append(record(1))
    assert log.close()
    first, torn, last = [entry for _, entry in read_log(path)]
    assert isinstance(first, DecisionRecord)
    assert isinstance(torn, ValueError)
    assert isinstance(last, DecisionRecord)
    assert last.request_id == "1"


def test_append_after_close_is_dropped(tmp_path: Path) -> None:
    reports: list[str] = []
    log = DecisionLog(tmp_path / "decisions.jsonl", report=reports.append)
    assert log.close()
    assert log.close()
    assert not log.append(record(0))
    assert log.stats().dropped == 1
    assert reports[0].endswith("it is closed")


def test_log_that_cannot_be_opened_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened: Is a directory"):
        DecisionLog(tmp_path, report=pytest.fail)


def test_a_decision_is_written_soon_without_being_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(path, report=pytest.fail)
    for number in range(3):
        log.append(record(number))
        while log.stats().pending:
            pass
        assert len(ids_in(path)) == number + 1
    assert log.close()
