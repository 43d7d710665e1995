"""Model cards and the state of the project's own repository."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from floodgate.errors import ModelError
from floodgate.models import State, list_heads, verify

CARD = """\
---
title: Words
licence: MIT
source: made here
labels: [some.label]
judges: Words.
cannot_judge: Anything else.
---
# words
"""


def make_head(repository: Path, name: str, card: str = CARD) -> Path:
    directory = repository / name
    (directory / "1").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(f'name: "{name}"\n')
    (directory / "card.md").write_text(card, encoding="utf-8")
    return directory


def parameter(config: str, key: str) -> str:
    found = re.search(rf"key: \"{key}\"\s+value {{ string_value: (['\"])(.*?)\1 }}", config)
    assert found, f"config.pbtxt has no parameter {key}"
    return found[2]


def test_every_card_agrees_with_its_config(repository: Path) -> None:
    cards = list_heads(repository)
    assert [card.name for card in cards] == ["nsfw", "nudity", "toxicity"]
    for card in cards:
        config = (repository / card.name / "config.pbtxt").read_text()
        assert f'name: "{card.name}"' in config
        assert parameter(config, "licence") == card.licence
        assert json.loads(parameter(config, "labels")) == list(card.labels)
        assert "dynamic_batching" not in config
        assert card.locked


def test_a_head_under_a_strong_licence_is_opt_in(repository: Path) -> None:
    assert {card.name for card in list_heads(repository) if card.opt_in} == {"nudity"}


def test_a_head_with_its_own_weights_is_listed_and_unlocked(tmp_path: Path) -> None:
    directory = make_head(tmp_path, "own")
    (finding,) = verify(tmp_path, None)
    assert (finding.head, finding.state, finding.servable) == ("own", State.MISSING, False)
    (directory / "1" / "model.onnx").write_bytes(b"weights")
    (finding,) = verify(tmp_path, None)
    assert (finding.state, finding.servable) == (State.UNLOCKED, True)
    (card,) = list_heads(tmp_path)
    assert (card.title, card.locked, card.opt_in) == ("Words", False, False)


def test_a_head_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    (finding,) = verify(tmp_path, ["ghost"])
    assert (finding.state, finding.servable) == (State.BROKEN, False)
    assert "config.pbtxt" in finding.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("---\n", "", "must start with front matter"),
        ("title: Words\n", "", "title is missing"),
        ("title: Words", "title: [Words]", "title is missing from the front matter, or is not text"),
        ("labels: [some.label]", "labels: some.label", "labels must be a list"),
        ("judges: Words.", "judges: Words.\ncolour: red", "unknown member 'colour'"),
        ("licence: MIT", "licence: [", "is not YAML"),
    ],
)
def test_a_mistake_in_a_card_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    make_head(tmp_path, "words", CARD.replace(old, new, 1))
    with pytest.raises(ModelError) as caught:
        list_heads(tmp_path)
    assert message in caught.value.message
    assert "card.md" in caught.value.message


def test_a_missing_card_and_a_missing_repository_are_named(tmp_path: Path) -> None:
    make_head(tmp_path, "words")
    (tmp_path / "words" / "card.md").unlink()
    with pytest.raises(ModelError, match=r"card\.md is missing; every head has a card"):
        list_heads(tmp_path)
    with pytest.raises(ModelError, match="is not a directory"):
        list_heads(tmp_path / "nowhere")
