"""The arithmetic of the toxicity head: TF-IDF over words, then the mean of calibrated linear classifiers.

It computes what scikit-learn's ``TfidfVectorizer`` and ``CalibratedClassifierCV`` compute for this model, in
float64 and in the same order of summation, with numpy alone:

    x_w  = count_w * idf_w, over the words w of the text that are in the vocabulary;  x := x / |x|
    m_k  = sum_w x_w * weight_wk + intercept_k
    score = mean_k 1 / (1 + exp(slope_k * m_k + offset_k))

A word is two or more ``\\w`` characters of the lower-cased text, with Python's own ``str.lower`` and ``re``.
Stop words were left out of the vocabulary when the model was trained, so they need no step of their own
here.
"""

import re
from pathlib import Path

import numpy as np

WORD = re.compile(r"(?u)\b\w\w+\b")


class _Columns(dict):
    """Word -> column; a word that is not in it gets one of two columns that carry no weight."""

    unknown_word = -1
    unknown_number = -1

    def __missing__(self, word):
        return self.unknown_number if word.isnumeric() else self.unknown_word


class WordScores:
    """Scores texts; every row's result depends on that row alone, bit for bit."""

    def __init__(self, weights: Path, stop_words: Path) -> None:
        """``weights``: the ``.npz`` that ``floodgate models pull`` writes; ``stop_words``: UTF-8, one word a
        line.
        """
        with np.load(weights, allow_pickle=False) as packed:
            vocabulary = packed["vocabulary"].tobytes().decode("utf-8").split("\n")
            self._idf = packed["idf"]
            self._weights = np.ascontiguousarray(packed["weights"].T)  # [K, V]
            self._intercepts = packed["intercepts"]
            self._slopes = packed["slopes"]
            self._offsets = packed["offsets"]
        size = self._size = len(vocabulary)
        self._columns = _Columns(zip(vocabulary, range(size), strict=True))
        # Columns past the vocabulary weigh nothing and exist for `known_share` only.
        stop_word, self._columns.unknown_word, self._columns.unknown_number = size, size + 1, size + 2
        for word in stop_words.read_text(encoding="utf-8").split():
            self._columns.setdefault(word, stop_word)
        # Numbers are words of every language, so they say nothing about this one.
        self._is_known = np.array([not word.isnumeric() for word in vocabulary] + [True, False, False], np.float64)
        self._is_word = self._is_known.copy()
        self._is_word[self._columns.unknown_word] = 1.0

    def score(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(scores float64 [n] in (0, 1), known_share float64 [n] in [0, 1]) of ``n`` texts of any length.

        known_share: of the text's words that are not all digits, counted with repeats, the share that the
        vocabulary or the stop words contain; 0 for a text without such words.
        """
        rows = len(texts)
        found: list[int] = []
        lengths = []
        for text in texts:
            before = len(found)
            found.extend(map(self._columns.__getitem__, WORD.findall(text.lower())))
            lengths.append(len(found) - before)
        columns = np.fromiter(found, np.int64, len(found))
        row_of = np.repeat(np.arange(rows), lengths)

        words = np.bincount(row_of, self._is_word[columns], rows)
        known = np.bincount(row_of, self._is_known[columns], rows)
        known_share = np.divide(known, words, out=np.zeros(rows), where=words > 0)

        weighty = columns < self._size
        cells, counts = np.unique(row_of[weighty] * self._size + columns[weighty], return_counts=True)
        row_of, columns = np.divmod(cells, self._size)
        values = counts * self._idf[columns]
        norms = np.sqrt(np.bincount(row_of, values * values, rows))
        values /= norms[row_of]
        # bincount adds one element after another, so a row's sum does not depend on where it lies in the
        # batch.
        total = np.zeros(rows)
        for weights, intercept, slope, offset in zip(
            self._weights, self._intercepts, self._slopes, self._offsets, strict=True
        ):
            margins = np.bincount(row_of, values * weights[columns], rows) + intercept
            total += np.exp(-np.logaddexp(0.0, slope * margins + offset))
        return total / len(self._weights), known_share


def score_rows(model: WordScores, text: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two float32 [n, 1] outputs for ``text`` uint8 [n, L] and ``length`` int32 [n, 1] (bytes used of
    each row).

    A row whose length is outside 0..L or whose bytes are not UTF-8 gets NaN in both; the others keep theirs.
    """
    readable, texts = [], []
    for row, (cells, used) in enumerate(zip(text, length.reshape(-1).tolist(), strict=True)):
        if not 0 <= used <= cells.size:
            continue
        try:
            texts.append(cells[:used].tobytes().decode("utf-8"))
        except UnicodeDecodeError:
            continue
        readable.append(row)
    scores = np.full((len(text), 1), np.nan, np.float32)
    known_share = np.full((len(text), 1), np.nan, np.float32)
    scores[readable, 0], known_share[readable, 0] = model.score(texts)
    return scores, known_share
