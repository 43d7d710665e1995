"""What is wrong in a policy or taxonomy file, said like a compiler says it.

A ``Diagnostic`` names a file, a place, what is wrong and what to do about it. ``DiagnosticLog`` collects them
while a file is read, so that one run reports every mistake. ``InvalidPolicy`` carries them out.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from floodgate.errors import PolicyError

MAX_DIAGNOSTICS = 50
"""After so many errors the rest is counted, not printed: a file this wrong is the wrong file."""

_MAX_SOURCE_COLUMNS = 160


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file. ``line`` and ``column`` count from 1, columns in characters; line 0 means the file
    as a whole. ``length`` is the number of characters to underline, at least 1."""

    path: str
    line: int = 0
    column: int = 0
    length: int = 1


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding about a file. ``message`` says what is wrong, ``hint`` what would be right (may be
    empty)."""

    severity: Severity
    span: Span
    message: str
    hint: str = ""

    def render(self, source: Sequence[str] = ()) -> str:
        """``path:line:col: error: message``, the source line with a caret, and the hint. ``source`` is the
        file's lines; without them only the first line and the hint are given."""
        span = self.span
        where = f"{span.path}:{span.line}:{span.column}" if span.line else span.path
        lines = [f"{where}: {self.severity.value}: {self.message}"]
        if span.line and span.line <= len(source):
            lines.extend(_excerpt(source[span.line - 1], span))
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


def _excerpt(text: str, span: Span) -> list[str]:
    start = max(0, span.column - 1)
    first = max(0, start - _MAX_SOURCE_COLUMNS // 2)
    shown = "".join(_printable(char) for char in text[first : first + _MAX_SOURCE_COLUMNS])
    gutter = f"{span.line:>5} | "
    width = max(1, min(span.length, len(text) - start))
    width = min(width, max(1, _MAX_SOURCE_COLUMNS - (start - first)))
    # Tabs stay tabs under the source line, so that the caret lines up whatever a tab is worth.
    pad = "".join("\t" if char == "\t" else " " * _columns(char) for char in text[first:start])
    return [gutter + shown.rstrip(), " " * 5 + " | " + pad + "^" + "~" * (width - 1)]


def _printable(char: str) -> str:
    return char if char == "\t" or char.isprintable() else "�"


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def did_you_mean(word: str, known: Iterable[str], *, what: str = "") -> str:
    """A hint for an unknown ``word``: the nearest known one, or the list of them when it is short."""
    candidates = sorted(set(known))
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not near:
        folded = {candidate.casefold(): candidate for candidate in candidates}
        if word.casefold() in folded:
            near = [folded[word.casefold()]]
    if near:
        return f"did you mean '{near[0]}'?"
    if not candidates:
        return ""
    if len(candidates) <= 12:
        return f"{what or 'known'}: {', '.join(candidates)}"
    return f"{what or 'known'}: {', '.join(candidates[:12])}, … ({len(candidates)} in all)"


class DiagnosticLog:
    """Collects diagnostics over several files, in the order found."""

    def __init__(self) -> None:
        self._diagnostics: list[Diagnostic] = []
        self._sources: dict[str, Sequence[str]] = {}

    def add_source(self, path: str, lines: Sequence[str]) -> None:
        self._sources[path] = lines

    def error(self, span: Span, message: str, hint: str = "") -> None:
        self._add(Diagnostic(Severity.ERROR, span, message, hint))

    def warning(self, span: Span, message: str, hint: str = "") -> None:
        self._add(Diagnostic(Severity.WARNING, span, message, hint))

    def _add(self, diagnostic: Diagnostic) -> None:
        if diagnostic not in self._diagnostics:
            self._diagnostics.append(diagnostic)

    @property
    def errors(self) -> int:
        """How many errors there are so far."""
        return sum(entry.severity is Severity.ERROR for entry in self._diagnostics)

    @property
    def failed(self) -> bool:
        return self.errors > 0

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Sorted by file (in the order read), line and column."""
        order = {path: index for index, path in enumerate(self._sources)}
        return tuple(
            sorted(
                self._diagnostics,
                key=lambda d: (order.get(d.span.path, -1), d.span.path, d.span.line, d.span.column),
            )
        )

    def render(self) -> str:
        return render(self.diagnostics, self._sources)

    def raise_if_failed(self) -> None:
        if self.failed:
            raise InvalidPolicy(self.diagnostics, self._sources)


def render(diagnostics: Sequence[Diagnostic], sources: Mapping[str, Sequence[str]]) -> str:
    """All diagnostics as text, with a closing count when there are several."""
    blocks = [entry.render(sources.get(entry.span.path, ())) for entry in diagnostics[:MAX_DIAGNOSTICS]]
    errors = sum(entry.severity is Severity.ERROR for entry in diagnostics)
    warnings = len(diagnostics) - errors
    if len(diagnostics) > 1:
        counts = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
        hidden = len(diagnostics) - len(blocks)
        blocks.append(", ".join(counts) + (f" ({hidden} not shown)" if hidden else ""))
    return "\n".join(blocks)


class InvalidPolicy(PolicyError):
    """A policy or taxonomy file was refused. ``str(error)`` is the rendered report; ``diagnostics`` is the
    same as values."""

    def __init__(self, diagnostics: Sequence[Diagnostic], sources: Mapping[str, Sequence[str]]) -> None:
        super().__init__(render(diagnostics, sources))
        self.diagnostics = tuple(diagnostics)
