"""Reads one label of a policy file: which heads feed it, how, and what follows from its value.

Reading and compiling are two steps, because overrides resolve into tables whose axes depend on every scope of
the file. ``LabelDraft`` is what lies between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from floodgate.policy.calibration import Calibration, Identity, Logistic, PiecewiseLinear, sigmoid
from floodgate.policy.combination import Combination, KOfN, Max, TopKMean, float32
from floodgate.policy.compiled import DefaultRules, HeadUse, LabelRule
from floodgate.policy.diagnostic import DiagnosticLog, Span, did_you_mean
from floodgate.policy.document import MapNode, Node, ScalarNode
from floodgate.policy.fusion import Fusion, LogisticFusion, MaxFusion, MeanFusion
from floodgate.policy.outcome import JUDGED_ROLES, Ladder, OutcomeReader, RoleRules
from floodgate.policy.reader import (
    Fields,
    kind_of,
    read_choices,
    read_list,
    read_mapping,
    read_number,
    read_score,
)
from floodgate.policy.scope import Axes, Override, Selector, read_selector, resolve
from floodgate.types import Modality, Role

MAX_FRAMES = 10_000
MAX_WINDOW_MS = 3_600_000

_OVERRIDABLE = ("ladder", "unscored", "unreadable", "partial")


@dataclass(frozen=True, slots=True)
class KnownHeads:
    """``configured`` and ``existing`` map a head to the labels it feeds; every configured head exists."""

    configured: Mapping[str, tuple[str, ...]]
    existing: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RulesDraft:
    """The four things that can be overridden, each with its overrides and the place of its base."""

    ladder: Ladder
    unscored: RoleRules
    unreadable: RoleRules
    partial: RoleRules
    ladders: tuple[Override[Ladder], ...]
    unscoreds: tuple[Override[RoleRules], ...]
    unreadables: tuple[Override[RoleRules], ...]
    partials: tuple[Override[RoleRules], ...]
    spans: Mapping[str, Span]

    @property
    def selectors(self) -> tuple[Selector, ...]:
        groups = (self.ladders, self.unscoreds, self.unreadables, self.partials)
        return tuple(o.selector for group in groups for o in group)


@dataclass(frozen=True, slots=True)
class LabelDraft:
    label: str
    policy_ref: str
    roles: frozenset[Role]
    modalities: frozenset[Modality]
    heads: tuple[HeadUse, ...]
    fuse: Fusion
    rules: RulesDraft
    active: bool

    def compile(self, axes: Axes, log: DiagnosticLog) -> LabelRule:
        rules, what = self.rules, f"of label '{self.label}'"
        spans = rules.spans
        return LabelRule(
            label=self.label,
            policy_ref=self.policy_ref,
            roles=self.roles,
            modalities=self.modalities,
            heads=self.heads,
            fuse=self.fuse,
            ladder=resolve(rules.ladder, rules.ladders, axes, log, f"the ladder {what}", spans["ladder"]),
            unscored=resolve(rules.unscored, rules.unscoreds, axes, log, f"'unscored' {what}", spans["unscored"]),
            unreadable=resolve(
                rules.unreadable, rules.unreadables, axes, log, f"'unreadable' {what}", spans["unreadable"]
            ),
            partial=resolve(rules.partial, rules.partials, axes, log, f"'partial' {what}", spans["partial"]),
        )


def compile_defaults(rules: RulesDraft, axes: Axes, log: DiagnosticLog) -> DefaultRules:
    spans = rules.spans
    return DefaultRules(
        unscored=resolve(rules.unscored, rules.unscoreds, axes, log, "the default 'unscored'", spans["unscored"]),
        unreadable=resolve(
            rules.unreadable, rules.unreadables, axes, log, "the default 'unreadable'", spans["unreadable"]
        ),
        partial=resolve(rules.partial, rules.partials, axes, log, "the default 'partial'", spans["partial"]),
    )


@dataclass(frozen=True, slots=True)
class LabelReader:
    outcomes: OutcomeReader
    heads: KnownHeads
    log: DiagnosticLog

    def read(self, name: str, table: MapNode, clause: str) -> LabelDraft:
        """``clause`` is the taxonomy's, for a label that gives no ``policy_ref`` of its own."""
        keys = ("policy_ref", "optional", "roles", "modalities", "heads", "fuse", "overrides", *_OVERRIDABLE)
        required = ("roles", "modalities", "heads", "ladder")
        fields = Fields(table, self.log, f"label '{name}'", keys, required=required)
        optional = fields.boolean("optional") or False
        uses, configured = self._heads(name, fields, optional=optional)
        fuse = self._fusion(fields, uses)
        low, high = value_bounds([use for use in uses if use.head in configured] or uses, fuse or MaxFusion())
        roles = self._roles(fields)
        rules = self.rules(fields, f"label '{name}'", roles, (low, high))
        return LabelDraft(
            label=name,
            policy_ref=fields.text("policy_ref") or clause,
            roles=roles,
            modalities=self._modalities(fields),
            heads=tuple(uses),
            fuse=fuse or MaxFusion(),
            rules=rules,
            active=bool(configured),
        )

    def rules(
        self,
        fields: Fields,
        owner: str,
        roles: frozenset[Role],
        bounds: tuple[float, float] | None,
    ) -> RulesDraft:
        """Read the overridable keys and the overrides. ``bounds`` None: these are the defaults, which have no
        ladder and must say something about every role."""
        complete = bounds is None
        base = self._behaviour(fields, owner, roles, bounds, complete=complete)
        ladders: list[Override[Ladder]] = []
        unscoreds: list[Override[RoleRules]] = []
        unreadables: list[Override[RoleRules]] = []
        partials: list[Override[RoleRules]] = []
        items = fields.list("overrides")
        allowed = _OVERRIDABLE if bounds is not None else _OVERRIDABLE[1:]
        for item in items.items if items else ():
            table = read_mapping(item, self.log, "an override")
            if table is None:
                continue
            inner = Fields(table, self.log, "an override", ("where", *allowed), required=("where",))
            if not any(key in inner for key in allowed):
                self.log.error(table.span, "this override changes nothing", f"give it one of {', '.join(allowed)}")
            where = inner.node("where")
            selector = read_selector(where, self.outcomes.taxonomy, self.log) if where is not None else None
            changed = self._behaviour(inner, owner, roles, bounds, complete=complete)
            if selector is None:
                continue
            if "ladder" in inner:
                ladders.append(Override(selector, changed[0], inner.span_of("ladder")))
            if "unscored" in inner:
                unscoreds.append(Override(selector, changed[1], inner.span_of("unscored")))
            if "unreadable" in inner:
                unreadables.append(Override(selector, changed[2], inner.span_of("unreadable")))
            if "partial" in inner:
                partials.append(Override(selector, changed[3], inner.span_of("partial")))
        return RulesDraft(
            *base,
            ladders=tuple(ladders),
            unscoreds=tuple(unscoreds),
            unreadables=tuple(unreadables),
            partials=tuple(partials),
            spans={key: fields.span_of(key) for key in _OVERRIDABLE},
        )

    def _behaviour(
        self,
        fields: Fields,
        owner: str,
        roles: frozenset[Role],
        bounds: tuple[float, float] | None,
        *,
        complete: bool,
    ) -> tuple[Ladder, RoleRules, RoleRules, RoleRules]:
        ladder: Ladder = ()
        node = fields.node("ladder")
        if node is not None and bounds is not None:
            ladder = self.outcomes.ladder(node, owner, *bounds)
        found: list[RoleRules] = []
        for key in ("unscored", "unreadable", "partial"):
            node = fields.node(key)
            found.append(
                self.outcomes.role_rules(node, owner, roles, key, complete=complete) if node is not None else {}
            )
        return ladder, found[0], found[1], found[2]

    def _roles(self, fields: Fields) -> frozenset[Role]:
        node = fields.node("roles")
        known = [role.name for role in JUDGED_ROLES]
        return frozenset(Role[name] for name in read_choices(node, self.log, "role", known)) if node else frozenset()

    def _modalities(self, fields: Fields) -> frozenset[Modality]:
        node = fields.node("modalities")
        # A video is no modality of its own: what a part is declared to be must not decide which rules it meets.
        known = {modality.kind.value: modality.kind for modality in Modality}
        return (
            frozenset(known[name] for name in read_choices(node, self.log, "modality", known)) if node else frozenset()
        )

    def _heads(self, label: str, fields: Fields, *, optional: bool) -> tuple[list[HeadUse], set[str]]:
        """The label's heads, and which of them are configured."""
        uses: list[HeadUse] = []
        configured: set[str] = set()
        table = fields.mapping("heads")
        if table is not None and not table.entries:
            self.log.error(table.span, f"label '{label}' names no head")
        for key, value in table.entries if table else ():
            name = key.text
            use = self._head(name, value)
            if name not in self.heads.existing:
                hint = did_you_mean(name, self.heads.existing, what="heads")
                self.log.error(key.span, f"there is no head '{name}'", hint)
            elif label not in self.heads.existing[name]:
                fed = ", ".join(self.heads.existing[name][:6])
                self.log.error(key.span, f"head '{name}' does not feed label '{label}'", f"it feeds {fed}")
            elif name in self.heads.configured:
                configured.add(name)
            elif not optional:
                self.log.error(
                    key.span,
                    f"head '{name}' exists but is not configured",
                    "configure it, or mark the label 'optional: true' to switch it off without its heads",
                )
            uses.append(use)
        listed = {use.head for use in uses}
        for name, labels in sorted(self.heads.configured.items()):
            if label in labels and name not in listed and table is not None:
                self.log.warning(table.span, f"head '{name}' feeds label '{label}' too, and is not listed here")
        return uses, configured

    def _head(self, name: str, node: Node) -> HeadUse:
        table = read_mapping(node, self.log, f"head '{name}'")
        if table is None:
            return HeadUse(name, Max(), Identity())
        fields = Fields(table, self.log, "a head", ("combine", "calibrate"), required=("combine",))
        return HeadUse(name, self._combination(fields.node("combine")), self._calibration(fields.node("calibrate")))

    def _one_of(self, node: Node, what: str, plain: Sequence[str], tables: Sequence[str]) -> tuple[str, Node | None]:
        """Read ``word`` or ``{word: details}``; ("", None) after reporting anything else."""
        if isinstance(node, ScalarNode):
            if isinstance(node.value, str) and node.value in plain:
                return node.value, None
            hint = did_you_mean(node.text, [*plain, *tables], what="ways")
            if node.text in tables:
                hint = f"'{node.text}' needs details: {{{node.text}: …}}"
            self.log.error(node.span, f"{kind_of(node)} is no way to {what}", hint)
            return "", None
        table = read_mapping(node, self.log, f"'{what}'")
        if table is None:
            return "", None
        if len(table.entries) != 1:
            self.log.error(table.span, f"'{what}' takes exactly one way", f"ways: {', '.join([*plain, *tables])}")
            return "", None
        key, value = table.entries[0]
        if key.text in tables:
            return key.text, value
        self.log.error(key.span, f"'{key.text}' is no way to {what}", did_you_mean(key.text, tables, what="ways"))
        return "", None

    def _combination(self, node: Node | None) -> Combination:
        if node is None:
            return Max()
        word, details = self._one_of(node, "combine", ("max",), ("top_k_mean", "k_of_n"))
        table = read_mapping(details, self.log, f"'{word}'") if details is not None else None
        if table is None:
            return Max()
        keys = ("k",) if word == "top_k_mean" else ("k", "n", "window_ms")
        fields = Fields(table, self.log, f"'{word}'", keys, required=keys)
        k = fields.integer("k", 1, MAX_FRAMES)
        if word == "top_k_mean":
            return TopKMean(k) if k is not None else Max()
        n = fields.integer("n", 1, MAX_FRAMES)
        window_ms = fields.integer("window_ms", 1, MAX_WINDOW_MS)
        if k is None or n is None or window_ms is None:
            return Max()
        if k > n:
            self.log.error(fields.span_of("k"), f"{k} of {n} frames can never be reached", "k is at most n")
            return Max()
        return KOfN(k, n, window_ms)

    def _calibration(self, node: Node | None) -> Calibration:
        if node is None:
            return Identity()
        word, details = self._one_of(node, "calibrate", ("identity",), ("points", "logistic"))
        if word == "points" and details is not None:
            return self._points(details)
        table = read_mapping(details, self.log, "'logistic'") if details is not None else None
        if table is None:
            return Identity()
        fields = Fields(table, self.log, "'logistic'", ("a", "b"), required=("a", "b"))
        a, b = fields.number("a"), fields.number("b")
        if a is None or b is None:
            return Identity()
        if a <= 0.0:
            self.log.error(fields.span_of("a"), f"'a' must be above 0, not {a:g}", "a higher score never means less")
            return Identity()
        return Logistic(a, b)

    def _points(self, node: Node) -> Calibration:
        items = read_list(node, self.log, "'points'")
        xs: list[float] = []
        ys: list[float] = []
        for item in items.items if items else ():
            pair = read_list(item, self.log, "a point")
            if pair is None:
                continue
            if len(pair.items) != 2:
                self.log.error(item.span, "a point is [score, calibrated score]")
                continue
            x, y = (read_score(value, self.log, "a point's coordinate") for value in pair.items)
            if x is None or y is None:
                continue
            if xs and x <= xs[-1]:
                self.log.error(item.span, f"points must ascend: {x:g} is not above {xs[-1]:g}")
            elif ys and y < ys[-1]:
                self.log.error(item.span, f"calibration must not descend: {y:g} after {ys[-1]:g}")
            else:
                xs.append(x)
                ys.append(y)
        if len(xs) < 2:
            self.log.error(node.span, "'points' needs at least two points")
            return Identity()
        return PiecewiseLinear(tuple(xs), tuple(ys))

    def _fusion(self, fields: Fields, uses: Sequence[HeadUse]) -> Fusion | None:
        node = fields.node("fuse")
        if node is None:
            if len(uses) > 1:
                self.log.error(
                    fields.span_of("heads"),
                    "several heads feed this label and 'fuse' is not given",
                    "fuse: max",
                )
            return None
        word, details = self._one_of(node, "fuse", ("max", "mean"), ("logistic",))
        if word == "mean":
            return MeanFusion()
        table = read_mapping(details, self.log, "'logistic'") if details is not None else None
        if table is None:
            return MaxFusion()
        inner = Fields(table, self.log, "'logistic'", ("weights", "bias"), required=("weights", "bias"))
        bias = inner.number("bias")
        weights = self._weights(inner.mapping("weights"), [use.head for use in uses])
        if bias is None or weights is None:
            return MaxFusion()
        return LogisticFusion(weights, bias)

    def _weights(self, table: MapNode | None, heads: Sequence[str]) -> tuple[float, ...] | None:
        if table is None:
            return None
        given: dict[str, float] = {}
        for key, value in table.entries:
            if key.text not in heads:
                hint = did_you_mean(key.text, heads, what="heads of this label")
                self.log.error(key.span, f"'{key.text}' is no head of this label", hint)
                continue
            weight = read_number(value, self.log, "a weight")
            if weight is not None and not 0.0 < weight <= 1e6:
                self.log.error(value.span, f"a weight must be above 0, not {weight:g}", "leave the head out instead")
            elif weight is not None:
                given[key.text] = weight
        missing = [head for head in heads if head not in {key.text for key, _ in table.entries}]
        if missing:
            self.log.error(table.span, f"weights are missing for {', '.join(missing)}")
        return tuple(given[head] for head in heads) if all(head in given for head in heads) else None


def value_bounds(uses: Sequence[HeadUse], fuse: Fusion) -> tuple[float, float]:
    """The least and greatest value a label can have, whichever of its heads are there."""
    if not uses:
        return 0.0, 1.0
    low = min(use.calibrate(0.0) for use in uses)
    high = max(use.calibrate(1.0) for use in uses)
    if isinstance(fuse, LogisticFusion):
        full = sum(fuse.weights)
        return float32(sigmoid(fuse.bias + full * low)), float32(sigmoid(fuse.bias + full * high))
    return low, high
