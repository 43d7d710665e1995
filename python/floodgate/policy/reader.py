"""Typed reading of a document's nodes: each accessor checks, reports what is wrong, and goes on.

A value that is wrong comes back as None (or is left out of a list), so that one run reports all mistakes.
Nothing that was reported can reach a compiled policy: loading ends with ``DiagnosticLog.raise_if_failed``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable

import numpy as np

from floodgate.policy.diagnostic import DiagnosticLog, Span, did_you_mean
from floodgate.policy.document import ListNode, MapNode, Node, ScalarNode

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*([./-][a-z0-9_]+)*")


def kind_of(node: Node) -> str:
    """What a node is, in the reader's words: "a list", "a mapping", "text 'x'", "the number 3"."""
    if isinstance(node, ListNode):
        return "a list"
    if isinstance(node, MapNode):
        return "a mapping"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return f"'{node.text}'"
    if isinstance(node.value, (int, float)):
        return f"the number {node.text}"
    return f"the text '{node.text}'"


class Fields:
    """The entries of one mapping whose keys are fixed. ``what`` names it in messages ("a rung")."""

    def __init__(
        self,
        node: MapNode,
        log: DiagnosticLog,
        what: str,
        known: Collection[str],
        required: Iterable[str] = (),
    ) -> None:
        self.span = node.span
        self._log = log
        self._what = what
        self._entries: dict[str, Node] = {}
        for key, value in node.entries:
            if key.text in known:
                self._entries[key.text] = value
            else:
                log.error(
                    key.span,
                    f"unknown key '{key.text}' in {what}",
                    did_you_mean(key.text, known, what="keys"),
                )
        for name in required:
            if name not in self._entries and not any(key.text == name for key, _ in node.entries):
                log.error(node.span, f"{what} lacks the key '{name}'")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def node(self, name: str) -> Node | None:
        return self._entries.get(name)

    def span_of(self, name: str) -> Span:
        node = self._entries.get(name)
        return node.span if node is not None else self.span

    def text(self, name: str) -> str | None:
        node = self._entries.get(name)
        return None if node is None else read_text(node, self._log, f"'{name}'")

    def boolean(self, name: str) -> bool | None:
        node = self._entries.get(name)
        if node is None:
            return None
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        self._log.error(node.span, f"'{name}' must be true or false, not {kind_of(node)}")
        return None

    def integer(self, name: str, low: int, high: int) -> int | None:
        node = self._entries.get(name)
        if node is None:
            return None
        if isinstance(node, ScalarNode) and isinstance(node.value, int) and not isinstance(node.value, bool):
            if low <= node.value <= high:
                return node.value
            self._log.error(node.span, f"'{name}' must lie between {low} and {high}, not {node.text}")
            return None
        self._log.error(node.span, f"'{name}' must be a whole number, not {kind_of(node)}")
        return None

    def number(self, name: str) -> float | None:
        node = self._entries.get(name)
        return None if node is None else read_number(node, self._log, f"'{name}'")

    def choice(self, name: str, known: Collection[str]) -> str | None:
        node = self._entries.get(name)
        return None if node is None else read_choice(node, self._log, name, known)

    def mapping(self, name: str) -> MapNode | None:
        node = self._entries.get(name)
        return None if node is None else read_mapping(node, self._log, f"'{name}'")

    def list(self, name: str) -> ListNode | None:
        node = self._entries.get(name)
        return None if node is None else read_list(node, self._log, f"'{name}'")


def read_mapping(node: Node, log: DiagnosticLog, what: str) -> MapNode | None:
    if isinstance(node, MapNode):
        return node
    log.error(node.span, f"{what} must be a mapping, not {kind_of(node)}")
    return None


def read_list(node: Node, log: DiagnosticLog, what: str) -> ListNode | None:
    if isinstance(node, ListNode):
        return node
    log.error(node.span, f"{what} must be a list, not {kind_of(node)}", "put it in [brackets]")
    return None


def read_text(node: Node, log: DiagnosticLog, what: str) -> str | None:
    """Text that is not empty. A number or date that stands where text belongs must be quoted."""
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        if node.value.strip():
            return node.value
        log.error(node.span, f"{what} must not be empty")
        return None
    hint = "put it in quotes" if isinstance(node, ScalarNode) and node.value is not None else ""
    log.error(node.span, f"{what} must be text, not {kind_of(node)}", hint)
    return None


def read_identifier(node: Node, log: DiagnosticLog, what: str) -> str | None:
    """A name: lower-case letters, digits and ``_``, in pieces joined by ``.``, ``-`` or ``/``; at most
    128."""
    text = read_text(node, log, what)
    if text is None:
        return None
    if len(text) > 128 or not _IDENTIFIER.fullmatch(text):
        log.error(
            node.span,
            f"{what} '{text[:128]}' is not a name",
            "use lower-case letters, digits and '_', joined by '.', '-' or '/'",
        )
        return None
    return text


def read_number(node: Node, log: DiagnosticLog, what: str) -> float | None:
    """A finite number."""
    if isinstance(node, ScalarNode) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        value = float(node.value)
        if math.isfinite(value):
            return value
        log.error(node.span, f"{what} must be a finite number, not {node.text}")
        return None
    log.error(node.span, f"{what} must be a number, not {kind_of(node)}")
    return None


def read_score(node: Node, log: DiagnosticLog, what: str) -> float | None:
    """A number in [0, 1], rounded to float32: the precision in which everything is compared."""
    value = read_number(node, log, what)
    if value is None:
        return None
    if not 0.0 <= value <= 1.0:
        hint = "scores lie between 0 and 1"
        if 1.0 < value <= 100.0:
            hint += f"; did you mean {value / 100:g}?"
        log.error(node.span, f"{what} must lie between 0 and 1, not {value:g}", hint)
        return None
    return float(np.float32(value))


def read_choice(node: Node, log: DiagnosticLog, what: str, known: Collection[str]) -> str | None:
    text = read_text(node, log, what)
    if text is None:
        return None
    if text in known:
        return text
    log.error(node.span, f"unknown {what} '{text}'", did_you_mean(text, known, what="known"))
    return None


def read_choices(node: Node, log: DiagnosticLog, what: str, known: Collection[str]) -> tuple[str, ...]:
    """A list of words out of ``known``, none twice, at least one. Wrong ones are reported and left out."""
    items = read_list(node, log, what)
    if items is None:
        return ()
    if not items.items:
        log.error(node.span, f"{what} must not be an empty list", "leave the key out to mean all")
    chosen: list[str] = []
    for item in items.items:
        word = read_choice(item, log, what, known)
        if word is None:
            continue
        if word in chosen:
            log.error(item.span, f"{what} '{word}' is listed twice")
            continue
        chosen.append(word)
    return tuple(chosen)
