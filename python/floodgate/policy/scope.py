"""Where an override applies, and which one wins.

An override names markets (countries or groups), surfaces and audiences; what it leaves out, it does not
restrict. For each thing that can be overridden, on its own, the most specific override that applies wins, in
this fixed order of importance:

1. a country by name, before a group of markets, before any market: law comes first;
2. a surface, before any surface;
3. an audience, before any audience.

So an override for Germany beats one for messages to minors. Two overrides of the same thing that tie
somewhere are refused at load. Resolution is done once, into a table over (market class, surface, audience);
a market class is the set of markets that no scope of the policy tells apart, and class 0 holds all those
that none names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from floodgate.policy.diagnostic import DiagnosticLog, Span
from floodgate.policy.document import Node, ScalarNode
from floodgate.policy.reader import Fields, read_choices, read_list, read_mapping
from floodgate.policy.taxonomy import Taxonomy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selector:
    """Empty sets do not restrict. ``countries`` were named one by one, ``grouped`` came through a group.
    ``text`` is how records and messages call it."""

    countries: frozenset[str]
    grouped: frozenset[str]
    surfaces: frozenset[str]
    audiences: frozenset[str]
    text: str

    @property
    def by_market(self) -> bool:
        return bool(self.countries or self.grouped)

    def specificity(self, market: str, surface: str, audience: str) -> tuple[int, int, int] | None:
        """How specifically this applies there, or None where it does not. ``market`` "" is any unnamed
        one."""
        level = 2 if market in self.countries else 1 if market in self.grouped else 0
        if self.by_market and level == 0:
            return None
        if self.surfaces and surface not in self.surfaces:
            return None
        if self.audiences and audience not in self.audiences:
            return None
        return (level, int(bool(self.surfaces)), int(bool(self.audiences)))


EVERYWHERE = Selector(frozenset(), frozenset(), frozenset(), frozenset(), "")


def read_selector(node: Node, taxonomy: Taxonomy, log: DiagnosticLog) -> Selector | None:
    """Read ``{markets, surfaces, audiences}``; at least one must be given."""
    table = read_mapping(node, log, "a scope")
    if table is None:
        return None
    fields = Fields(table, log, "a scope", ("markets", "surfaces", "audiences"))
    if not table.entries:
        log.error(table.span, "a scope must name markets, surfaces or audiences")
        return None
    countries: list[str] = []
    grouped: set[str] = set()
    words: list[str] = []
    markets = fields.node("markets")
    if markets is not None and read_list(markets, log, "'markets'") is not None:
        for name in read_choices(markets, log, "market", [*sorted(taxonomy.markets), *taxonomy.groups]):
            words.append(name)
            if name in taxonomy.groups:
                grouped |= taxonomy.groups[name]
            else:
                countries.append(name)
    surfaces, audiences = fields.node("surfaces"), fields.node("audiences")
    chosen_surfaces = read_choices(surfaces, log, "surface", taxonomy.surfaces) if surfaces else ()
    chosen_audiences = read_choices(audiences, log, "audience", taxonomy.audiences) if audiences else ()
    pieces = [
        f"{axis}={'|'.join(chosen)}"
        for axis, chosen in (("market", words), ("surface", chosen_surfaces), ("audience", chosen_audiences))
        if chosen
    ]
    if not pieces:
        return None  # whatever was given has been reported
    return Selector(
        frozenset(countries),
        frozenset(grouped),
        frozenset(chosen_surfaces),
        frozenset(chosen_audiences),
        " ".join(pieces),
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """A cell of the tables: indices of market class, surface and audience."""

    market_class: int
    surface: int
    audience: int


@dataclass(frozen=True, slots=True)
class Axes:
    """The names behind the tables' indices. A market that is not in ``market_class`` is in class 0; the
    audience "" (not declared) is index 0. ``examples[c]`` is the first market of class c, "" for class 0."""

    markets: frozenset[str]
    market_class: Mapping[str, int]
    surfaces: Mapping[str, int]
    audiences: Mapping[str, int]
    examples: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self.examples), len(self.surfaces), len(self.audiences))

    def class_of(self, market: str) -> int:
        return self.market_class.get(market, 0)


def build_axes(taxonomy: Taxonomy, selectors: Iterable[Selector]) -> Axes:
    by_market = [selector for selector in selectors if selector.by_market]
    classes: dict[tuple[int, ...], int] = {(0,) * len(by_market): 0}
    examples = [""]
    market_class: dict[str, int] = {}
    for market in sorted(taxonomy.markets):
        levels = tuple(2 if market in s.countries else 1 if market in s.grouped else 0 for s in by_market)
        if levels not in classes:
            classes[levels] = len(examples)
            examples.append(market)
        if classes[levels]:
            market_class[market] = classes[levels]
    return Axes(
        markets=taxonomy.markets,
        market_class=MappingProxyType(market_class),
        surfaces=MappingProxyType({name: index for index, name in enumerate((*taxonomy.surfaces, ""))}),
        audiences=MappingProxyType({name: index for index, name in enumerate(("", *taxonomy.audiences))}),
        examples=tuple(examples),
    )


@dataclass(frozen=True)
class Variants(Generic[T]):
    """A value and its overrides. ``table[class, surface, audience]`` is the index of what applies there;
    index 0 is the value without an override, whose name is ""."""

    names: tuple[str, ...]
    values: tuple[T, ...]
    table: npt.NDArray[np.int16]

    def at(self, scope: Scope) -> tuple[str, T]:
        """(name of the override or "", value) in one scope."""
        index = self.table.item(scope.market_class, scope.surface, scope.audience)
        return self.names[index], self.values[index]


@dataclass(frozen=True, slots=True)
class Override(Generic[T]):
    selector: Selector
    value: T
    span: Span


def resolve(
    base: T, overrides: Sequence[Override[T]], axes: Axes, log: DiagnosticLog, what: str, span: Span
) -> Variants[T]:
    """Fill the table. Ties, overrides that never win and a base that never applies are reported; ``what``
    names the thing in messages, ``span`` is the base's place."""
    table = np.zeros(axes.shape, np.int16)
    tied: set[tuple[int, int]] = set()
    overruled: set[tuple[int, int]] = set()
    for c, market in enumerate(axes.examples):
        for surface, s in axes.surfaces.items():
            for audience, a in axes.audiences.items():
                ranked: list[tuple[tuple[int, int, int], int]] = []
                for index, override in enumerate(overrides):
                    specificity = override.selector.specificity(market, surface, audience)
                    if specificity is not None:
                        ranked.append((specificity, index))
                if not ranked:
                    continue
                top, winner = max(ranked, key=lambda entry: (entry[0], -entry[1]))
                table[c, s, a] = winner + 1
                overruled.update(
                    (winner, index)
                    for _, index in ranked
                    if _overlooks(overrides[winner].selector, overrides[index].selector)
                )
                for specificity, index in ranked:
                    if specificity == top and index != winner and (winner, index) not in tied:
                        tied.add((winner, index))
                        place = _place(market, surface, audience)
                        log.error(
                            overrides[index].span,
                            f"two overrides of {what} are equally specific for {place}",
                            f"the other one is on line {overrides[winner].span.line}; make one name more, or less",
                        )
    for winner, index in sorted(overruled - tied):
        won, lost = overrides[winner].selector.text, overrides[index].selector.text
        log.warning(
            overrides[winner].span,
            f"this override of {what} for '{won}' also replaces the one for '{lost}'",
            "name the surfaces and audiences it is meant for, if that is not meant",
        )
    used = set(np.unique(table).tolist())
    losers = {index for pair in tied for index in pair}
    for index, override in enumerate(overrides):
        if index + 1 not in used and index not in losers:
            log.error(
                override.span,
                f"this override of {what} never applies: more specific ones cover all of '{override.selector.text}'",
                "remove it",
            )
    table.setflags(write=False)
    return Variants(
        names=("", *(override.selector.text for override in overrides)),
        values=(base, *(override.value for override in overrides)),
        table=table,
    )


def _overlooks(winner: Selector, loser: Selector) -> bool:
    """Whether the winner says nothing about a surface or audience that the loser was written for."""
    return bool((loser.surfaces and not winner.surfaces) or (loser.audiences and not winner.audiences))


def _place(market: str, surface: str, audience: str) -> str:
    pieces = [f"market {market}"] if market else []
    pieces.append(f"surface '{surface}'")
    if audience:
        pieces.append(f"audience '{audience}'")
    return ", ".join(pieces)


def read_territories(node: Node, taxonomy: Taxonomy, log: DiagnosticLog) -> tuple[str, ...]:
    """Markets and groups of a restriction, expanded, sorted, each once."""
    if isinstance(node, ScalarNode):
        read_list(node, log, "'territories'")
        return ()
    chosen: set[str] = set()
    for name in read_choices(node, log, "market", [*sorted(taxonomy.markets), *taxonomy.groups]):
        chosen |= taxonomy.groups.get(name, frozenset((name,)))
    return tuple(sorted(chosen))
