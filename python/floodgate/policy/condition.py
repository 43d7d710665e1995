"""Conditions over several labels, signals and declarations.

    {id: minors/sexual-and-toxic, label: sexual.explicit, when: {all: [
        {label: sexual.explicit, at_least: 0.3}, {any: [
            {label: harassment.toxicity, at_least: 0.7}, {signal: creator_strikes, at_least: 3}]}]}, …}

A term over a label that was not scored, or over a signal that was not given, is not met. There is no
negation, so a higher score never makes a condition false. Every way to meet a condition must include a
score: signals describe the creator, and nobody is restricted for who they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from floodgate.policy.diagnostic import DiagnosticLog
from floodgate.policy.document import MapNode, Node, ScalarNode
from floodgate.policy.outcome import Outcome
from floodgate.policy.reader import Fields, kind_of, read_list, read_mapping, read_number, read_score
from floodgate.policy.scope import Selector


@dataclass(frozen=True, slots=True)
class ScoreTerm:
    """The label's value is ``>= at`` (float32)."""

    label: str
    at: float


@dataclass(frozen=True, slots=True)
class SignalTerm:
    """``comparison`` is ``equals``, ``at_least`` or ``at_most`` (the last two for numbers, compared as
    float64)."""

    name: str
    comparison: str
    value: bool | float | str


@dataclass(frozen=True, slots=True)
class DeclaredTerm:
    """The caller declared the label for this item."""

    label: str


@dataclass(frozen=True, slots=True)
class AllOf:
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    terms: tuple[Term, ...]


Term = ScoreTerm | SignalTerm | DeclaredTerm | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Condition:
    """``label`` is what its finding is about; ``where`` restricts it to markets, surfaces and audiences."""

    label: str
    policy_ref: str
    when: Term
    where: Selector
    outcome: Outcome


def score_terms(term: Term) -> Iterator[ScoreTerm]:
    """All score terms, in the file's order."""
    if isinstance(term, ScoreTerm):
        yield term
    elif isinstance(term, (AllOf, AnyOf)):
        for child in term.terms:
            yield from score_terms(child)


def always_needs_a_score(term: Term) -> bool:
    """Whether the term cannot be met by signals and declarations alone."""
    if isinstance(term, AllOf):
        return any(always_needs_a_score(child) for child in term.terms)
    if isinstance(term, AnyOf):
        return all(always_needs_a_score(child) for child in term.terms)
    return isinstance(term, ScoreTerm)


@dataclass(frozen=True, slots=True)
class TermReader:
    """``bounds`` maps each label of the policy to the least and greatest value it can have; None when the
    label is inactive. ``signals`` maps names to ``bool``, ``number`` or ``string``; ``declarable`` are the
    taxonomy's labels."""

    log: DiagnosticLog
    bounds: Mapping[str, tuple[float, float] | None]
    signals: Mapping[str, str]
    declarable: Mapping[str, object]

    def read(self, node: Node) -> Term | None:
        table = read_mapping(node, self.log, "a condition")
        if table is None:
            return None
        kinds = [key.text for key, _ in table.entries if key.text in ("all", "any", "label", "signal", "declared")]
        if len(kinds) != 1:
            self.log.error(
                table.span,
                "a condition is one of 'all', 'any', 'label', 'signal' or 'declared'",
                "split it up under 'all'",
            )
            return None
        match kinds[0]:
            case "label":
                return self._score(table)
            case "signal":
                return self._signal(table)
            case "declared":
                name = Fields(table, self.log, "a declaration", ("declared",)).choice("declared", self.declarable)
                return DeclaredTerm(name) if name is not None else None
            case kind:
                return self._group(table, kind)

    def _group(self, table: MapNode, kind: str) -> Term | None:
        node = Fields(table, self.log, "a condition", (kind,)).node(kind)
        items = read_list(node, self.log, f"'{kind}'") if node is not None else None
        if items is None:
            return None
        if not items.items:
            self.log.error(items.span, f"'{kind}' must not be empty")
        terms: list[Term] = []
        for item in items.items:
            term = self.read(item)
            if term is None:
                continue
            if term in terms:
                self.log.error(item.span, f"the same term stands twice under '{kind}'")
            terms.append(term)
        if kind == "any":
            return AnyOf(tuple(terms))
        contradiction = _contradiction(terms)
        if contradiction:
            self.log.error(items.span, f"this can never be met: {contradiction}")
        return AllOf(tuple(terms))

    def _score(self, table: MapNode) -> Term | None:
        fields = Fields(table, self.log, "a label term", ("label", "at_least"), required=("at_least",))
        label = fields.choice("label", self.bounds)
        node = fields.node("at_least")
        at = read_score(node, self.log, "'at_least'") if node is not None else None
        if label is None or at is None or node is None:
            return None
        bounds = self.bounds[label]
        if at == 0.0:
            self.log.error(node.span, "every score is at least 0", "use a threshold above 0")
        elif bounds is not None and at > bounds[1]:
            self.log.error(node.span, f"this can never be met: the value of '{label}' never exceeds {bounds[1]:g}")
        elif bounds is not None and at <= bounds[0]:
            self.log.error(node.span, f"this is always met: the value of '{label}' is at least {bounds[0]:g}")
        return ScoreTerm(label, at)

    def _signal(self, table: MapNode) -> Term | None:
        comparisons = ("equals", "at_least", "at_most")
        fields = Fields(table, self.log, "a signal term", ("signal", *comparisons))
        name = fields.choice("signal", self.signals)
        given = [word for word in comparisons if word in fields]
        if len(given) != 1:
            self.log.error(table.span, "a signal term has one of 'equals', 'at_least' or 'at_most'")
            return None
        comparison = given[0]
        node = fields.node(comparison)
        if name is None or node is None:
            return None
        kind = self.signals[name]
        if comparison != "equals" and kind != "number":
            self.log.error(
                node.span, f"'{comparison}' compares numbers, and signal '{name}' is a {kind}", "use 'equals'"
            )
            return None
        value = self._signal_value(node, name, kind)
        return SignalTerm(name, comparison, value) if value is not None else None

    def _signal_value(self, node: Node, name: str, kind: str) -> bool | float | str | None:
        if kind == "number":
            return read_number(node, self.log, f"signal '{name}'")
        wanted: type = bool if kind == "bool" else str
        if isinstance(node, ScalarNode) and isinstance(node.value, wanted):
            value = node.value
            return value if isinstance(value, (bool, str)) else None
        self.log.error(node.span, f"signal '{name}' is a {kind}, not {kind_of(node)}")
        return None


def _contradiction(terms: list[Term]) -> str:
    """Why no signal can meet all of ``terms`` at once, "" if one can."""
    by_name: dict[str, list[SignalTerm]] = {}
    for term in terms:
        if isinstance(term, SignalTerm):
            by_name.setdefault(term.name, []).append(term)
    for name, group in by_name.items():
        equal = {term.value for term in group if term.comparison == "equals"}
        if len(equal) > 1:
            return f"signal '{name}' cannot equal two values"
        low = max((float(t.value) for t in group if t.comparison == "at_least"), default=float("-inf"))
        high = min((float(t.value) for t in group if t.comparison == "at_most"), default=float("inf"))
        if low > high:
            return f"signal '{name}' cannot be at least {low:g} and at most {high:g}"
        if equal and isinstance(value := next(iter(equal)), float) and not low <= value <= high:
            return f"signal '{name}' cannot equal {value:g} and lie between {low:g} and {high:g}"
    return ""
