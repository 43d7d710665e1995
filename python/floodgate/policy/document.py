"""A YAML file as a tree of positioned nodes, and nothing more.

The reader is strict on purpose: UTF-8, one document, no anchors, aliases, merge keys or tags, bounded in size
and depth, and no key twice. A policy then means what it says on the page, and no file can make loading it
expensive. Plain scalars follow YAML 1.2 (``NO`` is the text "NO", the market Norway).
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from floodgate.policy.diagnostic import DiagnosticLog, Span

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 24
MAX_NODES = 100_000

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """``value`` is str, bool, int, float or None; ``text`` is what stands in the file."""

    span: Span
    value: str | bool | int | float | None
    text: str


@dataclass(frozen=True, slots=True)
class ListNode:
    span: Span
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode:
    """``entries`` keeps the file's order; each key with its own node."""

    span: Span
    entries: tuple[tuple[ScalarNode, Node], ...]


Node = ScalarNode | ListNode | MapNode


@dataclass(frozen=True, slots=True)
class Document:
    """One file that was read: its root and the bytes' SHA-256 (hex)."""

    path: str
    root: MapNode
    sha256: str


def read_document(path: Path, log: DiagnosticLog) -> Document | None:
    """Read one file. Returns None after reporting to ``log`` why it cannot be read; problems that leave the
    tree usable (a key given twice) are reported and the tree is returned."""
    name = str(path)
    whole = Span(name)
    log.add_source(name, ())
    if path.is_dir():
        log.error(whole, "is a directory, not a file", "give the path of the YAML file itself")
        return None
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        log.error(whole, f"cannot be read: {error.strerror or error}")
        return None
    if len(data) > MAX_FILE_BYTES:
        log.error(whole, f"is larger than {MAX_FILE_BYTES} bytes", "a policy file is text written by people")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        log.error(
            Span(name, line, column),
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        return None
    log.add_source(name, text.splitlines())
    root = _Builder(name, log).build(text)
    if root is None:
        return None
    if not isinstance(root, MapNode):
        log.error(root.span, "the top of the file must be a mapping of keys to values")
        return None
    return Document(name, root, hashlib.sha256(data).hexdigest())


class _Refused(Exception):
    """The tree cannot be built; the reason is already in the log."""


class _Builder:
    """Builds the tree from YAML's event stream, which expands nothing and needs no recursion to refuse a
    file that is nested too deeply."""

    def __init__(self, name: str, log: DiagnosticLog) -> None:
        self._name = name
        self._log = log
        self._nodes = 0

    def build(self, text: str) -> Node | None:
        try:
            return self._document(text)
        except _Refused:
            return None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            span = Span(self._name, mark.line + 1, mark.column + 1) if mark else Span(self._name)
            problem = (error.problem or "not valid YAML").strip()
            self._log.error(span, f"not valid YAML: {problem}", (error.context or "").strip())
            return None
        except YAMLError as error:
            first = next(iter(str(error).strip().splitlines()), "unreadable")
            position = getattr(error, "position", None)
            span = Span(self._name)
            if isinstance(position, int):
                before = text[:position]
                span = Span(self._name, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
                first = f"character U+{ord(text[position]):04X} is not allowed"
            self._log.error(span, f"not valid YAML: {first}")
            return None
        except (ValueError, RecursionError) as error:
            self._log.error(Span(self._name), f"not valid YAML: {error}")
            return None

    def _document(self, text: str) -> Node | None:
        root: Node | None = None
        # Each open collection: (start span, is a mapping, children so far).
        stack: list[tuple[Span, bool, list[Node]]] = []
        documents = 0
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, ev.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second YAML document starts here", "one file holds one document")
                continue
            if isinstance(event, ev.AliasEvent):
                self._refuse(event, f"alias '*{event.anchor}' is not allowed", "write the value out where it applies")
            if getattr(event, "anchor", None) is not None:
                self._refuse(event, f"anchor '&{event.anchor}' is not allowed", "write the value out where it applies")
            done: Node | None = None
            if isinstance(event, ev.ScalarEvent):
                done = self._scalar(event)
            elif isinstance(event, (ev.MappingStartEvent, ev.SequenceStartEvent)):
                if event.tag is not None:
                    self._refuse(event, f"tag '{event.tag}' is not allowed", "remove the tag")
                if len(stack) >= MAX_DEPTH:
                    self._refuse(event, f"nested more than {MAX_DEPTH} deep")
                stack.append((self._span(event), isinstance(event, ev.MappingStartEvent), []))
            elif isinstance(event, (ev.MappingEndEvent, ev.SequenceEndEvent)):
                span, is_map, children = stack.pop()
                done = self._mapping(span, children) if is_map else ListNode(span, tuple(children))
            if done is not None:
                self._nodes += 1
                if self._nodes > MAX_NODES:
                    self._refuse(event, f"more than {MAX_NODES} values in one file")
                if stack:
                    stack[-1][2].append(done)
                else:
                    root = done
        if root is None or (isinstance(root, ScalarNode) and root.value is None):
            self._log.error(Span(self._name), "the file is empty", "start from policies/default.yaml")
            return None
        return root

    def _mapping(self, span: Span, children: list[Node]) -> MapNode:
        entries: list[tuple[ScalarNode, Node]] = []
        seen: dict[str, ScalarNode] = {}
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, ScalarNode):
                self._log.error(key.span, "a key must be a single word, not a list or mapping")
                raise _Refused
            if key.text == "<<":
                self._log.error(key.span, "merge keys are not allowed", "write the values out where they apply")
                raise _Refused
            if key.text in seen:
                first = seen[key.text].span
                self._log.error(
                    key.span, f"key '{key.text}' is given twice", f"it was first given on line {first.line}"
                )
                continue
            seen[key.text] = key
            entries.append((key, value))
        return MapNode(span, tuple(entries))

    def _scalar(self, event: ev.ScalarEvent) -> ScalarNode:
        if event.tag is not None and event.tag != "!":
            self._refuse(
                event,
                f"tag '{event.tag}' is not allowed",
                "remove the tag, or quote the value to make it text",
            )
        text = event.value
        span = self._span(event)
        if not event.implicit[0]:
            return ScalarNode(span, text, text)
        return ScalarNode(span, plain_value(text), text)

    def _span(self, event: ev.Event) -> Span:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Span(self._name, start.line + 1, start.column + 1, max(1, length))

    def _refuse(self, event: ev.Event, message: str, hint: str = "") -> None:
        self._log.error(self._span(event), message, hint)
        raise _Refused


# YAML 1.2.2, section 10.3.2 (core schema), decimal forms only: an octal or hexadecimal threshold is a
# mistake.
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def plain_value(text: str) -> str | bool | int | float | None:
    """The value of an unquoted scalar."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.fullmatch(text) and len(text) <= 18:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
