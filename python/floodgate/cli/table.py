"""Decisions as a table for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from floodgate.cli.timeline import plain, timelines
from floodgate.errors import FloodgateError
from floodgate.v1 import moderation_pb2 as pb

_STYLE = {"ALLOW": "green", "LABEL": "yellow", "AGE_RESTRICT": "yellow", "LIMIT": "magenta", "REMOVE": "red"}
_HELD = "yellow"
_NAME_WIDTH = 40
_PIPE_WIDTH = 500
# A detector scores everything it knows in every picture; what it did not see is not worth a line.
_FAINT = 0.05


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
    """Prints what was looked at of each video and animation, then each item's action, whatever speaks for it one line
    each, and the time it took."""
    rows, console = list(rows), console or console_for_tables()
    for row in rows:
        if row.decision is not None:
            timelines(row.name, row.decision, console)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("item", no_wrap=True, max_width=_NAME_WIDTH)
    table.add_column("action", no_wrap=True)
    table.add_column("why")
    table.add_column("ms", justify="right", no_wrap=True)
    for row in rows:
        if row.decision is None:
            code = row.error.code if row.error is not None else "INTERNAL"
            table.add_row(_name(row.name), Text(code, "red"), plain(str(row.error)), "")
        else:
            why = Text("\n").join(plain(line) for line in _reasons(row.decision))
            milliseconds = f"{row.decision.timings.total_us / 1000:.0f}"
            table.add_row(_name(row.name), _action(row.decision), why, milliseconds)
    console.print(table)


def _action(decision: pb.Decision) -> Text:
    action = pb.Action.Name(decision.action).removeprefix("ACTION_")
    if decision.review.hold:
        return Text(f"{action}, held", _HELD)
    return Text(action, _STYLE.get(action, ""))


def _reasons(decision: pb.Decision) -> Iterable[str]:
    """Findings, what could not be judged, who reviews it, where markets differ, and the scores that found nothing."""
    yield from dict.fromkeys(_finding(finding) for finding in decision.findings)
    several = len(decision.parts) > 1
    for part in decision.parts:
        if part.state != pb.PartStatus.STATE_JUDGED:
            state = pb.PartStatus.State.Name(part.state).removeprefix("STATE_").lower()
            yield (f"part {part.part_id} {state}: " if several else f"{state}: ") + part.reason
        if part.note:
            yield (f"part {part.part_id} " if several else "") + f"note: {part.note}"
    if decision.HasField("review"):
        yield f"review: queue {decision.review.queue}" + (", unpublished until then" if decision.review.hold else "")
    for outcome in decision.market_outcomes:
        action = pb.Action.Name(outcome.action).removeprefix("ACTION_")
        yield f"in {outcome.market}: {action}" + (f" ({', '.join(outcome.rule_ids)})" if outcome.rule_ids else "")
    for market in decision.unknown_markets:
        yield f"in {market}: a market that the policy does not know; its default applies"
    for degradation in decision.degraded:
        kind = pb.Degradation.Kind.Name(degradation.kind).removeprefix("KIND_").lower().replace("_", " ")
        yield f"degraded, {kind}: {', '.join(degradation.missing)}"
    found = {finding.label for finding in decision.findings}
    in_time = {part.part_id for part in decision.parts if part.HasField("sampling")}
    for score in decision.scores:
        if score.part_id in in_time:
            continue  # the timeline shows them
        faint = score.label.startswith("sexual.nudity.") and score.score < _FAINT
        if not faint and (score.label not in found or several):
            where = f"part {score.part_id}: " if several else ""
            aside = "" if score.in_competence else f", not counted: {score.competence_reason}"
            yield f"{where}{score.label} {score.score:.4f}{aside}"


def _finding(finding: pb.Finding) -> str:
    if finding.WhichOneof("basis") == "score":
        score = finding.score
        return f"{finding.label} {score.calibrated:.4f} ≥ {score.threshold:g}: rule {finding.rule_id}"
    return f"rule {finding.rule_id}"


def _name(name: str) -> Text:
    return plain(name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…")
