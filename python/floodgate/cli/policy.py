"""``floodgate policy check``: what a policy file says, or where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floodgate.cli import settings
from floodgate.models import list_heads
from floodgate.policy import check
from floodgate.triton.repository import load_heads

app = typer.Typer(help="Policies.", no_args_is_help=True)


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
    chosen = settings.read(config)
    configured = {head.name: head.labels for head in load_heads(chosen.model_repository, chosen.heads)}
    known = {card.name: card.labels for card in list_heads(chosen.model_repository)}
    result = check(policy or chosen.policy, taxonomy or chosen.taxonomy, configured, known)
    if result.rendered:
        print(result.rendered)
    for line in result.summary:
        print(line)
    if result.policy is None:
        raise typer.Exit(1)
