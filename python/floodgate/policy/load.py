"""Loads and checks policies.

    policy = load_policy(Path("policies/default.yaml"), Path("policies/taxonomy.yaml"), {"nsfw":
    ("sexual.explicit",)})

The format is documented by example in ``policies/default.yaml``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from floodgate.policy.compiled import CompiledPolicy
from floodgate.policy.condition import Condition, TermReader, always_needs_a_score
from floodgate.policy.diagnostic import Diagnostic, DiagnosticLog, did_you_mean
from floodgate.policy.document import Document, MapNode, read_document
from floodgate.policy.label import (
    KnownHeads,
    LabelDraft,
    LabelReader,
    RulesDraft,
    compile_defaults,
    value_bounds,
)
from floodgate.policy.outcome import JUDGED_ROLES, OutcomeReader, RuleNames
from floodgate.policy.reader import Fields, read_identifier, read_mapping
from floodgate.policy.scope import EVERYWHERE, Selector, build_axes, read_selector
from floodgate.policy.taxonomy import Taxonomy, read_taxonomy
from floodgate.types import PolicyId, Sampling

SIGNAL_TYPES = ("bool", "number", "string")

_KEYS = ("policy", "revision", "guidelines", "signals", "sampling", "defaults", "labels", "conditions")
MAX_SAMPLED_FRAMES = 1024  # kMaxPlannedFrames in cpp/include/floodgate/sequence.h
MAX_INTERVAL_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """What ``floodgate policy check`` shows. ``policy`` is None when there are errors; ``rendered`` is the
    report, "" when there is nothing to say; ``summary`` is one line a fact about an accepted policy."""

    policy: CompiledPolicy | None
    diagnostics: tuple[Diagnostic, ...]
    rendered: str
    summary: tuple[str, ...]


def load_policy(
    policy_path: Path,
    taxonomy_path: Path,
    heads: Mapping[str, tuple[str, ...]],
    known_heads: Mapping[str, tuple[str, ...]] | None = None,
) -> CompiledPolicy:
    """Load a policy for the configured ``heads`` (head -> labels it feeds). ``known_heads`` are all heads of
    the model repository, which optional labels may name; by default only the configured ones.

    Raises ``InvalidPolicy`` (a ``PolicyError``) whose text is the rendered report of every mistake found.
    """
    log = DiagnosticLog()
    policy = _load(policy_path, taxonomy_path, heads, known_heads, log)
    log.raise_if_failed()
    if policy is None:
        raise AssertionError("a policy was refused without a reason")
    return policy


def check(
    policy_path: Path,
    taxonomy_path: Path,
    heads: Mapping[str, tuple[str, ...]],
    known_heads: Mapping[str, tuple[str, ...]] | None = None,
) -> PolicyCheck:
    """Like ``load_policy``, but returns everything, warnings included, and never raises for a bad file."""
    log = DiagnosticLog()
    policy = _load(policy_path, taxonomy_path, heads, known_heads, log)
    if log.failed:
        policy = None
    return PolicyCheck(policy, log.diagnostics, log.render(), summarize(policy) if policy else ())


def summarize(policy: CompiledPolicy) -> tuple[str, ...]:
    """A few lines for a person about an accepted policy."""
    words = policy.taxonomy
    sizes = f"{len(words.markets)} markets, {len(words.surfaces)} surfaces"
    lines = [
        f"policy {policy.id.name} revision {policy.id.revision}, digest {policy.id.digest[:16]}",
        f"taxonomy {words.name} revision {words.revision}: {len(words.labels)} labels, {sizes}",
    ]
    for rule in policy.labels:
        ladder = rule.ladder.values[0]
        rungs = ", ".join(f"{rung.outcome.rule_id} at {rung.at:g}" for rung in ladder) or "no rungs"
        heads = ", ".join(f"{use.head} ({use.combine})" for use in rule.heads)
        overrides = len(rule.ladder.names) + len(rule.unscored.names) + len(rule.unreadable.names) - 3
        lines.append(f"{rule.label}: {heads}: {rungs}; {overrides} overrides")
    if policy.sampling != Sampling():
        interval = policy.sampling.min_interval_ms
        wishes = [f"at most {policy.sampling.max_frames} frames"] if policy.sampling.max_frames else []
        wishes += [f"at least {interval} ms apart"] if interval is not None else []
        lines.append(f"sampling: {', '.join(wishes)}")
    if policy.conditions:
        lines.append(f"conditions: {', '.join(condition.outcome.rule_id for condition in policy.conditions)}")
    if policy.inactive:
        lines.append(f"inactive, as no configured head feeds them: {', '.join(policy.inactive)}")
    return tuple(lines)


def _load(
    policy_path: Path,
    taxonomy_path: Path,
    heads: Mapping[str, tuple[str, ...]],
    known_heads: Mapping[str, tuple[str, ...]] | None,
    log: DiagnosticLog,
) -> CompiledPolicy | None:
    taxonomy_document = read_document(taxonomy_path, log)
    document = read_document(policy_path, log)
    if taxonomy_document is None or document is None:
        return None
    taxonomy = read_taxonomy(taxonomy_document, log)
    if log.failed:
        return None  # every word of the policy would be reported as unknown
    known = KnownHeads(configured=heads, existing={**(known_heads or {}), **heads})
    return _PolicyReader(document, taxonomy, known, log).read(taxonomy_document)


class _PolicyReader:
    def __init__(self, document: Document, taxonomy: Taxonomy, heads: KnownHeads, log: DiagnosticLog) -> None:
        self._document = document
        self._taxonomy = taxonomy
        self._heads = heads
        self._log = log
        self._outcomes = OutcomeReader(taxonomy, log, RuleNames())
        self._labels = LabelReader(self._outcomes, heads, log)

    def read(self, taxonomy_document: Document) -> CompiledPolicy | None:
        required = ("policy", "revision", "guidelines", "defaults", "labels")
        fields = Fields(self._document.root, self._log, "a policy", _KEYS, required=required)
        name, revision = fields.text("policy") or "", fields.text("revision") or ""
        guidelines = fields.text("guidelines") or ""
        signals = self._signals(fields)
        sampling = self._sampling(fields)
        defaults = self._defaults(fields)
        drafts = self._drafts(fields)
        conditions = self._conditions(fields, signals, drafts)
        self._report_unused_heads(drafts)
        if defaults is None or self._log.failed:
            return None
        selectors: list[Selector] = [*defaults.selectors]
        for draft in drafts:
            selectors.extend(draft.rules.selectors)
        selectors.extend(condition.where for condition in conditions)
        axes = build_axes(self._taxonomy, selectors)
        both = f"{self._document.sha256}\n{taxonomy_document.sha256}\n"
        compiled = [(draft, draft.compile(axes, self._log)) for draft in drafts]
        return CompiledPolicy(
            id=PolicyId(name, revision, hashlib.sha256(both.encode()).hexdigest()),
            guidelines=guidelines,
            taxonomy=self._taxonomy,
            signals=MappingProxyType(signals),
            sampling=sampling,
            labels=tuple(rule for draft, rule in compiled if draft.active),
            inactive=tuple(draft.label for draft in drafts if not draft.active),
            conditions=tuple(conditions),
            defaults=compile_defaults(defaults, axes, self._log),
            axes=axes,
        )

    def _signals(self, fields: Fields) -> dict[str, str]:
        signals: dict[str, str] = {}
        table = fields.mapping("signals")
        for key, value in table.entries if table else ():
            name = read_identifier(key, self._log, "signal")
            entry = read_mapping(value, self._log, f"signal '{key.text}'")
            if entry is None:
                continue
            keys = ("type", "description")
            inner = Fields(entry, self._log, "a signal", keys, required=keys)
            kind = inner.choice("type", SIGNAL_TYPES)
            inner.text("description")
            if name is not None and kind is not None:
                signals[name] = kind
        return signals

    def _sampling(self, fields: Fields) -> Sampling:
        table = fields.mapping("sampling")
        if table is None:
            return Sampling()
        inner = Fields(table, self._log, "'sampling'", ("max_frames", "min_interval_ms"))
        if not table.entries:
            self._log.error(table.span, "'sampling' says nothing", "give it 'max_frames', 'min_interval_ms' or both")
        frames = inner.integer("max_frames", 1, MAX_SAMPLED_FRAMES)
        return Sampling(frames or 0, inner.integer("min_interval_ms", 0, MAX_INTERVAL_MS))

    def _defaults(self, fields: Fields) -> RulesDraft | None:
        table = fields.mapping("defaults")
        if table is None:
            return None
        keys = ("unscored", "unreadable", "partial", "overrides")
        inner = Fields(table, self._log, "the defaults", keys, required=("unscored", "unreadable"))
        return self._labels.rules(inner, "the defaults", frozenset(JUDGED_ROLES), None)

    def _drafts(self, fields: Fields) -> list[LabelDraft]:
        drafts: list[LabelDraft] = []
        table = fields.mapping("labels")
        if table is not None and not table.entries:
            self._log.error(table.span, "a policy has at least one label")
        for key, value in table.entries if table else ():
            entry = self._taxonomy.labels.get(key.text)
            if entry is None:
                hint = did_you_mean(key.text, self._taxonomy.labels, what="labels")
                self._log.error(key.span, f"unknown label '{key.text}'", hint)
            label_table = read_mapping(value, self._log, f"label '{key.text}'")
            if label_table is not None and entry is not None:
                drafts.append(self._labels.read(key.text, label_table, entry.clause))
        return drafts

    def _conditions(self, fields: Fields, signals: Mapping[str, str], drafts: list[LabelDraft]) -> list[Condition]:
        bounds = {draft.label: value_bounds(draft.heads, draft.fuse) if draft.active else None for draft in drafts}
        reader = TermReader(self._log, bounds, signals, self._taxonomy.labels)
        found: list[Condition] = []
        items = fields.list("conditions")
        for item in items.items if items else ():
            table = read_mapping(item, self._log, "a condition")
            if table is None:
                continue
            condition = self._condition(table, reader)
            if condition is not None:
                found.append(condition)
        return found

    def _condition(self, table: MapNode, reader: TermReader) -> Condition | None:
        extra = ("label", "policy_ref", "when", "where")
        names = {key.text: value for key, value in table.entries}
        rule_id = getattr(names.get("id"), "text", "?")
        outcome = self._outcomes.outcome(table, f"condition '{rule_id}'", "a condition", extra=extra)
        fields = Fields(
            table, self._log, "a condition", (*extra, "id", "restrict", "review"), required=("label", "when")
        )
        label = fields.choice("label", self._taxonomy.labels)
        where_node, when_node = fields.node("where"), fields.node("when")
        where = EVERYWHERE if where_node is None else read_selector(where_node, self._taxonomy, self._log)
        errors = self._log.errors
        term = reader.read(when_node) if when_node is not None else None
        intact = self._log.errors == errors
        if intact and term is not None and when_node is not None and not always_needs_a_score(term):
            self._log.error(
                when_node.span,
                "this condition can be met without any score",
                "signals describe the creator: add a 'label' term that every way to meet it needs",
            )
        if outcome is None or label is None or where is None or term is None:
            return None
        policy_ref = fields.text("policy_ref") or self._taxonomy.labels[label].clause
        return Condition(label, policy_ref, term, where, outcome)

    def _report_unused_heads(self, drafts: list[LabelDraft]) -> None:
        covered = {draft.label for draft in drafts}
        for head, labels in sorted(self._heads.configured.items()):
            unused = [label for label in labels if label not in covered]
            if unused:
                shown = ", ".join(unused[:6]) + (", …" if len(unused) > 6 else "")
                self._log.warning(
                    self._document.root.span,
                    f"head '{head}' feeds labels that this policy says nothing about: {shown}",
                )
