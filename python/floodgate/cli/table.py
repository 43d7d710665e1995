"""Decisions as a table for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from floodgate.errors import FloodgateError
from floodgate.v1 import moderation_pb2 as pb

_COLOUR = {"ALLOW": "green", "LABEL": "yellow", "AGE_RESTRICT": "yellow", "LIMIT": "magenta", "REMOVE": "red"}
_NAME_WIDTH = 44
_PIPE_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one item: a decision or an error."""

    name: str
    decision: pb.Decision | None
    error: FloodgateError | None


def console_for_tables() -> Console:
    """Standard output; in a pipe, which has no width, wide enough that lines are not folded."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def show(rows: Iterable[Row], console: Console | None = None) -> None:
    """Prints one line an item: action, review, what was found and why, the scores behind it, the time it took."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, options in (
        ("item", {"no_wrap": True, "max_width": _NAME_WIDTH}),
        ("action", {"no_wrap": True}),
        ("review", {}),
        ("because", {}),
        ("scores", {}),
        ("ms", {"justify": "right", "no_wrap": True}),
    ):
        table.add_column(heading, **options)
    for row in rows:
        if row.decision is None:
            code = row.error.code if row.error is not None else "INTERNAL"
            table.add_row(_short(row.name), f"[red]{code}[/red]", "", str(row.error), "", "")
        else:
            table.add_row(*_cells(row.name, row.decision))
    (console or console_for_tables()).print(table)


def _cells(name: str, decision: pb.Decision) -> tuple[str, ...]:
    action = pb.Action.Name(decision.action).removeprefix("ACTION_")
    review = ""
    if decision.HasField("review"):
        review = decision.review.queue + (" (hold)" if decision.review.hold else "")
    return (
        _short(name),
        f"[{_COLOUR.get(action, 'white')}]{action}[/]",
        review,
        "; ".join(_reasons(decision)),
        "; ".join(_scores(decision)),
        f"{decision.timings.total_us / 1000:.0f}",
    )


def _reasons(decision: pb.Decision) -> Iterable[str]:
    for finding in decision.findings:
        if finding.WhichOneof("basis") == "score":
            yield f"{finding.rule_id}: {finding.label} {finding.score.calibrated:.3f} ≥ {finding.score.threshold:g}"
        else:
            yield f"{finding.rule_id}" + (f": {finding.label}" if finding.label else "")
    for part in decision.parts:
        if part.state != pb.PartStatus.STATE_JUDGED:
            yield f"part {part.part_id} {pb.PartStatus.State.Name(part.state).removeprefix('STATE_')}: {part.reason}"
    for degradation in decision.degraded:
        yield f"degraded: {pb.Degradation.Kind.Name(degradation.kind).removeprefix('KIND_')}"


def _scores(decision: pb.Decision) -> Iterable[str]:
    for score in decision.scores:
        if score.label.startswith("sexual.nudity.") and score.score < 0.05:
            continue
        aside = "" if score.in_competence else f" (not counted: {score.competence_reason})"
        yield f"{score.label} {score.score:.4f}{aside}"


def _short(name: str) -> str:
    # A leading bracket would read as markup.
    name = name.replace("[", "(").replace("\n", " ")
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
