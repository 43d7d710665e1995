"""Decisions: their ids, the record that binds all they stood on, and the log that keeps the records."""

from floodgate.decision.log import DecisionLog, LogStats, read_log
from floodgate.decision.record import (
    DecisionRecord,
    MediaFacts,
    PartRecord,
    ReplayInputs,
    part_record,
    replay,
    utc_time,
)
from floodgate.decision.uuid7 import Uuid7Generator, new_decision_id, unix_ms_of

__all__ = [
    "DecisionLog",
    "DecisionRecord",
    "LogStats",
    "MediaFacts",
    "PartRecord",
    "ReplayInputs",
    "Uuid7Generator",
    "new_decision_id",
    "part_record",
    "read_log",
    "replay",
    "unix_ms_of",
    "utc_time",
]
