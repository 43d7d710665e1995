"""Model cards: what a person should know about a head before trusting it.

A card is ``<head>/card.md``: YAML front matter between two ``---`` lines, then prose. The front matter's
members are those of ``HeadCard`` from ``title`` to ``cannot_judge``; all are required, unknown ones are
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from floodgate.errors import ModelError
from floodgate.models.lock import read_lock

CARD_NAME = "card.md"
_FENCE = "---"
_TEXTS = ("title", "licence", "source", "judges", "cannot_judge")


@dataclass(frozen=True, slots=True)
class HeadCard:
    """The front matter of one head's card.

    ``licence``: SPDX identifier of the weights' licence. ``source``: where they come from. ``labels``: what
    the head feeds. ``judges`` and ``cannot_judge``: one sentence each. ``opt_in`` and ``locked`` come from
    ``models.lock``.
    """

    name: str
    title: str
    licence: str
    source: str
    labels: tuple[str, ...]
    judges: str
    cannot_judge: str
    opt_in: bool
    locked: bool


def list_heads(repository: Path) -> tuple[HeadCard, ...]:
    """The cards of all head directories, by name.

    Raises ModelError naming the file when a card is missing or malformed, or the repository or lock is
    unreadable.
    """
    locked = read_lock(repository)
    cards = []
    for directory in head_directories(repository):
        entry = locked.get(directory.name)
        opt_in = entry is not None and entry.opt_in
        cards.append(_card(directory, opt_in=opt_in, locked=entry is not None))
    return tuple(cards)


def head_directories(repository: Path) -> Sequence[Path]:
    """The directories of ``repository`` that hold a ``config.pbtxt``, by name. Raises ModelError."""
    if not repository.is_dir():
        raise ModelError(f"{repository} is not a directory; it should be the model repository")
    try:
        return sorted(path.parent for path in repository.glob("*/config.pbtxt") if path.is_file())
    except OSError as error:
        raise ModelError(f"{repository}: cannot be read: {error}") from error


def _card(directory: Path, *, opt_in: bool, locked: bool) -> HeadCard:
    path = directory / CARD_NAME
    front = _front_matter(path)
    unknown = sorted(set(front) - {*_TEXTS, "labels"})
    if unknown:
        raise ModelError(f"{path}: unknown member {unknown[0]!r} in the front matter")
    texts = {}
    for member in _TEXTS:
        value = front.get(member)
        if not isinstance(value, str) or not value.strip():
            raise ModelError(f"{path}: {member} is missing from the front matter, or is not text")
        texts[member] = " ".join(value.split())
    labels = front.get("labels")
    if not (isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels)):
        raise ModelError(f"{path}: labels must be a list of one or more names")
    return HeadCard(name=directory.name, labels=tuple(labels), opt_in=opt_in, locked=locked, **texts)


def _front_matter(path: Path) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; every head has a card") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    if not lines or lines[0] != _FENCE or _FENCE not in lines[1:]:
        raise ModelError(f"{path}: must start with front matter between two lines of {_FENCE!r}")
    try:
        front = YAML(typ="safe", pure=True).load("\n".join(lines[1 : lines.index(_FENCE, 1)]))
    except YAMLError as error:
        raise ModelError(f"{path}: the front matter is not YAML: {error}") from error
    if not isinstance(front, dict):
        raise ModelError(f"{path}: the front matter must be a mapping")
    return front
