"""``floodgate policy check | replay``: what a policy file says, where it is wrong, and what a change of it would do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from floodgate.cli import settings
from floodgate.config import Config
from floodgate.decision import DecisionRecord, read_log, replay
from floodgate.errors import ConfigError, InvalidRequest
from floodgate.models import list_heads
from floodgate.policy import CompiledPolicy, PolicyCheck, check, evaluate
from floodgate.triton.repository import load_heads
from floodgate.types import Verdict

app = typer.Typer(help="Policies.", no_args_is_help=True)

_EXAMPLES = 3


@app.callback()
def policies() -> None:
    """Policies."""


@app.command("check")
def check_command(
    policy: Annotated[Path | None, typer.Argument(help="Policy file; default: the configured one.")] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="Taxonomy file; default: the configured one.")] = None,
    config: settings.ConfigOption = None,
) -> None:
    """Checks a policy against its taxonomy and the configured heads. Exit code 1 when it would be refused."""
    result = _check(settings.read(config), policy, taxonomy)
    if result.rendered:
        print(result.rendered)
    for line in result.summary:
        print(line)
    if result.policy is None:
        raise typer.Exit(1)


@app.command("replay")
def replay_command(
    policy: Annotated[Path, typer.Argument(help="The policy to try.")],
    log: Annotated[Path | None, typer.Option(help="Decision log; default: the configured one.")] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="Taxonomy file; default: the configured one.")] = None,
    config: settings.ConfigOption = None,
) -> None:
    """Decides everything in a decision log again by another policy and shows what would change. Changes nothing."""
    chosen = settings.read(config)
    result = _check(chosen, policy, taxonomy)
    if result.policy is None:
        print(result.rendered)
        raise typer.Exit(1)
    path = log or chosen.decision_log
    try:
        changes = compare(path, result.policy)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    _show(changes, result.policy)


def _check(config: Config, policy: Path | None, taxonomy: Path | None) -> PolicyCheck:
    configured = {head.name: head.labels for head in load_heads(config.model_repository, config.heads)}
    known = {card.name: card.labels for card in list_heads(config.model_repository)}
    return check(policy or config.policy, taxonomy or config.taxonomy, configured, known)


@dataclass
class Changes:
    """``flips`` counts (before, after) summaries of decisions that differ, with a few content ids each."""

    decided: int = 0
    same: int = 0
    flips: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    unreadable_lines: int = 0
    refused: int = 0


def compare(log: Path, policy: CompiledPolicy) -> Changes:
    """Replays every record of ``log`` by ``policy``. Raises OSError when the log cannot be read."""
    changes = Changes()
    for _, record in read_log(log):
        if not isinstance(record, DecisionRecord):
            changes.unreadable_lines += 1
            continue
        inputs = replay(record)
        try:
            verdict = evaluate(policy, inputs.surface, inputs.context, inputs.parts)
        except InvalidRequest:  # a surface or label that the taxonomy no longer has
            changes.refused += 1
            continue
        changes.decided += 1
        flip = (_summary(record.verdict), _summary(verdict))
        if flip[0] == flip[1]:
            changes.same += 1
            continue
        changes.flips[flip] += 1
        examples = changes.examples.setdefault(flip, [])
        if len(examples) < _EXAMPLES:
            examples.append(record.content_id)
    return changes


def _summary(verdict: Verdict) -> str:
    """What binds: the action, the restrictions, the review, and markets that differ."""
    kinds = sorted({restriction.kind.name for restriction in verdict.restrictions})
    text = verdict.action.name + (f" ({', '.join(kinds)})" if kinds else "")
    if verdict.review is not None:
        text += f" + {verdict.review.queue}" + (" hold" if verdict.review.hold else "")
    markets = [f"{outcome.market} {outcome.action.name}" for outcome in verdict.market_outcomes]
    return text + (f"; {', '.join(markets)}" if markets else "")


def _show(changes: Changes, policy: CompiledPolicy) -> None:
    print(f"{changes.decided} decisions replayed by {policy.id.name} {policy.id.revision}: {changes.same} unchanged")
    if changes.flips:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("count", "before", "after", "for example"):
            table.add_column(heading, overflow="fold")
        for flip, count in changes.flips.most_common():
            table.add_row(str(count), *flip, ", ".join(changes.examples[flip]))
        Console().print(table)
    if changes.refused:
        print(f"{changes.refused} decisions name a surface, audience or label that this taxonomy does not have")
    if changes.unreadable_lines:
        print(f"{changes.unreadable_lines} lines of the log are no records")
