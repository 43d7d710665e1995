"""Every mistake a policy file can make has a golden report: tests/golden/policy/<case>.yaml and .txt.

PYTHONPATH=python .venv/bin/python tests/unit/policy/test_diagnostics.py    # writes the reports anew
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from floodgate.errors import PolicyError
from floodgate.policy import InvalidPolicy, Severity, check, load_policy

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(path.stem for path in (GOLDEN / "policy").glob("*.yaml"))
ACCEPTED = {"accepted", "sampling_accepted", "override_overlooks_a_surface"}  # the last with a warning
CONFIGURED = {"nsfw": ("sexual.explicit",)}
KNOWN = {**CONFIGURED, "spare": ("sexual.explicit",), "toxicity": ("harassment.toxicity",)}
SECOND = {"second": ("sexual.explicit",)}


def heads_of(case: str) -> dict[str, tuple[str, ...]]:
    return {**CONFIGURED, **SECOND} if case.startswith("fusion") else CONFIGURED


def report(case: str) -> str:
    """The rendered report of one golden case, with paths relative to tests/golden."""
    with contextlib.chdir(GOLDEN):
        return check(Path(f"policy/{case}.yaml"), Path("taxonomy.yaml"), heads_of(case), KNOWN).rendered + "\n"


@pytest.mark.parametrize("case", CASES)
def test_report_is_the_golden_one(case: str) -> None:
    assert report(case) == (GOLDEN / "policy" / f"{case}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", [case for case in CASES if case not in ACCEPTED])
def test_mistake_is_refused_with_its_place(case: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(GOLDEN / "policy" / f"{case}.yaml", GOLDEN / "taxonomy.yaml", heads_of(case), KNOWN)
    assert isinstance(caught.value, InvalidPolicy)
    assert any(entry.severity is Severity.ERROR for entry in caught.value.diagnostics)
    assert f"{case}.yaml" in str(caught.value)


def test_several_mistakes_are_reported_at_once() -> None:
    assert report("wrong_types").count(": error: ") >= 6


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="is a directory, not a file"):
        load_policy(tmp_path, GOLDEN / "taxonomy.yaml", CONFIGURED)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicy, match="No such file"):
        load_policy(tmp_path / "absent.yaml", GOLDEN / "taxonomy.yaml", CONFIGURED)


def test_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"# " + b"x" * (1 << 20))
    with pytest.raises(InvalidPolicy, match="is larger than 1048576 bytes"):
        load_policy(path, GOLDEN / "taxonomy.yaml", CONFIGURED)


def test_bomb_of_aliases_is_refused_before_it_grows(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidPolicy, match="anchor '&a0' is not allowed"):
        load_policy(path, GOLDEN / "taxonomy.yaml", CONFIGURED)


def test_wrong_taxonomy_is_reported_without_blaming_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_text((GOLDEN / "taxonomy.yaml").read_text().replace("known: [AT, DE,", "known: [AT, de, AT,"))
    with pytest.raises(InvalidPolicy) as caught:
        load_policy(GOLDEN / "policy" / "accepted.yaml", path, CONFIGURED)
    assert {entry.span.path for entry in caught.value.diagnostics} == {str(path)}
    assert "market 'de' is not two upper-case letters" in str(caught.value)
    assert "market 'AT' is listed twice" in str(caught.value)


def test_norway_is_a_market_and_not_a_boolean(tmp_path: Path) -> None:
    text = (GOLDEN / "policy" / "accepted.yaml").read_text()
    path = tmp_path / "norway.yaml"
    path.write_text(text.replace("{surfaces: [message]}", "{markets: [NO]}"))
    policy = load_policy(path, GOLDEN / "taxonomy.yaml", CONFIGURED)
    assert policy.axes.class_of("NO") != policy.axes.class_of("US")


if __name__ == "__main__":
    for name in CASES:
        (GOLDEN / "policy" / f"{name}.txt").write_text(report(name), encoding="utf-8")
