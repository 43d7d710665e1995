"""The policies a server can judge by: one active, others that a request may pin by revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from floodgate.errors import NotFound, PolicyError
from floodgate.policy import CompiledPolicy

LoadPolicy = Callable[[Path], CompiledPolicy]


class PolicySet:
    """Compiled policies by revision. Replaced as a whole: ``reload`` either takes every file or changes nothing."""

    def __init__(self, active: Path, pinnable: Sequence[Path], load: LoadPolicy) -> None:
        """Raises PolicyError when a file is refused or two have the same revision."""
        self._active_path = active
        self._pinnable_paths = tuple(pinnable)
        self._load = load
        self._active, self._by_revision = self._read()

    def _read(self) -> tuple[CompiledPolicy, dict[str, CompiledPolicy]]:
        by_revision: dict[str, CompiledPolicy] = {}
        active = None
        for path in (self._active_path, *self._pinnable_paths):
            policy = self._load(path)
            if policy.id.revision in by_revision:
                raise PolicyError(f"{path}: revision {policy.id.revision!r} is another file's already")
            by_revision[policy.id.revision] = policy
            active = active or policy
        if active is None:
            raise PolicyError("no policy is configured")
        return active, by_revision

    def reload(self) -> None:
        """Reads all files again. Raises PolicyError and keeps the old policies when any is refused."""
        self._active, self._by_revision = self._read()

    @property
    def active(self) -> CompiledPolicy:
        return self._active

    def choose(self, revision: str) -> CompiledPolicy:
        """The policy for a request; NotFound when it pins a revision that is not loaded."""
        if not revision:
            return self._active
        policy = self._by_revision.get(revision)
        if policy is None:
            known = ", ".join(sorted(self._by_revision))
            raise NotFound(f"policy_revision {revision!r} is not loaded; loaded are {known}")
        return policy
