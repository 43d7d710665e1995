"""The policies a server can judge by: one active, others that a request may pin by revision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from floodgate.errors import NotFound, PolicyError
from floodgate.policy import CompiledPolicy

LoadPolicy = Callable[[Path], CompiledPolicy]


class Policies:
    """Compiled policies by revision, one of them active. Replaced as a whole."""

    def __init__(self, active: CompiledPolicy, by_revision: Mapping[str, CompiledPolicy]) -> None:
        self._active = active
        self._by_revision = dict(by_revision)

    def replace(self, other: Policies) -> None:
        """Judges by the policies of ``other`` from now on."""
        self._active, self._by_revision = other._active, other._by_revision

    def copy(self) -> Policies:
        """The same policies, which stay when these are replaced."""
        return Policies(self._active, self._by_revision)

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


class PolicySet(Policies):
    """Policies that were read from files: ``reload`` either takes every file or changes nothing."""

    def __init__(self, active: Path, pinnable: Sequence[Path], load: LoadPolicy) -> None:
        """Raises PolicyError when a file is refused or two have the same revision."""
        self._active_path = active
        self._pinnable_paths = tuple(pinnable)
        self._load = load
        self._reloading = asyncio.Lock()
        super().__init__(*self._read())

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

    async def reload(self) -> None:
        """Reads all files again, on a thread: requests go on being judged by the old policies until all are accepted.
        Raises PolicyError and keeps the old ones when any is refused. Called again meanwhile, reads once more."""
        async with self._reloading:
            self._active, self._by_revision = await asyncio.to_thread(self._read)
