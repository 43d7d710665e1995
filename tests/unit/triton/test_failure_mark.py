"""The mark of a failed head is written in three files, two of which run where Floodgate cannot be imported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from floodgate.triton import answers

PACKAGE = Path(answers.__file__).parent


@pytest.mark.parametrize("writer", ["guard", "runner"])
def test_whoever_writes_the_failure_mark_writes_the_one_that_is_read(writer: str) -> None:
    found = re.search(r"^FAILED_BITS = (\w+)$", (PACKAGE / writer / "model.py").read_text(encoding="utf-8"), re.M)
    assert found is not None
    assert int(found.group(1), 16) == answers.FAILED_BITS
