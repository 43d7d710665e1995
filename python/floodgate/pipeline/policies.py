"""The policies a server can judge by: one active, others that a request may pin by revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from floodgate.errors import InvalidRequest, NotFound, PolicyError
from floodgate.policy import CompiledPolicy
from floodgate.types import Item, SignalValue

LoadPolicy = Callable[[Path], CompiledPolicy]

_SIGNAL_PYTHON_TYPES: dict[str, type] = {"bool": bool, "number": float, "string": str}


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


def check_item(policy: CompiledPolicy, item: Item) -> None:
    """Raises InvalidRequest for a word of the item that the policy's taxonomy does not know. Markets are exempt: an
    unknown one uses the default and is reported."""
    taxonomy = policy.taxonomy
    context = item.context
    if item.surface and item.surface not in taxonomy.surfaces:
        raise InvalidRequest(f"surface {item.surface!r} is not one of {', '.join(taxonomy.surfaces)}", field="surface")
    if context.viewer_audience and context.viewer_audience not in taxonomy.audiences:
        raise InvalidRequest(
            f"context.viewer_audience {context.viewer_audience!r} is not one of {', '.join(taxonomy.audiences)}",
            field="context.viewer_audience",
        )
    for index, label in enumerate(context.declared_labels):
        if label not in taxonomy.labels:
            raise InvalidRequest(
                f"context.declared_labels[{index}] {label!r} is not a label of the taxonomy",
                field=f"context.declared_labels[{index}]",
            )
    for name, value in context.signals.items():
        _check_signal(policy, name, value)


def _check_signal(policy: CompiledPolicy, name: str, value: SignalValue) -> None:
    field = f"context.signals[{name!r}]"
    kind = policy.signals.get(name)
    if kind is None:
        known = ", ".join(policy.signals) or "none"
        raise InvalidRequest(f"{field} is not declared by the policy; declared are {known}", field=field)
    if type(value) is not _SIGNAL_PYTHON_TYPES[kind]:
        raise InvalidRequest(f"{field} must be a {kind}", field=field)
