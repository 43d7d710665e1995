"""What a rule does: restrictions and a review, as the policy file writes them.

    {id: sexual.explicit/age-gate, restrict: [{kind: AGE_GATE, param: "18"}, NO_RECOMMEND],
     review: {queue: adult, priority: 60, hold: true}}

A ladder is a list of such outcomes, each with the score ``at`` which it begins. Role rules say, by the role
of a part, which outcome applies to it, or ``none``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from floodgate.policy.diagnostic import DiagnosticLog, Span, did_you_mean
from floodgate.policy.document import MapNode, Node, ScalarNode
from floodgate.policy.reader import (
    Fields,
    kind_of,
    read_choice,
    read_identifier,
    read_list,
    read_mapping,
    read_score,
)
from floodgate.policy.scope import read_territories
from floodgate.policy.strictness import softened_by
from floodgate.policy.taxonomy import Taxonomy
from floodgate.types import Restriction, RestrictionKind, Role

JUDGED_ROLES = tuple(role for role in Role if role is not Role.CONTEXT)

_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OUTCOME_KEYS = ("id", "restrict", "review")


@dataclass(frozen=True, slots=True)
class ReviewOrder:
    """``priority`` 0 (idle) to 100; ``hold`` keeps the item unpublished until a person has looked."""

    queue: str
    priority: int
    hold: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule does. ``finding_index`` of the restrictions is 0 until a verdict is made."""

    rule_id: str
    restrictions: tuple[Restriction, ...]
    review: ReviewOrder | None


@dataclass(frozen=True, slots=True)
class Rung:
    """``at`` is a float32 value in (0, 1]; the rung is reached when the label's value is ``>=`` it."""

    at: float
    outcome: Outcome


Ladder = tuple[Rung, ...]
"""Rungs by strictly ascending ``at``; the highest one reached applies, alone. Empty: the label does
nothing."""

RoleRules = Mapping[Role, Outcome | None]
"""Role -> outcome; None: nothing happens; a role that is not in it inherits from the next wider rules."""


@dataclass
class RuleNames:
    """Who gave which rule its id. One owner may use an id again in an override: the same rule, elsewhere."""

    owners: dict[str, tuple[str, Span]] = field(default_factory=dict)

    def claim(self, rule_id: str, owner: str, span: Span, log: DiagnosticLog) -> None:
        first = self.owners.setdefault(rule_id, (owner, span))
        if first[0] != owner:
            log.error(span, f"rule id '{rule_id}' is used twice", f"{first[0]} uses it on line {first[1].line}")


