"""Which restriction is stricter, what several amount to, and how they are merged.

The order is partial: ``covers(a, b)`` means that whoever applies ``a`` has also applied ``b``. It is what
makes "a higher rung never softens" checkable at load, and merging free of duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from floodgate.types import Action, Restriction, RestrictionKind

ACTION_OF: Mapping[RestrictionKind, Action] = MappingProxyType(
    {
        RestrictionKind.LABEL: Action.LABEL,
        RestrictionKind.AGE_GATE: Action.AGE_RESTRICT,
        RestrictionKind.DEMOTE: Action.LIMIT,
        RestrictionKind.NO_RECOMMEND: Action.LIMIT,
        RestrictionKind.NO_INTERACTION: Action.LIMIT,
        RestrictionKind.NO_MONETISATION: Action.LIMIT,
        RestrictionKind.GEO_BLOCK: Action.LIMIT,
        RestrictionKind.REMOVE: Action.REMOVE,
    }
)
"""What each restriction amounts to in the summary. Holds whatever its territories or duration."""


def action_of(restrictions: Iterable[Restriction]) -> Action:
    """The summary of a verdict: the strictest action of its restrictions, ALLOW when there are none."""
    return max((ACTION_OF[restriction.kind] for restriction in restrictions), default=Action.ALLOW)


def covers(stricter: Restriction, milder: Restriction) -> bool:
    """Whether applying ``stricter`` applies ``milder`` too: same kind, everywhere and for as long as it.

    An AGE_GATE covers one for a lower age, a LABEL covers any other LABEL (its text may change), and a
    REMOVE, which is always everywhere, covers every kind. ``finding_index`` plays no part.
    """
    if not _lasts(stricter, milder) or not _reaches(stricter, milder):
        return False
    if stricter.kind is RestrictionKind.REMOVE:
        return True
    if stricter.kind is not milder.kind:
        return False
    if stricter.kind is RestrictionKind.AGE_GATE:
        return int(stricter.param or 0) >= int(milder.param or 0)
    return True


def _reaches(stricter: Restriction, milder: Restriction) -> bool:
    if not stricter.territories:
        return True
    return bool(milder.territories) and set(milder.territories) <= set(stricter.territories)


def _lasts(stricter: Restriction, milder: Restriction) -> bool:
    if stricter.duration_s == 0:
        return True
    return milder.duration_s != 0 and stricter.duration_s >= milder.duration_s


def softened_by(milder: Sequence[Restriction], stricter: Sequence[Restriction]) -> Restriction | None:
    """The first of ``milder`` that nothing in ``stricter`` covers; None when the step up never softens."""
    for restriction in milder:
        if not any(covers(candidate, restriction) for candidate in stricter):
            return restriction
    return None


def merge(restrictions: Iterable[Restriction]) -> tuple[Restriction, ...]:
    """All of them, without those that another of the same kind makes redundant, strictest kinds first.

    Two LABELs with different texts both stay. Of equals the one with the lowest ``finding_index`` stays. The
    result does not depend on the order given.
    """
    ordered = sorted(restrictions, key=_canonical)
    kept: list[Restriction] = []
    for index, restriction in enumerate(ordered):
        redundant = any(
            _absorbs(other, restriction) and (position < index or not _absorbs(restriction, other))
            for position, other in enumerate(ordered)
            if position != index
        )
        if not redundant:
            kept.append(restriction)
    return tuple(kept)


def _absorbs(stricter: Restriction, milder: Restriction) -> bool:
    if stricter.kind is not milder.kind:
        return False
    if stricter.kind is RestrictionKind.LABEL and stricter.param != milder.param:
        return False
    return covers(stricter, milder)


def _canonical(restriction: Restriction) -> tuple[int, tuple[str, ...], float, str, int]:
    # Stricter kinds first, then wider (no territories sorts first), longer, and the earlier finding.
    lasting = float("-inf") if restriction.duration_s == 0 else -float(restriction.duration_s)
    return (
        -int(restriction.kind),
        restriction.territories,
        lasting,
        restriction.param,
        restriction.finding_index,
    )


def same_effect(left: Iterable[Restriction], right: Iterable[Restriction]) -> bool:
    """Whether two merged lists restrict alike, whichever findings they stand on."""
    return {replace(r, finding_index=0) for r in left} == {replace(r, finding_index=0) for r in right}
