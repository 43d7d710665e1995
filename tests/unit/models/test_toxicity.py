"""The toxicity head against the package that its weights come from, on any text."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentences import SENTENCES

AWKWARD = {
    "empty": "",
    "only stop words": "the and of to is",
    "one letter words": "a b c d e",
    "emoji": "you are a \U0001f92c idiot \U0001f469‍\U0001f469‍\U0001f467 \U0001f44d\U0001f3fd",
    "lone combining marks": "́̈҉ ́",
    "dotted capital I": "İSTANBUL STUPİD IDIOT",
    "sharp s and final sigma": "STRASSE Straße ΜΕΛ μελ ΟΔΟΣ",
    "title-case digraph": "ǅ ǈ ﬁne shit",
    "controls": "\x00\x01shit\x00 fuck\x7f\x85you\u2028idiot\ufeff",
    "fullwidth": "ｆｕｃｋ ｙｏｕ",
    "digits": "123 ４５６ ²³ ⅷ 0x1f h3ll0",
    "underscores": "you_are_an_idiot __init__ _",
    "vocabulary beyond ASCII": "josé pokémon 竜龙 trácht 連絡 ውይይት",
    "decomposed": unicodedata.normalize("NFD", "josé beyoncé pokémon"),
    "astral letters": "\U0001d4d5\U0001d4f8\U0001d4f8 \U00010400\U00010401 shit",
    "thai": "ไอ้โง่ ไปตายซะ",
    "zero width": "id\u200biot fu\u200dck",
    "line feeds": "\n\r\n\tidiot\u000b\u000cidiot",
}

COMMON = ["you", "are", "stupid", "idiot", "fuck", "the", "of", "hello", "shit", "love", "hate"]
PECULIAR = ["İ", "ß", "josé", "2024", "竜龙", "a", "\x00", "\u0301", "\n", "_"]
CHARACTERS = st.characters(exclude_categories=["Cs"])  # surrogates are not UTF-8
WORDS = st.sampled_from(COMMON + PECULIAR)
TEXTS = st.one_of(
    st.text(CHARACTERS, max_size=400),
    st.lists(WORDS, max_size=60).map(" ".join),
    st.lists(st.one_of(WORDS, st.text(CHARACTERS, max_size=3)), max_size=60).map("".join),
)


@pytest.fixture(scope="module")
def model(word_scores: ModuleType, toxicity: Path) -> Any:
    return word_scores.WordScores(toxicity / "1" / "model.npz", toxicity / "1" / "stop_words.txt")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    package: ModuleType = pytest.importorskip("profanity_check", reason="the reference package is not installed")
    return package


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD.keys())
def test_awkward_texts_score_as_in_the_package(model: Any, reference: ModuleType, text: str) -> None:
    assert model.score([text])[0][0] == pytest.approx(reference.predict_prob([text])[0], abs=1e-12)


def test_long_texts_score_as_in_the_package(model: Any, reference: ModuleType) -> None:
    english = " ".join(" ".join(texts) for texts in SENTENCES.values())
    long = [(english * 200)[:200_000], "fuck " * 40_000, "x" * 200_000, "é" * 100_000, "a " * 100_000]
    np.testing.assert_allclose(model.score(long)[0], reference.predict_prob(long), rtol=0, atol=1e-12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_any_texts_score_as_in_the_package(model: Any, reference: ModuleType, texts: list[str]) -> None:
    np.testing.assert_allclose(model.score(texts)[0], reference.predict_prob(texts), rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=8), st.data())
def test_a_score_does_not_depend_on_its_neighbours(model: Any, texts: list[str], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(texts) - 1))
    together, alone = model.score(texts), model.score([texts[row]])
    assert (together[0][row], together[1][row]) == (alone[0][0], alone[1][0])


def test_rows_of_bytes_are_cut_at_their_length(word_scores: ModuleType, model: Any) -> None:
    texts = ["you idiot", "", "josé is kind"]
    rows = np.full((3, 64), ord("z"), np.uint8)
    for row, text in enumerate(texts):
        rows[row, : len(text.encode())] = np.frombuffer(text.encode(), np.uint8)
    lengths = np.array([[len(text.encode())] for text in texts], np.int32)
    scores, known = word_scores.score_rows(model, rows, lengths)
    assert scores.dtype == known.dtype == np.float32
    assert scores.shape == known.shape == (3, 1)
    wanted_scores, wanted_known = model.score(texts)
    np.testing.assert_array_equal(scores[:, 0], wanted_scores.astype(np.float32))
    np.testing.assert_array_equal(known[:, 0], wanted_known.astype(np.float32))


@pytest.mark.parametrize(
    ("row", "length"),
    [(b"idiot\xff", 6), (b"idiot", -1), (b"idiot", 65), ("é".encode()[:1], 1), (b"\xed\xa0\x80", 3)],
)
def test_an_unreadable_row_has_no_score_and_harms_no_neighbour(
    word_scores: ModuleType, model: Any, row: bytes, length: int
) -> None:
    rows = np.zeros((2, 64), np.uint8)
    rows[0, : len(row)] = np.frombuffer(row, np.uint8)
    rows[1, :5] = np.frombuffer(b"idiot", np.uint8)
    scores, known = word_scores.score_rows(model, rows, np.array([[length], [5]], np.int32))
    assert np.isnan(scores[0, 0])
    assert np.isnan(known[0, 0])
    assert scores[1, 0] == np.float32(model.score(["idiot"])[0][0])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("!!! ... a", 0.0),
        ("2024 100", 0.0),
        ("the and of", 1.0),
        ("stupid idiot", 1.0),
        ("stupid qqxqz", 0.5),
        ("stupid stupid stupid qqxqz", 0.75),
        ("stupid 2024 ４５６", 1.0),
    ],
)
def test_known_share_counts_words_with_repeats_and_no_numbers(model: Any, text: str, share: float) -> None:
    assert model.score([text])[1][0] == share


def test_the_competence_limit_separates_english_from_other_languages(model: Any, toxicity: Path) -> None:
    config = (toxicity / "config.pbtxt").read_text()
    limit = float(config.partition('"min_known_share": ')[2].partition("}")[0])
    passed = {
        language: float((model.score(list(texts))[1].astype(np.float32) >= np.float32(limit)).mean())
        for language, texts in SENTENCES.items()
    }
    assert passed["en"] >= 0.9
    assert max(passed[language] for language in ("fr", "de", "es")) <= 0.15
    assert passed["th"] == passed["zh"] == passed["ar"] == 0


def test_the_stop_words_are_scikit_learns(toxicity: Path) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is not installed")
    assert set((toxicity / "1" / "stop_words.txt").read_text().split()) == set(text.ENGLISH_STOP_WORDS)