@dataclass(frozen=True, slots=True)
class OutcomeReader:
    """Reads outcomes for one file. ``owner`` in the calls is what the rule belongs to: "label 'x'"."""

    taxonomy: Taxonomy
    log: DiagnosticLog
    names: RuleNames

    def outcome(self, node: MapNode, owner: str, what: str, extra: tuple[str, ...] = ()) -> Outcome | None:
        fields = Fields(node, self.log, what, (*_OUTCOME_KEYS, *extra), required=("id",))
        id_node = fields.node("id")
        rule_id = read_identifier(id_node, self.log, "rule id") if id_node is not None else None
        if rule_id is not None:
            self.names.claim(rule_id, owner, fields.span_of("id"), self.log)
        restrictions = self._restrictions(fields.node("restrict"))
        review = self._review(fields.mapping("review"))
        if "restrict" not in fields and "review" not in fields:
            self.log.error(node.span, f"{what} does nothing", "give it 'restrict', 'review' or both")
        if rule_id is None:
            return None
        return Outcome(rule_id, restrictions, review)

    def ladder(self, node: Node, owner: str, low: float, high: float) -> Ladder:
        """``low`` and ``high`` bound the label's value: rungs outside them are reported as unreachable."""
        if isinstance(node, ScalarNode) and node.value == "none":
            return ()
        items = read_list(node, self.log, "'ladder'")
        if items is None:
            return ()
        if not items.items:
            self.log.error(node.span, "a ladder has at least one rung", "write 'ladder: none' to switch it off")
        rungs: list[Rung] = []
        spans: list[Span] = []
        seen: set[str] = set()
        for item in items.items:
            table = read_mapping(item, self.log, "a rung")
            if table is None:
                continue
            outcome = self.outcome(table, owner, "a rung", extra=("at",))
            fields = {key.text: value for key, value in table.entries}
            if "at" not in fields:
                self.log.error(table.span, "a rung lacks the key 'at'", "at: the score in (0, 1] where it begins")
                continue
            at = read_score(fields["at"], self.log, "'at'")
            if at is None or outcome is None:
                continue
            span = fields["at"].span
            if at == 0.0:
                self.log.error(span, "a rung at 0 is reached by every score", "use a threshold above 0")
            elif at > high:
                self.log.error(
                    span,
                    f"this rung cannot be reached: the label's value never exceeds {high:g}",
                    _CALIBRATION_HINT,
                )
            if outcome.rule_id in seen:
                self.log.error(table.span, f"rule id '{outcome.rule_id}' is used twice in one ladder")
            seen.add(outcome.rule_id)
            if rungs:
                self._check_step(rungs[-1], Rung(at, outcome), span, table.span, low)
            rungs.append(Rung(at, outcome))
            spans.append(span)
        return tuple(rungs)

    def _check_step(self, below: Rung, above: Rung, at_span: Span, span: Span, low: float) -> None:
        if above.at <= below.at:
            self.log.error(
                at_span,
                f"thresholds must ascend: {above.at:g} is not above {below.at:g} of '{below.outcome.rule_id}'",
                "write the rungs from the mildest to the strictest; thresholds are compared as float32",
            )
            return
        if above.at <= low:
            self.log.error(
                at_span,
                f"rung '{below.outcome.rule_id}' is never the highest: every value is at least {low:g}",
                _CALIBRATION_HINT,
            )
        dropped = softened_by(below.outcome.restrictions, above.outcome.restrictions)
        if dropped is not None:
            self.log.error(
                span,
                f"rung '{above.outcome.rule_id}' softens: it drops {describe(dropped)} of '{below.outcome.rule_id}'",
                "only the highest rung reached applies, so repeat what lower rungs restrict",
            )
        removes = any(r.kind is RestrictionKind.REMOVE for r in above.outcome.restrictions)
        held = below.outcome.review is not None and below.outcome.review.hold
        holds = above.outcome.review is not None and above.outcome.review.hold
        if held and not holds and not removes:
            self.log.error(
                span,
                f"rung '{above.outcome.rule_id}' softens: it drops the hold of '{below.outcome.rule_id}'",
                "hold here too, or REMOVE",
            )

    def role_rules(self, node: Node, owner: str, roles: frozenset[Role], what: str, *, complete: bool) -> RoleRules:
        """Read ``{ROLE: outcome | none, default: …}``; ``default`` stands for those of ``roles`` not named.
        With ``complete`` every role must end up with a rule."""
        table = read_mapping(node, self.log, f"'{what}'")
        if table is None:
            return MappingProxyType({})
        rules: dict[Role, Outcome | None] = {}
        known = {role.name: role for role in JUDGED_ROLES}
        otherwise: tuple[Outcome | None] | None = None
        for key, value in table.entries:
            name = key.text
            if name != "default" and name not in known:
                hint = did_you_mean(name, [*known, "default"], what="roles")
                if name == Role.CONTEXT.name:
                    hint = "a CONTEXT part is shown to judges and never judged"
                self.log.error(key.span, f"unknown role '{name}' in '{what}'", hint)
                continue
            outcome = self._outcome_or_none(value, owner, f"an '{what}' rule")
            if name == "default":
                otherwise = (outcome,)
            elif known[name] not in roles:
                self.log.error(key.span, f"this rule never applies: {owner} does not apply to role {name}", "remove it")
            else:
                rules[known[name]] = outcome
        rest = [role for role in JUDGED_ROLES if role in roles and role not in rules]
        if otherwise is not None:
            if not rest:
                self.log.error(table.span, f"'default' of '{what}' never applies: every role is named", "remove it")
            rules.update(dict.fromkeys(rest, otherwise[0]))
        elif complete and rest:
            missing = ", ".join(role.name for role in rest)
            self.log.error(table.span, f"'{what}' says nothing about {missing}", "add 'default: …' (it may be none)")
        return MappingProxyType(rules)

    def _outcome_or_none(self, node: Node, owner: str, what: str) -> Outcome | None:
        if isinstance(node, ScalarNode):
            if node.value != "none":
                self.log.error(node.span, f"{what} must be a mapping or none, not {kind_of(node)}")
            return None
        table = read_mapping(node, self.log, what)
        return self.outcome(table, owner, what) if table is not None else None

    def _restrictions(self, node: Node | None) -> tuple[Restriction, ...]:
        if node is None:
            return ()
        items = read_list(node, self.log, "'restrict'")
        if items is None:
            return ()
        if not items.items:
            self.log.error(node.span, "'restrict' must not be empty", "leave the key out")
        found: list[Restriction] = []
        for item in items.items:
            restriction = self._restriction(item)
            if restriction is None:
                continue
            if restriction in found:
                self.log.error(item.span, f"{describe(restriction)} is listed twice")
                continue
            found.append(restriction)
        return tuple(found)

    def _restriction(self, node: Node) -> Restriction | None:
        kinds = RestrictionKind.__members__
        if isinstance(node, ScalarNode):
            word = read_choice(node, self.log, "restriction", kinds)
            return self._checked(Restriction(kinds[word]), node.span, False) if word else None
        table = read_mapping(node, self.log, "a restriction")
        if table is None:
            return None
        keys = ("kind", "param", "territories", "duration")
        fields = Fields(table, self.log, "a restriction", keys, required=("kind",))
        word = fields.choice("kind", kinds)
        where = fields.node("territories")
        territories = read_territories(where, self.taxonomy, self.log) if where is not None else ()
        restriction = Restriction(
            kind=kinds[word] if word else RestrictionKind.REMOVE,
            territories=territories,
            duration_s=self._duration(fields),
            param=fields.text("param") or "",
        )
        return self._checked(restriction, table.span, "territories" in fields) if word else None

    def _checked(self, restriction: Restriction, span: Span, scoped: bool) -> Restriction | None:
        kind = restriction.kind
        if kind is RestrictionKind.REMOVE and scoped:
            self.log.error(span, "REMOVE is always everywhere", "use GEO_BLOCK with territories")
        elif kind is RestrictionKind.REMOVE and restriction.duration_s:
            self.log.error(span, "REMOVE is for good", "leave 'duration' out; an appeal can restore the item")
        elif kind is RestrictionKind.GEO_BLOCK and not scoped:
            self.log.error(span, "GEO_BLOCK must name its territories", "territories: [..]; everywhere is REMOVE")
        elif kind is RestrictionKind.AGE_GATE and not _is_age(restriction.param):
            self.log.error(span, "AGE_GATE needs its age in years as 'param'", '{kind: AGE_GATE, param: "18"}')
        elif kind is RestrictionKind.LABEL and not restriction.param:
            self.log.error(span, "LABEL needs the id of its text as 'param'", "{kind: LABEL, param: sensitive}")
        elif kind not in (RestrictionKind.AGE_GATE, RestrictionKind.LABEL) and restriction.param:
            self.log.error(span, f"{kind.name} takes no 'param'", "remove it")
        else:
            return restriction
        return None

    def _duration(self, fields: Fields) -> int:
        text = fields.text("duration")
        if text is None:
            return 0
        match = _DURATION.fullmatch(text)
        if match is None:
            self.log.error(
                fields.span_of("duration"),
                f"'{text}' is not a duration",
                "a whole number and s, m, h or d: 30d",
            )
            return 0
        return int(match[1]) * _SECONDS[match[2]]

    def _review(self, table: MapNode | None) -> ReviewOrder | None:
        if table is None:
            return None
        keys = ("queue", "priority", "hold")
        fields = Fields(table, self.log, "a review", keys, required=keys)
        queue = fields.choice("queue", self.taxonomy.queues)
        priority = fields.integer("priority", 0, 100)
        hold = fields.boolean("hold")
        if queue is None or priority is None or hold is None:
            return None
        return ReviewOrder(queue, priority, hold)


_CALIBRATION_HINT = "see the 'calibrate' and 'fuse' of this label"


def _is_age(param: str) -> bool:
    return param.isascii() and param.isdigit() and 1 <= int(param[:4]) <= 99 and len(param) <= 2


def describe(restriction: Restriction) -> str:
    """A restriction in a few words: "AGE_GATE 18 in DE, AT"."""
    words = [restriction.kind.name]
    if restriction.param:
        words.append(restriction.param)
    if restriction.territories:
        shown = ", ".join(restriction.territories[:6]) + (", …" if len(restriction.territories) > 6 else "")
        words.append(f"in {shown}")
    if restriction.duration_s:
        words.append(f"for {restriction.duration_s} s")
    return " ".join(words)
