"""The same policy over columns of stored rows: back-fill, what-if runs, threshold studies.

A row is one item's label: its raw combined score per head goes through ``calibrate_rows`` to the label's
value, and ``evaluate_rows`` finds the rung it reaches in its own market, surface and audience. Both give bit
for bit what ``evaluate`` gives for the item. NaN stands for "not scored", and never reaches a rung.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from floodgate.policy.calibration import Scores
from floodgate.policy.compiled import CompiledPolicy

NO_RUNG = -1
"""The row was scored and reached no rung."""
UNSCORED = -2
"""The row was not scored: its ``unscored`` rule applies."""

Words = npt.NDArray[np.str_] | Sequence[str] | str


@dataclass(frozen=True)
class RowResult:
    """``rung`` int16[n]: index into the ladder that applies to the row, ``NO_RUNG`` or ``UNSCORED``.
    ``rule`` int16[n]: index into ``rule_ids``, -1 for none. ``threshold`` and ``margin`` float32[n]: of the
    rung reached, NaN where there is none. ``override`` int16[n]: index into ``overrides``; 0 is "" (no
    override)."""

    rung: npt.NDArray[np.int16]
    rule: npt.NDArray[np.int16]
    threshold: Scores
    margin: Scores
    override: npt.NDArray[np.int16]
    rule_ids: tuple[str, ...]
    overrides: tuple[str, ...]


def calibrate_rows(policy: CompiledPolicy, label: str, raw: Mapping[str, npt.ArrayLike]) -> Scores:
    """From each head's combined score, float32[n] with NaN where it is missing, to the label's value,
    float32[n].

    Heads of the label that are not in ``raw`` are missing everywhere. Raises KeyError for a label that is not
    active, ValueError for a head that does not feed it, for no head at all and for columns of unequal length.
    """
    rule = policy.label(label)
    columns = {head: np.asarray(values, np.float32) for head, values in raw.items()}
    unknown = sorted(columns.keys() - {use.head for use in rule.heads})
    if unknown:
        raise ValueError(f"head '{unknown[0]}' does not feed label '{label}'")
    shapes = {column.shape for column in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the columns of label '{label}' must be one-dimensional and of equal length")
    empty = np.full(next(iter(shapes)), np.nan, np.float32)
    values = []
    for use in rule.heads:
        column = columns.get(use.head)
        # Infinities are no scores, as in the evaluation of an item.
        values.append(empty if column is None else use.calibrate.rows(np.where(np.isfinite(column), column, empty)))
    return rule.fuse.rows(np.stack(values))


def evaluate_rows(
    policy: CompiledPolicy,
    label: str,
    values: npt.ArrayLike,
    *,
    surfaces: Words,
    markets: Words = "",
    audiences: Words = "",
) -> RowResult:
    """The rung that each row reaches. ``values`` float32[n] as by ``calibrate_rows``; ``surfaces``,
    ``markets`` and ``audiences`` are one word for all rows or one a row ("" market or audience: not given).

    Raises KeyError for a label that is not active, ValueError for a surface or audience that the taxonomy
    does not have, and for columns of unequal length. Unknown markets use the default, as everywhere.
    """
    variants = policy.label(label).ladder
    column = np.asarray(values, np.float32)
    if column.ndim != 1:
        raise ValueError("'values' must be one-dimensional")
    n = len(column)
    axes = policy.axes
    market = _indices(markets, n, "markets", {name: axes.class_of(name) for name in axes.markets}, default=0)
    surface = _indices(surfaces, n, "surfaces", axes.surfaces)
    audience = _indices(audiences, n, "audiences", axes.audiences)
    override = variants.table[market, surface, audience]

    deepest = max(1, max(len(ladder) for ladder in variants.values))
    thresholds = np.full((len(variants.values), deepest), np.inf, np.float32)
    rules = np.full((len(variants.values), deepest), -1, np.int16)
    rule_ids: dict[str, int] = {}
    for row, ladder in enumerate(variants.values):
        for position, rung in enumerate(ladder):
            thresholds[row, position] = rung.at
            rules[row, position] = rule_ids.setdefault(rung.outcome.rule_id, len(rule_ids))

    reached = np.zeros(n, np.int16)
    for position in range(deepest):
        reached += column >= thresholds[override, position]
    rung_index = (reached - 1).astype(np.int16)
    there = rung_index >= 0
    safe = np.where(there, rung_index, 0)
    threshold = np.where(there, thresholds[override, safe], np.float32(np.nan)).astype(np.float32)
    return RowResult(
        rung=np.where(np.isfinite(column), rung_index, UNSCORED).astype(np.int16),
        rule=np.where(there, rules[override, safe], -1).astype(np.int16),
        threshold=threshold,
        margin=(column - threshold).astype(np.float32),
        override=override,
        rule_ids=tuple(rule_ids),
        overrides=variants.names,
    )


def _indices(
    words: Words, n: int, what: str, table: Mapping[str, int], default: int | None = None
) -> npt.NDArray[np.intp]:
    given = np.asarray(words, dtype=np.str_)
    if given.ndim == 0:
        given = np.broadcast_to(given, (n,))
    if given.shape != (n,):
        raise ValueError(f"'{what}' has {given.shape} entries for {n} values")
    names, inverse = np.unique(given, return_inverse=True)
    codes = np.empty(len(names), np.intp)
    for position, name in enumerate(names.tolist()):
        code = table.get(name, default)
        if code is None:
            raise ValueError(f"unknown word '{name}' in '{what}'")
        codes[position] = code
    return codes[inverse].reshape(n)
