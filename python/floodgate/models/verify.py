"""Checking what lies in the repository against the lock, without fetching or writing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from floodgate.errors import ModelError
from floodgate.models.cards import head_directories
from floodgate.models.lock import LockedHead, read_lock
from floodgate.models.wheels import sha256_of


class State(Enum):
    """How a head's weights stand. Only ``OK`` and ``UNLOCKED`` can be served."""

    OK = "ok"  # present, and hash to what the lock names
    UNLOCKED = "unlocked"  # present, and the lock says nothing about them
    MISSING = "missing"  # not there: pull, or put them there
    DIFFERENT = "different"  # there, and not what the lock names
    STALE = "stale"  # built of other weights, or for other batches, than are served now
    FOREIGN = "foreign"  # built for another GPU, or by another builder or version
    BROKEN = "broken"  # the head directory itself is not one


@dataclass(frozen=True, slots=True)
class Finding:
    """One head's state, with a sentence for a person that names the file and what to do."""

    head: str
    state: State
    message: str

    @property
    def servable(self) -> bool:
        return self.state in (State.OK, State.UNLOCKED)


def verify(repository: Path, heads: Sequence[str] | None) -> tuple[Finding, ...]:
    """One finding for each of ``heads``; None: for every head directory and every lock entry, by name.

    Raises ModelError when the repository or its lock cannot be read; all else is a finding.
    """
    locked = read_lock(repository)
    if heads is None:
        heads = sorted({*locked, *(path.name for path in head_directories(repository))})
    return tuple(_check(repository / name, locked.get(name)) for name in dict.fromkeys(heads))


def _check(directory: Path, entry: LockedHead | None) -> Finding:
    name = directory.name
    if not (directory / "config.pbtxt").is_file():
        return Finding(name, State.BROKEN, f"{directory} has no config.pbtxt")
    if entry is None:
        files = [path for path in directory.glob("[0-9]*/*") if path.is_file()]
        if not files:
            return Finding(name, State.MISSING, f"{directory} has no version folder with weights in it")
        return Finding(name, State.UNLOCKED, f"{name} brings its own weights; no hash is pinned for them")
    path = directory / entry.output
    if not path.is_file():
        return Finding(name, State.MISSING, f"{path} is missing; run `floodgate models pull {name}`")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    if found != entry.output_sha256:
        return Finding(
            name,
            State.DIFFERENT,
            f"{path} is not what the lock names: expected SHA-256 {entry.output_sha256}, found {found}; "
            f"run `floodgate models pull {name}`",
        )
    return Finding(name, State.OK, f"{path} is what the lock names")
