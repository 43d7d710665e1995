"""The words a policy may use: labels, surfaces, markets, audiences and review queues.

Read from ``policies/taxonomy.yaml``. Labels are dotted names, markets ISO 3166-1 alpha-2 codes, upper case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from floodgate.policy.diagnostic import DiagnosticLog
from floodgate.policy.document import Document, Node, ScalarNode
from floodgate.policy.reader import Fields, read_choices, read_identifier, read_list, read_mapping, read_text

_MARKET = re.compile(r"[A-Z]{2}")
_GROUP = re.compile(r"[A-Z][A-Z0-9_]{1,31}")


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """``clause`` is the guideline's clause that forbids or limits what the label names."""

    name: str
    description: str
    clause: str


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """``surfaces``, ``audiences`` and ``queues`` map names to descriptions, in the file's order.
    ``groups`` maps a group's name to its markets, each one of ``markets``."""

    name: str
    revision: str
    labels: Mapping[str, LabelEntry]
    surfaces: Mapping[str, str]
    markets: frozenset[str]
    groups: Mapping[str, frozenset[str]]
    audiences: Mapping[str, str]
    queues: Mapping[str, str]


def read_taxonomy(document: Document, log: DiagnosticLog) -> Taxonomy:
    """Read a taxonomy; mistakes go to ``log`` and what they concern is left out."""
    keys = ("taxonomy", "revision", "labels", "surfaces", "markets", "audiences", "queues")
    fields = Fields(document.root, log, "a taxonomy", keys, required=keys)
    known, groups = _read_markets(fields.node("markets"), log)
    return Taxonomy(
        name=fields.text("taxonomy") or "",
        revision=fields.text("revision") or "",
        labels=MappingProxyType(_read_labels(fields.node("labels"), log)),
        surfaces=MappingProxyType(_read_words(fields.node("surfaces"), log, "surface")),
        markets=known,
        groups=MappingProxyType(groups),
        audiences=MappingProxyType(_read_words(fields.node("audiences"), log, "audience")),
        queues=MappingProxyType(_read_words(fields.node("queues"), log, "queue")),
    )


def _read_labels(node: Node | None, log: DiagnosticLog) -> dict[str, LabelEntry]:
    labels: dict[str, LabelEntry] = {}
    table = read_mapping(node, log, "'labels'") if node is not None else None
    for key, value in table.entries if table else ():
        name = read_identifier(key, log, "label")
        entry = read_mapping(value, log, f"label '{key.text}'")
        if entry is None:
            continue
        fields = Fields(entry, log, "a label", ("description", "clause"), required=("description", "clause"))
        if name is not None:
            labels[name] = LabelEntry(name, fields.text("description") or "", fields.text("clause") or "")
    return labels


def _read_words(node: Node | None, log: DiagnosticLog, what: str) -> dict[str, str]:
    words: dict[str, str] = {}
    table = read_mapping(node, log, f"'{what}s'") if node is not None else None
    for key, value in table.entries if table else ():
        name = read_identifier(key, log, what)
        description = read_text(value, log, f"the description of {what} '{key.text}'")
        if name is not None and description is not None:
            words[name] = description
    return words


def _read_markets(node: Node | None, log: DiagnosticLog) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    known: set[str] = set()
    groups: dict[str, frozenset[str]] = {}
    table = read_mapping(node, log, "'markets'") if node is not None else None
    if table is None:
        return frozenset(), groups
    fields = Fields(table, log, "the markets", ("known", "groups"), required=("known",))
    codes = fields.list("known")
    for item in codes.items if codes else ():
        code = item.text if isinstance(item, ScalarNode) else ""
        if not _MARKET.fullmatch(code):
            log.error(
                item.span,
                f"market '{code}' is not two upper-case letters",
                "markets are ISO 3166-1 alpha-2 codes",
            )
        elif code in known:
            log.error(item.span, f"market '{code}' is listed twice")
        else:
            known.add(code)
    table = fields.mapping("groups")
    for key, value in table.entries if table else ():
        if not _GROUP.fullmatch(key.text):
            log.error(key.span, f"market group '{key.text}' is not a name", "use upper-case letters, digits and '_'")
        elif key.text in known:
            log.error(key.span, f"market group '{key.text}' has the name of a market")
        elif read_list(value, log, f"market group '{key.text}'") is not None:
            groups[key.text] = frozenset(read_choices(value, log, "market", known))
    return frozenset(known), groups
