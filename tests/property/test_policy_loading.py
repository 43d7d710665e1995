"""However a policy file is broken, loading answers with a report that points into the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from policy_items import FEEDS, TESTS

from floodgate.policy import check

SOURCE = (TESTS / "property" / "rich_policy.yaml").read_text(encoding="utf-8")
TAXONOMY = (TESTS / "golden" / "taxonomy.yaml").read_text(encoding="utf-8")
# What YAML and the format give meaning to, and what they do not expect.
SNIPPETS = [
    *"{}[],:-#&*!|>'\"%@`~ \n\t",
    "\x00",
    "é",
    "null",
    "none",
    ".nan",
    "-1",
    "1e9",
    "- ",
    "<<: ",
    "---\n",
]

edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(["", *SNIPPETS]) | st.text(max_size=4)),
    min_size=1,
    max_size=4,
)


def edited(text: str, changes: list[tuple[float, int, str]]) -> bytes:
    for place, removed, added in changes:
        at = int(place * len(text))
        text = text[:at] + added + text[at + removed :]
    return text.encode("utf-8", "surrogatepass")


def assert_reported(policy: bytes, taxonomy: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy_path, taxonomy_path = Path(folder, "policy.yaml"), Path(folder, "taxonomy.yaml")
        policy_path.write_bytes(policy)
        taxonomy_path.write_bytes(taxonomy)
        result = check(policy_path, taxonomy_path, FEEDS)
    assert (result.policy is None) == (": error: " in result.rendered)
    for entry in result.diagnostics:
        assert entry.span.path in (str(policy_path), str(taxonomy_path))
        lines = (policy if entry.span.path == str(policy_path) else taxonomy).decode("utf-8", "replace")
        assert entry.span.line <= len(lines.splitlines()) + 1


@given(edits)
@settings(max_examples=300, deadline=None)
def test_broken_policy_is_reported(changes: list[tuple[float, int, str]]) -> None:
    assert_reported(edited(SOURCE, changes), TAXONOMY.encode())


@given(edits)
@settings(max_examples=150, deadline=None)
def test_broken_taxonomy_is_reported(changes: list[tuple[float, int, str]]) -> None:
    assert_reported(SOURCE.encode(), edited(TAXONOMY, changes))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_is_reported(noise: bytes) -> None:
    assert_reported(noise, TAXONOMY.encode())
