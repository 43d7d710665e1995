"""alt-profanity-check: two pickled scikit-learn objects become one plain ``.npz`` of numbers and words.

Neither scikit-learn nor any code of the pickles is needed or run; see ``floodgate.models.pickled``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from floodgate.errors import ModelError
from floodgate.models.pickled import Record, load

_CLASSES = frozenset(
    {
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.svm._classes.LinearSVC",
        "sklearn.feature_extraction.text.TfidfVectorizer",
        "sklearn.feature_extraction.text.TfidfTransformer",
    }
)

# What model_repository/toxicity/1/word_scores.py implements. A model made with other settings is refused,
# never scored approximately.
_VECTORIZER_SETTINGS = {
    "analyzer": "word",
    "binary": False,
    "lowercase": True,
    "ngram_range": (1, 1),
    "norm": "l2",
    "preprocessor": None,
    "stop_words": "english",
    "strip_accents": None,
    "sublinear_tf": False,
    "token_pattern": r"(?u)\b\w\w+\b",
    "tokenizer": None,
    "use_idf": True,
}


def edit(members: Mapping[str, bytes]) -> bytes:
    """The weights of the linear word model, as an uncompressed ``.npz`` with a fixed byte layout.

    V words, K calibrated classifiers, all numbers float64: ``vocabulary`` uint8 (UTF-8, one word a line,
    line i is column i), ``idf`` [V], ``weights`` [V, K], ``intercepts`` [K], ``slopes`` [K] and ``offsets``
    [K] of the sigmoids. Raises ModelError when the members hold another model or other settings.
    """
    vectorizer, classifier = _find(members, "vectorizer.joblib"), _find(members, "model.joblib")
    for setting, wanted in _VECTORIZER_SETTINGS.items():
        if vectorizer[setting] != wanted:
            raise ModelError(f"the vectorizer has {setting} = {vectorizer[setting]!r}, expected {wanted!r}")

    columns: dict[str, int] = vectorizer["vocabulary_"]
    words = sorted(columns, key=columns.__getitem__)
    if [columns[word] for word in words] != list(range(len(words))):
        raise ModelError("the vocabulary's columns are not 0, 1, 2, …")
    if any("\n" in word for word in words):
        raise ModelError("the vocabulary has a word with a line feed in it")

    folds = classifier["calibrated_classifiers_"]
    arrays = {
        "vocabulary": np.frombuffer("\n".join(words).encode(), dtype=np.uint8),
        "idf": vectorizer["_tfidf"]["idf_"],
        "weights": np.stack([fold["estimator"]["coef_"][0] for fold in folds], axis=1),
        "intercepts": np.array([fold["estimator"]["intercept_"][0] for fold in folds]),
        "slopes": np.array([_sigmoid(fold)["a_"] for fold in folds]),
        "offsets": np.array([_sigmoid(fold)["b_"] for fold in folds]),
    }
    if arrays["idf"].shape != (len(words),) or arrays["weights"].shape != (len(words), len(folds)):
        raise ModelError(f"{len(words)} words, but idf {arrays['idf'].shape} and weights {arrays['weights'].shape}")
    return _pack(arrays)


def _find(members: Mapping[str, bytes], file_name: str) -> Record:
    found = [data for path, data in members.items() if path.rpartition("/")[2] == file_name]
    if len(found) != 1:
        raise ModelError(f"the edit 'toxicity' needs exactly one member called {file_name}")
    record = load(found[0], _CLASSES)
    if not isinstance(record, Record):
        raise ModelError(f"{file_name} holds a {type(record).__name__}, not a scikit-learn object")
    return record


def _sigmoid(fold: Record) -> Record:
    (calibrator,) = fold["calibrators"]
    if fold["method"] != "sigmoid" or list(fold["classes"]) != [0, 1]:
        raise ModelError("only sigmoid calibration over the classes 0 and 1 is understood")
    if not isinstance(calibrator, Record):
        raise ModelError("a calibrator is not an object")
    return calibrator


def _pack(arrays: Mapping[str, Any]) -> bytes:
    """Like ``numpy.savez``, with the time stamps and flags pinned so that equal arrays give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            archive.writestr(info, entry.getvalue())
    return packed.getvalue()
